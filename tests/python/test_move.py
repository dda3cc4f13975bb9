"""Address changes: NAT rebinding, migration by command, and what the broker shows."""

import asyncio

import pytest

import roamqtt

HOME, AWAY = "127.0.10.200", "127.0.10.203"


async def next_of(events, kind):
    async for event in events:
        if isinstance(event, kind):
            return event


def ips(addresses):
    return [a.rsplit(":", 1)[0] for a in addresses]


async def test_rebind_and_return_lose_nothing():
    async with roamqtt.Broker() as broker, roamqtt.Nat(broker.addresses["quic"], HOME) as nat:
        async with (
            roamqtt.Client(f"mqtt-quic://{nat.inside}", client_id="s", ca=broker.ca) as c,
            c.subscribe("t", qos=2) as sub,
        ):
            for i, where in enumerate([HOME, AWAY, HOME]):
                if i:
                    nat.rebind(where)
                for k in range(10):
                    await asyncio.wait_for(c.publish("t", f"{i}.{k}", qos=2), 5)
                    assert (await asyncio.wait_for(anext(sub), 5)).payload == f"{i}.{k}".encode()
            seen = broker.client("s")
            assert seen["connects"] == 1
            assert ips(c.address for c in broker.history("s")) == [HOME, AWAY, HOME]
            assert ips([seen["ip_address"]]) == [HOME]
        assert nat.stats()["rebinds"] == 2


async def test_tcp_breaks_and_comes_back():
    async with roamqtt.Broker() as broker, roamqtt.Nat(broker.addresses["tcp"], HOME) as nat:
        async with roamqtt.Client(
            f"mqtt://{nat.inside}", client_id="t", clean_start=False, session_expiry_s=60, reconnect_min_ns=50_000_000
        ) as c:
            events = c.events()
            first = asyncio.ensure_future(anext(events))
            await c.publish("x", "1", qos=1)
            nat.rebind(AWAY)
            publishing = asyncio.ensure_future(c.publish("x", "2", qos=1))
            assert isinstance(await asyncio.wait_for(first, 5), roamqtt.Disconnected)
            back = await asyncio.wait_for(anext(events), 5)
            assert isinstance(back, roamqtt.Connected) and back.session_present
            await asyncio.wait_for(publishing, 5)
            assert broker.client("t")["connects"] == 2


@pytest.mark.parametrize("how", ["probe", "immediate"])
async def test_migrate_there_and_back(how):
    async with roamqtt.Broker() as broker:
        async with roamqtt.Client(broker.url, client_id="m", ca=broker.ca, local=HOME) as c:
            watch = broker.events()
            moved = asyncio.ensure_future(next_of(watch, roamqtt.PeerMoved))
            for where in (AWAY, HOME):
                await c.publish("t", where, qos=1)
                result = await c.migrate(where, how=how)
                assert result.local.startswith(where + ":")
                await c.publish("t", where, qos=1)
                assert broker.client("m")["ip_address"].startswith(where + ":")
            event = await asyncio.wait_for(moved, 5)
            assert (event.client_id, ips([event.old_remote, event.remote])) == ("m", [HOME, AWAY])
            assert c.stats()["migrations"] == 2
            assert broker.client("m")["connects"] == 1


async def test_migrate_on_tcp_is_refused_by_name():
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.tcp_url) as c:
        with pytest.raises(roamqtt.UsageError) as error:
            await c.migrate(AWAY)
        assert error.value.name == "ROAM_E_UNSUPPORTED"


async def test_migrate_to_an_address_we_do_not_have_fails_and_stays():
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca) as c:
        with pytest.raises(roamqtt.NetworkError):
            await c.migrate("203.0.113.7")
        await c.publish("still", "here", qos=1)


async def test_busy_interpreter_does_not_lose_the_connection():
    import time

    async with roamqtt.Broker(idle_timeout_ns=2_000_000_000) as broker:
        async with roamqtt.Client(broker.url, ca=broker.ca, idle_timeout_ns=2_000_000_000, ping_ns=500_000_000) as c:
            time.sleep(3)  # the loop is blocked; the core's own thread goes on
            await asyncio.wait_for(c.publish("a", "b", qos=1), 5)
            assert c.connected
