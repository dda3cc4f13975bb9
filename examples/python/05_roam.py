"""What a client that roams tells of: trouble, a move by command, and TLS when UDP is blocked. Its options have the names of client.h."""

import asyncio
import socket

import roamqtt

S = 1_000_000_000  # times are in nanoseconds


async def tell(client: roamqtt.Client) -> None:
    async for event in client.events():
        match event:
            case roamqtt.Connected():
                print(f"  connected by {event.transport}, from {event.local}")
            case roamqtt.PathTrouble() | roamqtt.Transport():
                print(f"  {type(event).__name__}: {event.text}")
            case roamqtt.PathMigrated():
                print(f"  moved {event.old_local} -> {event.local}: validated in {event.validation_ns / 1e6:.1f} ms, {event.gap_ns / 1e6:.1f} ms of silence")
            case roamqtt.Disconnected():
                print(f"  disconnected, again in {event.retry_ns / S:.1f} s: {event.text}")


async def main() -> None:
    async with roamqtt.Broker(tls="127.0.0.1:0") as broker, roamqtt.Nat(broker.addresses["quic"]) as nat:
        print("a network that is silent for a while:")
        client = roamqtt.Client(
            f"mqtt-quic://{nat.inside}", ca=broker.ca, client_id="walker", ping_ns=S // 5,
            roam=True, interfaces="wlan*, wwan*:metered", roam_settle_ns=2 * S,  # which networks, and how long a better one must stay up
        )  # fmt: skip
        telling = asyncio.create_task(tell(client))
        await asyncio.sleep(0)
        async with client:
            nat.set_down(True)
            publishing = asyncio.create_task(client.publish("t", "on its way", qos=1))
            await asyncio.sleep(0.5)
            nat.set_down(False)
            client.hint()  # the application knows that the network is back
            await publishing
            print("a move by command, both networks alive:")
            moved = await client.migrate("127.0.0.2", how="probe")
            assert moved is not None and moved.local.startswith("127.0.0.2:")
            assert client.stats()["connects"] == 1 and broker.client("walker")["connects"] == 1
        await telling

        print("UDP is blocked:")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            client = roamqtt.Client(
                f"mqtt-quic://127.0.0.1:{silent.getsockname()[1]}", ca=broker.ca, fallback=True,
                fallback_port=int(broker.addresses["tls"].split(":")[1]), fallback_delay_ns=S // 10,
            )  # fmt: skip
            telling = asyncio.create_task(tell(client))
            await asyncio.sleep(0)
            async with client:
                assert client.stats()["transport"] == "tls"
            await telling


asyncio.run(main())
