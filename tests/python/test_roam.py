"""Roaming, fallback, streams, datagrams and the second visit from Python: options that work, and events that tell of it."""

import asyncio
import socket

import pytest

import roamqtt

HOME, AWAY = "127.0.10.200", "127.0.10.203"


class Seen:
    """All events of a client from now on."""

    def __init__(self, client, **how):
        self.events = []
        self._more = asyncio.Event()
        self._task = asyncio.ensure_future(self._collect(client, how))

    async def _collect(self, client, how):
        async for event in client.events(**how):
            self.events.append(event)
            self._more.set()

    def all(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def first(self, kind, timeout=10):
        async with asyncio.timeout(timeout):
            while not self.all(kind):
                self._more.clear()
                await self._more.wait()
            return self.all(kind)[0]


def free_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return "%s:%d" % s.getsockname()


async def watch(client, **how):
    seen = Seen(client, **how)
    await asyncio.sleep(0)
    return seen


@pytest.mark.parametrize("how", ["probe", "immediate"])
async def test_a_move_is_told_whole(how):
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca, local=HOME) as c:
        seen = await watch(c)
        await c.subscribe("t", qos=1)
        moved = await c.migrate(AWAY, how=how)
        assert isinstance(moved, roamqtt.PathMigrated)
        assert moved.local.startswith(AWAY + ":") and moved.old_local.startswith(HOME + ":")
        assert moved.remote == moved.old_remote == broker.addresses["quic"]
        assert 0 < moved.validation_ns < 5_000_000_000 and moved.gap_ns < 5_000_000_000 and moved.at > 0
        assert await seen.first(roamqtt.PathMigrated) == moved
        stats = c.stats()
        assert (stats["probes"], stats["immediates"]) == ((1, 0) if how == "probe" else (0, 1)) and stats["local"] == moved.local
        with pytest.raises(roamqtt.UsageError, match="'probe' or 'immediate'"):
            await c.migrate(HOME, how="soon")
        before = c.stats()["hints"]
        c.hint()
        assert c.stats()["hints"] > before and c.get_state() == "connected"
    assert c.get_state() == "closed"


async def test_a_move_without_a_connection_is_for_the_next_one():
    async with roamqtt.Broker() as broker, roamqtt.Nat(broker.addresses["quic"], HOME) as nat:
        c = roamqtt.Client(
            f"mqtt-quic://{nat.inside}", ca=broker.ca, connect_timeout_ns=300_000_000, reconnect_min_ns=50_000_000, client_id="m",
            reconnect_max_ns=100_000_000, ping_ns=100_000_000, idle_timeout_ns=1_000_000_000,
        )  # fmt: skip
        async with c:
            seen = await watch(c)
            nat.set_down(True)
            assert (await seen.first(roamqtt.PathTrouble)).text
            gone = await seen.first(roamqtt.Disconnected)
            assert gone.error is not None and gone.retry_ns > 0 and gone.transport == "quic"
            assert await c.migrate("127.0.0.1") is None
            nat.set_down(False)
            assert (await seen.first(roamqtt.Connected)).local.startswith("127.0.0.1:")


