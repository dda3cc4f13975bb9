"""No NAT: the client itself moves to another local address and back, while it publishes."""

import asyncio

import roamqtt


async def main() -> None:
    async with roamqtt.Broker() as broker:
        async with roamqtt.Client(
            broker.url, client_id="walker", ca=broker.ca, local="127.0.10.200"
        ) as client:
            for where in ("127.0.10.203", "127.0.10.200"):
                await client.publish("walk/before", where, qos=1)
                moved = await client.migrate(where)
                assert moved is not None  # there was a connection to move
                await client.publish("walk/after", where, qos=1)
                print(f"{moved.old_local} -> {moved.local}, validated in {moved.validation_ns / 1e6:.1f} ms")
                assert moved.local.startswith(where)
                assert broker.client("walker")["ip_address"].startswith(where)
            assert broker.client("walker")["connects"] == 1


asyncio.run(main())
