"""One connection, many streams: a bulk transfer that does not hold up a control loop, by lane and weight, and figures in datagrams."""

import asyncio

import roamqtt

CONTROL, BULK = 1, 2  # data streams of one's own, by number


async def main() -> None:
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca, client_id="robot", flows=True) as client:
        async with (
            client.subscribe("control/#", qos=1, lane=CONTROL) as control,
            client.subscribe("bulk/#", qos=1, lane=BULK) as bulk,
            client.subscribe("figures/#", datagram=True) as figures,
        ):
            client.lane_weight(CONTROL, 256)  # of 1 to 256: when both have something, it goes first
            client.lane_weight(BULK, 1)
            for number in range(20):
                client.publish_nowait("bulk/x", bytes(50_000), qos=1, lane=BULK)
                client.publish_nowait("control/x", str(number), qos=1, lane=CONTROL)
                client.publish_nowait("figures/x", str(number), datagram=True)  # late is as bad as never
            seen = [int((await anext(control)).payload) for _ in range(20)]
            waiting = 20 - len(await bulk.batch(timeout=0))
            print(f"control: all 20 in order; {waiting} of 20 bulk messages are still on their way")
            assert seen == list(range(20))
            print("figures:", (await anext(figures)).payload.decode(), "and so on")
            while waiting > 0:
                waiting -= len(await bulk.batch(timeout=10))
            stats = client.stats()
            print(f"{stats['lanes']} data streams, {stats['datagrams_out']} datagrams, MQTT-next: {stats['flows']}")
            assert stats["lanes"] == 2 and stats["datagrams_out"] > 0


asyncio.run(main())
