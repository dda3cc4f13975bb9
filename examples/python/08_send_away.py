"""Maintenance without a storm: all clients are sent to another server, spread over a time, and the broker says when it is empty."""

import asyncio

import roamqtt


async def main() -> None:
    identity = roamqtt.identity_make("example brokers")
    tls: roamqtt.BrokerOptions = {"ca": identity.ca_certificate, "certificate": identity.certificate, "key": identity.key}
    async with roamqtt.Broker(**tls) as old, roamqtt.Broker(**tls) as new:
        clients = [roamqtt.Client(old.url, ca=old.ca, client_id=f"client {i}", reconnect_min_ns=10_000_000) for i in range(5)]
        for client in clients:
            await client.connect()
        asked = await old.send_away(new.addresses["quic"], spread_ns=200_000_000)
        print(f"{asked} clients asked to leave; the old broker has {old.stats()['connections']} connections")
        for client in clients:
            await client.publish("t", "still here", qos=1)
            assert client.stats()["redirects"] == 1
        shown = new.snapshot()
        print("at the new one:", ", ".join(f"{c['client_id']} by {c['transport']}" for c in shown["clients"]))
        assert asked == 5 and shown["stats"]["connections"] == 5
        for client in clients:
            await client.close()


asyncio.run(main())
