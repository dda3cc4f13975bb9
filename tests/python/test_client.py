"""The asyncio client against the embedded broker, over QUIC and TCP."""

import asyncio
import socket

import pytest

import roamqtt


@pytest.fixture
async def broker():
    async with roamqtt.Broker() as b:
        yield b


@pytest.fixture(params=["quic", "tcp"])
def url(request, broker):
    return broker.url if request.param == "quic" else broker.tcp_url


def client(broker, url, **options):
    return roamqtt.Client(url, ca=broker.ca, **options)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [4, 5])
async def test_publish_reaches_subscriber(broker, url, qos, version):
    async with client(broker, url, version=version) as c:
        granted = (await c.subscribe("a/+", qos=qos)).granted
        assert granted == qos
        await c.publish("a/b", b"\x00\xff payload", qos=qos)
        message = await asyncio.wait_for(anext(c.messages()), 5)
        assert (message.topic, message.payload, message.qos) == ("a/b", b"\x00\xff payload", qos)


async def test_properties_travel(broker, url):
    async with client(broker, url) as c, c.subscribe("p", qos=1) as sub:
        await c.publish(
            "p", b"{}", qos=1, content_type="application/json", response_topic="r", correlation_data=b"\x01",
            user_properties=[("k", "1"), ("k", "2")], message_expiry=60,
        )
        m = await asyncio.wait_for(anext(sub), 5)
        assert m.content_type == "application/json"
        assert m.response_topic == "r"
        assert m.correlation_data == b"\x01"
        assert m.user_properties == [("k", "1"), ("k", "2")]
        assert m.message_expiry in (59, 60)


async def test_streams_get_their_own_messages(broker, url):
    async with client(broker, url) as c:
        async with c.subscribe("a/#") as a, c.subscribe("b/#") as b:
            await c.publish("a/1", "one")
            await c.publish("b/1", "two")
            assert (await asyncio.wait_for(anext(a), 5)).payload == b"one"
            assert (await asyncio.wait_for(anext(b), 5)).payload == b"two"
        await c.publish("a/2", "gone", qos=1)
        await c.subscribe("c")
        await c.publish("c", "here")
        assert (await asyncio.wait_for(anext(c.messages()), 5)).topic == "c"


async def test_batches_keep_order(broker, url):
    async with client(broker, url) as c, c.subscribe("n", qos=1) as sub:
        for i in range(500):
            c.publish_nowait("n", str(i), qos=1)
        got = []
        while len(got) < 500:
            got += await sub.batch(max=64, timeout=5)
        assert [int(m.payload) for m in got] == list(range(500))
        assert await sub.batch(timeout=0.05) == []


