"""A broker for more than oneself: TLS and QUIC, passwords, an access list, client certificates as names, and a change while it runs."""

import asyncio

import roamqtt

# A line by `roamqtt passwd`: the user "user", whose password is "pencil".
PASSWORDS = (
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
)
ACL = """
user user
topic readwrite home/#
user sensor-7
topic write home/temperature
"""


async def main() -> None:
    ours = roamqtt.identity_make("example broker")  # with a real certificate: certfile=, keyfile=
    sensor = roamqtt.identity_issue(ours.ca_certificate, ours.ca_key, "sensor-7", client=True)
    async with roamqtt.Broker(
        quic="127.0.0.1:0", tcp=None, tls=["127.0.0.1:0", "[::1]:0"], ca=ours.ca_certificate, certificate=ours.certificate, key=ours.key,
        request_client_certificate=True, subject_as_user_name=True, passwords=PASSWORDS, acl=ACL,
    ) as broker:  # fmt: skip
        print("listens on", ", ".join(f"{each.transport} {each.local}" for each in broker.listeners))
        ca = ours.ca_certificate
        async with (
            # The password does not travel, and the broker proves that it knows it, too.
            roamqtt.Client(broker.url, user_name="user", password="pencil", auth_method="SCRAM-SHA-256", ca=ca) as reader,
            roamqtt.Client(broker.tls_url, client_id="s7", certificate=sensor.certificate, key=sensor.key, ca=ca) as writer,
            reader.subscribe("home/#", qos=1) as readings,
        ):
            await writer.publish("home/temperature", "21.5", qos=1)
            print("read:", (await anext(readings)).payload.decode(), "by", broker.client("s7")["user_name"])
            try:
                await writer.publish("home/door", "open", qos=1)
            except roamqtt.Refused as error:
                print("refused:", error.text)
            broker.set_acl(ACL + "topic write home/door\n")
            await writer.publish("home/door", "open", qos=1)
            assert (await anext(readings)).topic == "home/door"
        try:
            await roamqtt.Client(broker.tls_url, user_name="user", password="pen", ca=ca).connect()
        except roamqtt.Refused as error:
            print("refused:", error.text)
        assert broker.stats()["auth_failures"] == 1 and broker.stats()["acl_denied"] == 1


asyncio.run(main())
