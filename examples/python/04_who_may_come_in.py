"""The application decides who may come in, as long as a database may need; others are served meanwhile."""

import asyncio

import roamqtt

USERS = {"anna": b"secret"}


async def decide(request: roamqtt.AuthRequest) -> bool | roamqtt.Admission:
    await asyncio.sleep(0.05)  # ask somebody
    if request.user_name in USERS:
        return USERS[request.user_name] == request.password
    return roamqtt.Admission(reason=roamqtt.ReasonCode.BANNED, text="ask at the desk for a user name")


async def main() -> None:
    async with roamqtt.Broker(decide=decide) as broker:
        async with roamqtt.Client(broker.url, ca=broker.ca, client_id="a", user_name="anna", password="secret"):
            print("came in:", broker.client("a")["user_name"])
        strangers: list[roamqtt.ClientOptions] = [{"user_name": "anna", "password": "guess"}, {"user_name": "bob"}]
        for how in strangers:
            try:
                await roamqtt.Client(broker.tcp_url, **how).connect()
            except roamqtt.Refused as error:
                print(f"{how['user_name']}: {error.text}")
        assert broker.stats()["auth_failures"] == 2

    # The same by events, for an application that would rather see them all in one place.
    async with roamqtt.Broker(decide=True) as broker:

        async def answer() -> None:
            async for event in broker.events():
                if isinstance(event, roamqtt.AuthRequest):
                    event.admit(user_name=f"guest of {event.remote.split(':')[0]}")

        answering = asyncio.create_task(answer())
        async with roamqtt.Client(broker.tcp_url, client_id="b"):
            assert broker.client("b")["user_name"] == "guest of 127.0.0.1"
    await answering  # ends with the broker


asyncio.run(main())