@pytest.mark.parametrize("size", [300_000, 900_000, 1_048_000])
async def test_a_message_may_be_as_large_as_agreed(broker, url, size):
    async with client(broker, url) as c, c.subscribe("big", qos=1) as sub:
        for length in (200_000, size, 200_000, size):  # windows are then partly used up
            payload = bytes(range(256)) * (length // 256)
            await asyncio.wait_for(c.publish("big", payload, qos=1), 10)
            assert (await asyncio.wait_for(anext(sub), 10)).payload == payload


async def test_retained_message_comes_with_the_flag(broker, url):
    async with client(broker, url) as c:
        await c.publish("kept", "x", qos=1, retain=True)
        async with c.subscribe("kept") as sub:
            m = await asyncio.wait_for(anext(sub), 5)
            assert m.retain and m.payload == b"x"


async def test_manual_ack_withholds_until_asked(broker, url):
    async with client(broker, url, manual_ack=True, receive_maximum=2) as c, c.subscribe("m", qos=1) as sub:
        for i in range(4):
            c.publish_nowait("m", str(i), qos=1)
        first, second = await asyncio.wait_for(anext(sub), 5), await asyncio.wait_for(anext(sub), 5)
        assert await sub.batch(timeout=0.2) == []  # the window of two is used up
        first.ack()
        assert (await asyncio.wait_for(anext(sub), 5)).payload == b"2"
        second.ack()
        second.ack()
        assert (await asyncio.wait_for(anext(sub), 5)).payload == b"3"


async def test_qos0_overflow_drops_the_oldest_and_counts(broker, url):
    async with client(broker, url, inbox_max=10) as c, c.subscribe("o") as sub:
        for i in range(30):
            c.publish_nowait("o", str(i))
        await c.publish("end", "", qos=1)
        await asyncio.sleep(0.2)
        got = await sub.batch(timeout=1)
        assert [int(m.payload) for m in got] == list(range(20, 30))
        assert sub.dropped == 20


async def test_persistent_session_keeps_what_was_missed(broker, url):
    options = dict(client_id="keeper", clean_start=False, session_expiry_s=60)
    async with client(broker, url, **options) as c:
        await c.subscribe("k", qos=1)
    async with client(broker, url) as other:
        await other.publish("k", "missed", qos=1)
    c = client(broker, url, **options)
    try:
        assert (await c.connect()).session_present
        assert (await asyncio.wait_for(anext(c.messages()), 5)).payload == b"missed"
    finally:
        await c.close()


async def test_kicked_client_ends_or_comes_back(broker, url):
    async with client(broker, url, client_id="kicked") as c:
        seen = c.events()
        waiting = asyncio.ensure_future(anext(seen))
        await asyncio.sleep(0)
        broker.kick("kicked")
        event = await asyncio.wait_for(waiting, 5)
        assert isinstance(event, roamqtt.Disconnected)
        assert event.reason in (-1, roamqtt.ReasonCode.ADMINISTRATIVE_ACTION)


async def test_close_twice_and_use_after_close(broker, url):
    c = client(broker, url)
    await c.connect()
    await c.close()
    await c.close()
    with pytest.raises(roamqtt.UsageError):
        await c.publish("a", "b")
    assert [m async for m in c.messages()] == []


async def test_cancelled_connect_leaves_nothing_behind():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        c = roamqtt.Client(f"mqtt-quic://127.0.0.1:{silent.getsockname()[1]}", insecure=True)
        task = asyncio.ensure_future(c.connect())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not c._driver.alive


def test_bad_options_name_the_option_and_the_remedy():
    for options, word in [
        (dict(url="nonsense://x"), "url"),
        (dict(url="mqtt://h:99999"), "port"),
        (dict(url="mqtt://h", version=9), "version"),
        (dict(url="mqtt://h", ack="never"), "ack"),
    ]:
        with pytest.raises(roamqtt.UsageError) as error:
            roamqtt.Client(**options)
        assert word in str(error.value), error.value


async def test_nothing_listens():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(ConnectionError) as error:
        async with roamqtt.Client(f"mqtt://127.0.0.1:{port}"):
            pass
    assert error.value.name == "ROAM_E_CONN_REFUSED"


async def test_unverifiable_server_is_refused(broker):
    async with roamqtt.Broker() as other:
        with pytest.raises(roamqtt.CertificateError) as error:
            async with roamqtt.Client(broker.url, ca=other.ca):
                pass
        assert "authority" in str(error.value)


async def test_silence_times_out():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            async with roamqtt.Client(f"mqtt-quic://127.0.0.1:{s.getsockname()[1]}", insecure=True, connect_timeout_ns=500_000_000):
                pass


async def test_a_second_run_connects_in_its_first_flight(tmp_path):
    state = tmp_path / "state"
    async with roamqtt.Broker() as broker:
        for run in range(2):
            client = roamqtt.Client(broker.url, ca=broker.ca, client_id="again", state_file=state)
            seen = []

            async def watch(client=client, seen=seen):
                async for event in client.events():
                    seen.append(event)

            watcher = asyncio.ensure_future(watch())
            await asyncio.sleep(0)
            async with client:
                await client.publish("t", "x", qos=1, safe_to_repeat=True)
                for _ in range(50):
                    if state.exists():
                        break
                    await asyncio.sleep(0.02)
                stats = client.stats()
                assert (stats["resumed"], stats["early_accepted"], stats["early_rejected"]) == (run, run, 0)
            await watcher
            assert [e.accepted for e in seen if isinstance(e, roamqtt.EarlyData)] == [True] * run
            assert state.stat().st_mode & 0o777 == 0o600


async def test_congestion_is_one_of_three():
    with pytest.raises(roamqtt.UsageError):
        roamqtt.Client("mqtt-quic://localhost", congestion="vegas")