async def test_udp_is_blocked_and_tls_takes_over():
    """Nothing answers on QUIC's port; the same host's TLS does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with roamqtt.Broker(quic=None, tls="127.0.0.1:0") as broker:
            port = int(broker.addresses["tls"].rsplit(":", 1)[1])
            c = roamqtt.Client(
                f"mqtt-quic://127.0.0.1:{silent.getsockname()[1]}", ca=broker.ca, client_id="f", fallback=True, fallback_port=port,
                fallback_delay_ns=50_000_000, resume_after_ns=0,
            )  # fmt: skip
            seen = await watch(c)
            async with c:
                assert (await seen.first(roamqtt.Connected)).transport == "tls"
                told = await seen.first(roamqtt.Transport)
                assert told.transport == "tls" and told.text
                assert broker.client("f")["transport"] == "tls" and c.stats()["fallbacks"] == 1


async def test_a_fallback_that_is_named():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with roamqtt.Broker(quic=None, wss="127.0.0.1:0") as broker:
            async with roamqtt.Client(
                f"mqtt-quic://127.0.0.1:{silent.getsockname()[1]}", ca=broker.ca, fallback=True, fallback_url=broker.wss_url,
                fallback_delay_ns=50_000_000,
            ) as c:  # fmt: skip
                assert c.stats()["transport"] == "wss"
    with pytest.raises(roamqtt.UsageError, match="fallback_url"):
        roamqtt.Client("mqtt-quic://h", fallback=True, fallback_url="mqtt://plain")


async def test_streams_of_ones_own_and_their_weight():
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca, client_id="l") as c:
        async with c.subscribe("a/#", qos=1, lane=3) as a, c.subscribe("b/#") as b:
            c.lane_weight(3, 256)
            for number in range(20):
                await c.publish("a/x", str(number), qos=1, lane=3)
                await c.publish("b/x", str(number), lane=7)
                c.publish_nowait("b/y", str(number), lane=roamqtt.LANE_CONTROL)
            assert [int((await asyncio.wait_for(anext(a), 5)).payload) for _ in range(20)] == list(range(20))
            got = [await asyncio.wait_for(anext(b), 5) for _ in range(40)]
            for topic in ("b/x", "b/y"):
                assert [int(m.payload) for m in got if m.topic == topic] == list(range(20))  # in order within a lane
            assert c.stats()["lanes"] == 2 and broker.client("l")["lanes"] == 2 and broker.stats()["lanes_opened"] == 2
        with pytest.raises(roamqtt.UsageError):
            c.lane_weight(3, 257)
        with pytest.raises(roamqtt.UsageError):
            c.lane_weight(roamqtt.LANE_CONTROL, 16)


@pytest.mark.parametrize("lanes, streams", [("one", 0), ("per-topic", 2), ("split", 2)])
async def test_streams_by_strategy(lanes, streams):
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca, lanes=lanes, one_lane_per_packet=True) as c:
        async with c.subscribe("x", qos=1) as sub:
            await c.publish("x", "1", qos=1)
            await c.publish("y", "2", qos=1)
            assert (await asyncio.wait_for(anext(sub), 5)).payload == b"1"
            assert c.stats()["lanes"] == streams


async def test_datagrams_where_asked_for():
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca, datagram_filter="d/#") as c:
        async with c.subscribe("#", datagram=True) as sub:
            await c.publish("d/1", "by its topic")
            await c.publish("x", "by its call", datagram=True)
            await c.publish("y", "on a stream")
            got = {(await asyncio.wait_for(anext(sub), 5)).topic for _ in range(3)}
            assert got == {"d/1", "x", "y"}
            stats = c.stats()
            assert stats["datagrams_out"] == 2 and stats["datagrams_in"] == 3
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.url, ca=broker.ca, datagrams=False) as c:
        await c.publish("x", "cannot", datagram=True)
        await c.publish("x", "after it", qos=1)
        assert c.stats()["datagrams_out"] == 0


async def test_flows_outlive_their_connection():
    async with roamqtt.Broker() as broker, roamqtt.Nat(broker.addresses["quic"], HOME) as nat:
        async with (
            roamqtt.Client(
                f"mqtt-quic://{nat.inside}", ca=broker.ca, client_id="f", flows=True, flow_expire_s=60, session_expiry_s=60, clean_start=False,
                connect_timeout_ns=500_000_000, reconnect_min_ns=20_000_000, reconnect_max_ns=50_000_000,
            ) as c,
            c.subscribe("t", qos=1, lane=2) as sub,
            roamqtt.Client(broker.tcp_url) as other,
        ):  # fmt: skip
            assert c.stats()["flows"]
            seen = await watch(c)
            broker.kick("f")
            await other.publish("t", "while away", qos=1)
            back = await seen.first(roamqtt.Connected)
            assert back.session_present
            assert (await asyncio.wait_for(anext(sub), 5)).payload == b"while away"
            assert c.stats()["lanes"] == 1


async def test_results_of_what_was_not_waited_for():
    async with roamqtt.Broker(quic=None) as broker, roamqtt.Client(broker.tcp_url) as c:
        quiet, seen = await watch(c), await watch(c, published=True)
        fine = c.publish_nowait("nobody", "x", qos=1)
        wrong = c.publish_nowait("$SYS/x", "x", qos=1)
        await c.publish("t", "x", qos=1)
        await asyncio.sleep(0.01)  # the readers' turn
        results = {event.token: event for event in seen.all(roamqtt.Published)}
        assert set(results) == {fine, wrong} and results[fine].reason == 0x10 and results[wrong].reason == 0x87
        assert quiet.events == []


async def test_a_full_queue_is_told_and_cleared():
    async with roamqtt.Broker(quic=None) as broker, roamqtt.Client(broker.tcp_url, queue_messages_max=10, send_window_max=1) as c:
        seen = await watch(c)
        with pytest.raises(roamqtt.Blocked):
            for number in range(100):
                c.publish_nowait("t", str(number), qos=1)
        await seen.first(roamqtt.Writable)
        c.publish_nowait("t", "again", qos=1)


async def test_state_by_hand():
    """What state_file does, by the application: a verdict on early data in the second run."""
    state = b""
    async with roamqtt.Broker() as broker:
        for run in range(2):
            c = roamqtt.Client(broker.url, ca=broker.ca, client_id="again", state=state, tell_state=True, congestion="bbr")
            seen = await watch(c)
            async with c:
                await seen.first(roamqtt.State)
                state = c.saved()
                assert state
            assert [event.accepted for event in seen.all(roamqtt.EarlyData)] == [True] * run
            assert isinstance(seen.events[-1], roamqtt.ClientClosed) and seen.events[-1].error is None
        # Damaged state is no state.
        async with roamqtt.Client(broker.url, ca=broker.ca, state=bytes(b ^ 0x55 for b in state)) as c:
            assert c.stats()["resumed"] == 0
        async with roamqtt.Client(broker.url, ca=broker.ca, state=state, early_data=False) as c:
            assert c.stats()["early_accepted"] == 0


async def test_early_data_is_refused_and_sent_again():
    """The successor takes the ticket, but no early data: what left too soon goes out again, once."""
    secret, state = bytes(range(32)), b""
    identity = roamqtt.identity_make("broker")
    address = free_address()
    how = dict(quic=address, tcp=None, secret=secret, certificate=identity.certificate, key=identity.key)
    for run in range(2):
        async with roamqtt.Broker(**how, early_data=run == 0) as broker:
            c = roamqtt.Client(broker.url, ca=identity.ca_certificate, client_id="x", state=state, tell_state=True)
            seen = await watch(c)
            async with c:
                await c.publish("t", "x", qos=1, safe_to_repeat=True)
                await seen.first(roamqtt.State)
                state = c.saved()
                stats = c.stats()
                assert (stats["early_accepted"], stats["early_rejected"]) == (0, run)
            assert [event.accepted for event in seen.all(roamqtt.EarlyData)] == [False] * run


async def test_a_fixed_secret_outlives_the_broker():
    """Tickets of a broker that is gone are good for its successor with the same secret."""
    secret, state = bytes(range(32)), b""
    identity = roamqtt.identity_make("broker")
    address = free_address()
    how = dict(quic=address, tcp=None, secret=secret, certificate=identity.certificate, key=identity.key)
    for run in range(2):
        async with roamqtt.Broker(**how) as broker:
            c = roamqtt.Client(broker.url, ca=identity.ca_certificate, client_id="x", state=state, tell_state=True)
            seen = await watch(c)
            async with c:
                await seen.first(roamqtt.State)
                state = c.saved()
                assert c.stats()["resumed"] == run


async def test_going_to_the_preferred_address():
    async with roamqtt.Broker(quic="127.0.0.1:0") as first:
        port = first.addresses["quic"].rsplit(":", 1)[1]
    async with roamqtt.Broker(quic=["127.0.0.1:0", f"127.0.0.1:{port}"], preferred_ipv4=f"127.0.0.1:{port}") as broker:
        c = roamqtt.Client(broker.url, ca=broker.ca)
        seen = await watch(c)
        async with c:
            assert (await seen.first(roamqtt.PathMigrated)).remote == f"127.0.0.1:{port}"
        async with roamqtt.Client(broker.url, ca=broker.ca, follow_preferred=False) as c:
            await c.publish("t", "x", qos=1)
            assert c.stats()["remote"] == broker.addresses["quic"]


async def test_a_rebind_is_told_on_each_side():
    async with roamqtt.Broker() as broker, roamqtt.Nat(broker.addresses["quic"], HOME) as nat:
        moved = asyncio.ensure_future(_next(broker.events(), roamqtt.PeerMoved))
        rebound = asyncio.ensure_future(_next(nat.events(), roamqtt.NatRebound))
        mapped = asyncio.ensure_future(_next(nat.events(), roamqtt.NatMapped))
        await asyncio.sleep(0)
        async with roamqtt.Client(f"mqtt-quic://{nat.inside}", ca=broker.ca, client_id="r") as c:
            assert (await asyncio.wait_for(mapped, 5)).local.startswith(HOME + ":")
            nat.rebind(AWAY)
            await c.publish("t", "x", qos=1)
            event = await asyncio.wait_for(moved, 5)
            assert event.client_id == "r" and event.remote.startswith(AWAY + ":") and event.old_remote.startswith(HOME + ":")
            assert (await asyncio.wait_for(rebound, 5)).local.startswith(AWAY)


async def _next(events, kind):
    async for event in events:
        if isinstance(event, kind):
            return event


async def test_a_stream_that_is_not_read_harms_itself_alone():
    """Its queue is full: that stream is reset (0x97), told on both sides, and the connection goes on."""
    async with roamqtt.Broker(queue_messages_max=5) as broker:
        async with (
            roamqtt.Client(broker.url, ca=broker.ca, client_id="slow", manual_ack=True, receive_maximum=1) as c,
            c.subscribe("bulk", qos=1, lane=3) as bulk,
            c.subscribe("control") as control,
        ):
            seen = await watch(c)
            lost = asyncio.ensure_future(_next(broker.events(), roamqtt.PeerLaneLost))
            await asyncio.sleep(0)
            for number in range(20):
                broker.publish("bulk", str(number), qos=1)
            there = await asyncio.wait_for(lost, 10)
            here = await seen.first(roamqtt.LaneLost)
            assert there.client_id == "slow" and there.reason == 0x97 and there.stream == here.stream and here.unsettled == 0
            broker.publish("control", "still here")
            assert (await asyncio.wait_for(anext(control), 5)).payload == b"still here"
            assert c.connected and broker.client("slow")["connects"] == 1 and bulk.dropped == 0
            assert broker.stats()["lanes_failed"] >= 1 and broker.stats()["sessions_overflowed"] == 0


async def test_the_broker_subscribes_for_us():
    """MQTT-next: server flows. By name, by a pattern for everybody, and taken back."""
    async with roamqtt.Broker(assigned="all/%c", assigned_qos=1) as broker:
        async with roamqtt.Client(broker.url, ca=broker.ca, client_id="x", flows=True) as c:
            broker.assign("x", "cmd/#", qos=1)
            for topic in ("cmd/1", "all/x"):
                broker.publish(topic, topic, qos=1)
            messages = c.messages()
            got = {(await asyncio.wait_for(anext(messages), 5)).topic for _ in range(2)}
            assert got == {"cmd/1", "all/x"} and c.stats()["server_flows"] == 2 and broker.stats()["server_flows_opened"] == 2
            broker.withdraw("x", "cmd/#")
            with pytest.raises(roamqtt.UsageError):
                broker.withdraw("x", "other/#")
        with pytest.raises(roamqtt.UsageError) as caught:
            broker.assign("nobody", "cmd/#")
        assert caught.value.name == "ROAM_E_NOT_FOUND"
