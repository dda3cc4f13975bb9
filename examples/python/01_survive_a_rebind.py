"""A publisher behind a NAT whose public address changes, twice. The session never notices; the broker shows who moved."""

import asyncio

import roamqtt

HOME, AWAY = "127.0.10.200", "127.0.10.203"


async def main() -> None:
    async with roamqtt.Broker() as broker, roamqtt.Nat(broker.addresses["quic"], HOME) as nat:
        async with (
            roamqtt.Client(f"mqtt-quic://{nat.inside}", client_id="sensor", ca=broker.ca) as sensor,
            roamqtt.Client(broker.url, client_id="monitor", ca=broker.ca) as monitor,
            monitor.subscribe("room/temperature", qos=1) as readings,
        ):
            for number in range(60):
                if number == 20:
                    nat.rebind(AWAY)
                if number == 40:
                    nat.rebind(HOME)
                await sensor.publish("room/temperature", str(number), qos=1)
                message = await anext(readings)
                assert message.payload == str(number).encode(), (message, number)
                await asyncio.sleep(0.01)
            seen = broker.client("sensor")
            print("60 published, 60 received, in order")
            print("addresses the broker saw:", " -> ".join(c.address.split(":")[0] for c in broker.history("sensor")))
            print(f"connects: {seen['connects']}, moves: {seen['moves']}")
            assert seen["connects"] == 1 and seen["moves"] >= 2
            assert [c.address.split(":")[0] for c in broker.history("sensor")] == [HOME, AWAY, HOME]


asyncio.run(main())
