"""The embedded broker's outside: listeners of each kind, certificates, reloads, verdicts on who may come in, sending clients away, and
what it shows."""

import asyncio
import json
import socket
import ssl

import pytest

import roamqtt
from roamqtt import mqtt

PASSWORDS = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"


async def next_of(events, kind):
    async for event in events:
        if isinstance(event, kind):
            return event


def watch(thing, kind):
    """The next event of that kind, from now on."""
    return asyncio.ensure_future(asyncio.wait_for(next_of(thing.events(), kind), 10))


def greet(client_id):
    return mqtt.encode(mqtt.Packet(mqtt.PacketType.CONNECT, client_id=client_id, clean_start=True, keep_alive=60))


async def test_listeners_of_each_kind_and_several(tmp_path):
    path = str(tmp_path / "mqtt.sock")
    async with roamqtt.Broker(
        quic=["127.0.0.1:0", "127.0.0.1"], tcp=["127.0.0.1:0", "[::1]:0"], tls="127.0.0.1:0", ws="127.0.0.1:0", wss="127.0.0.1:0",
        ws_path="/elsewhere", unix=path,
    ) as broker:  # fmt: skip
        assert [each.transport for each in broker.listeners] == ["quic", "quic", "tcp", "tcp", "tls", "ws", "wss", "tcp"]
        assert broker.listeners[-1].name == path and broker.listeners[-1].local == "-"
        assert len({each.local for each in broker.listeners}) == 8
        urls = {
            "quic": broker.url, "q2": f"mqtt-quic://{broker.listeners[1].local}", "tcp": broker.tcp_url,
            "t6": f"mqtt://{broker.listeners[3].local}", "tls": broker.tls_url, "ws": broker.ws_url, "wss": broker.wss_url,
        }  # fmt: skip
        for name, url in urls.items():
            async with roamqtt.Client(url, ca=broker.ca, client_id=name) as c:
                await c.publish("t", name, qos=1)
                assert broker.client(name)["transport"] == {"q2": "quic", "t6": "tcp"}.get(name, name)
        more = await broker.listen("ws", "127.0.0.1")
        async with roamqtt.Client(f"ws://{more.local}/elsewhere", client_id="late"):
            assert broker.stats()["listeners"] == 9
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(greet("local"))
        packet, _ = mqtt.decode(await asyncio.wait_for(reader.read(100), 5), from_server=True)
        assert packet.type == mqtt.PacketType.CONNACK and packet.reason == 0
        writer.close()


async def test_events_come_from_the_call_on():
    broker = roamqtt.Broker(quic=None)
    early = broker.events()
    async with broker:
        assert isinstance(await asyncio.wait_for(anext(early), 5), roamqtt.Listening)
        late = broker.events()
        async with roamqtt.Client(broker.tcp_url, client_id="x") as c:
            assert (await asyncio.wait_for(anext(late), 5)).client_id == "x"
            ours = c.events()
        assert [type(event) for event in [e async for e in ours]][-1] is roamqtt.ClientClosed
        await early.aclose()
        assert len(broker._watchers) == 1
        late = None
        assert broker._watchers == [] and [e async for e in c.events()] == []
    assert [e async for e in broker.events()] == [] and [e async for e in early] != []


async def test_what_cannot_be_listened_on():
    async with roamqtt.Broker(quic=None) as broker:
        with pytest.raises(roamqtt.NetworkError) as caught:
            await broker.listen("tcp", broker.addresses["tcp"])
        assert caught.value.name == "ROAM_E_ADDRESS_IN_USE"
        with pytest.raises(roamqtt.NetworkError) as caught:
            await broker.listen("tcp", "0.0.0.0:0")
        assert caught.value.name == "ROAM_E_PERMISSION"
        with pytest.raises(roamqtt.UsageError) as caught:
            await broker.listen_name("quic", "/nowhere")
        assert caught.value.name == "ROAM_E_UNSUPPORTED"
        with pytest.raises(roamqtt.UsageError, match="expected quic or tcp or tls"):
            await broker.listen("sctp", "127.0.0.1")
    with pytest.raises(roamqtt.NetworkError):
        await roamqtt.Broker(tcp="192.0.2.1:0").start()


async def test_a_socket_that_was_given():
    """systemd's way."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        async with roamqtt.Broker(quic=None, tcp=None) as broker:
            address = "%s:%d" % s.getsockname()
            listener = await broker.listen_name("tcp", f"fd:{s.fileno()}", address)
            assert listener.name == f"fd:{s.fileno()}"
            async with roamqtt.Client(f"mqtt://{address}") as c:
                await c.publish("t", "x", qos=1)
            s.detach()  # the broker's now


async def test_certificates_change_while_it_runs(tmp_path):
    first, second = (roamqtt.identity_make(name) for name in ("first", "second"))
    files = {name: tmp_path / name for name in ("cafile", "certfile", "keyfile")}

    def put(identity):
        for name, pem in zip(files, (identity.ca_certificate, identity.certificate, identity.key)):
            files[name].write_bytes(pem)

    put(first)
    async with roamqtt.Broker(quic="127.0.0.1:0", tcp=None, tls="127.0.0.1:0", **files) as broker:
        assert broker.ca == first.ca_certificate
        async with roamqtt.Client(broker.tls_url, ca=first.ca_certificate, client_id="early") as early:
            put(second)
            broker.reload()
            assert broker.ca == second.ca_certificate
            for url in (broker.url, broker.tls_url):
                async with roamqtt.Client(url, ca=second.ca_certificate) as c:
                    await c.publish("t", "x", qos=1)
                with pytest.raises(roamqtt.CertificateError):
                    await roamqtt.Client(url, ca=first.ca_certificate).connect()
            await early.publish("t", "x", qos=1)  # those that are there keep theirs
        files["keyfile"].write_bytes(first.key)
        with pytest.raises(roamqtt.CertificateError):
            broker.reload()
        broker.set_certificate(first.certificate.decode(), first.key, first.ca_certificate)
        async with roamqtt.Client(broker.url, ca=first.ca_certificate):
            pass


async def test_a_certificate_for_each_name():
    """Server names (SNI): the chain that has the name is shown."""
    one, two = roamqtt.identity_make("one", "one.example"), roamqtt.identity_make("two", "two.example")
    async with roamqtt.Broker(
        quic="127.0.0.1:0", tls="127.0.0.1:0", certificate=one.certificate, key=one.key, more=two.certificate + two.key
    ) as broker:
        for url in (broker.url, broker.tls_url):
            for name, identity in (("one.example", one), ("two.example", two)):
                async with roamqtt.Client(url, ca=identity.ca_certificate, server_name=name) as c:
                    await c.publish("t", "x", qos=1)
        broker.set_certificate(None, None, more=one.certificate + one.key)
        with pytest.raises(roamqtt.CertificateError):
            await roamqtt.Client(broker.tls_url, ca=two.ca_certificate, server_name="two.example").connect()
    with pytest.raises(roamqtt.CertificateError, match="key"):
        roamqtt.Broker(certificate=one.certificate, key=two.key)


async def test_client_certificates_are_names():
    made = roamqtt.identity_make("broker")
    ours = roamqtt.identity_issue(made.ca_certificate, made.ca_key, "sensor-7", client=True)
    async with roamqtt.Broker(
        quic=None, tcp=None, tls="127.0.0.1:0", ca=made.ca_certificate, certificate=made.certificate, key=made.key,
        require_client_certificate=True, subject_as_user_name=True,
    ) as broker:  # fmt: skip
        how = {"ca": made.ca_certificate, "client_id": "s"}
        async with roamqtt.Client(broker.tls_url, certificate=ours.certificate, key=ours.key, **how):
            assert broker.client("s")["user_name"] == "sensor-7"
        refused = watch(broker, roamqtt.PeerRefused)
        await asyncio.sleep(0)
        with pytest.raises(roamqtt.NetworkError):
            await roamqtt.Client(broker.tls_url, reconnect=False, **how).connect()
        assert (await refused).error is not None


async def test_passwords_and_lists_are_replaced():
    async with roamqtt.Broker(quic=None, passwords=PASSWORDS, acl="user user\ntopic readwrite a/#\n") as broker:
        async with roamqtt.Client(broker.tcp_url, user_name="user", password="pencil", reconnect=False) as c:
            await c.publish("a/x", "x", qos=1)
            with pytest.raises(roamqtt.UsageError, match="acl, line 2"):
                broker.set_acl("topic a/#\nallow b\n")
            broker.set_acl("user user\ntopic readwrite b/#\n")
            with pytest.raises(roamqtt.Refused):
                await c.publish("a/x", "x", qos=1)
            await c.publish("b/x", "x", qos=1)
            with pytest.raises(roamqtt.UsageError, match="passwords, line 1"):
                broker.set_passwords("user:pencil\n")
            gone = watch(broker, roamqtt.PeerDisconnected)
            await asyncio.sleep(0)
            broker.set_passwords(PASSWORDS.replace("user:", "other:"))
            assert (await gone).reason == 0x87
    async with roamqtt.Broker(quic=None) as broker:
        with pytest.raises(roamqtt.UsageError) as caught:
            broker.set_passwords(PASSWORDS)
        assert caught.value.name == "ROAM_E_STATE"


async def test_limits_change_while_it_runs():
    async with roamqtt.Broker(quic=None) as broker:
        broker.reconfigure(session_expiry_max_s=7, server_keep_alive=9, connect_timeout_ns=200_000_000)
        reader, writer = await asyncio.open_connection(*broker.addresses["tcp"].split(":"))
        writer.write(greet("raw"))
        packet, _ = mqtt.decode(await asyncio.wait_for(reader.read(1000), 5), from_server=True)
        assert dict(packet.properties)[roamqtt.PropertyId.SERVER_KEEP_ALIVE] == 9
        writer.close()
        reader, writer = await asyncio.open_connection(*broker.addresses["tcp"].split(":"))
        assert await asyncio.wait_for(reader.read(1000), 5) == b""  # no CONNECT in 0.2 s
        writer.close()
        with pytest.raises(roamqtt.UsageError, match="maximum_qos: cannot change"):
            broker.reconfigure(maximum_qos=1)
        with pytest.raises(roamqtt.UsageError, match="receive_maximum"):
            broker.reconfigure(queue_messages_max=5, receive_maximum=0)
        assert broker._options.receive_maximum == 1024 and broker._options.queue_messages_max == 10000
        with pytest.raises(roamqtt.UsageError, match="is it queue_messages_max"):
            broker.reconfigure(queue_message_max=5)


async def test_who_may_come_in_is_decided_later():
    async with roamqtt.Broker(quic=None, decide=True) as broker:
        requests = {}

        async def listen():
            async for event in broker.events():
                if isinstance(event, roamqtt.AuthRequest):
                    requests[event.client_id] = event
                    if event.client_id == "c":
                        event.admit()

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        clients = {}
        for name, user in (("a", "anna"), ("b", None)):
            c = roamqtt.Client(broker.tcp_url, client_id=name, user_name=user, password="secret" if user else None)
            clients[name] = asyncio.ensure_future(c.connect()), c
        async with roamqtt.Client(broker.tcp_url, client_id="c") as third:  # others are served meanwhile
            await third.publish("t", "x", qos=1)
        async with asyncio.timeout(5):
            while not {"a", "b"} <= set(requests):
                await asyncio.sleep(0.01)
        a, b = requests["a"], requests["b"]
        assert (a.user_name, a.password, a.method, a.round, a.again) == ("anna", b"secret", None, 0, False)
        assert (b.user_name, b.password) == (None, None) and b.remote.startswith("127.0.0.1:") and "secret" not in repr(a)
        with pytest.raises(roamqtt.UsageError):
            broker.admit(b.peer, 0x10)  # no such verdict; it waits on
        b.admit(0x8A, text="not on a " + "Friday")
        with pytest.raises(roamqtt.Refused, match="not on a Friday") as caught:
            await clients["b"][0]
        assert caught.value.reason == 0x8A
        a.admit(user_name="Anna")
        await clients["a"][0]
        assert broker.client("a")["user_name"] == "Anna"
        with pytest.raises(roamqtt.UsageError) as gone:
            a.admit()
        assert gone.value.name == "ROAM_E_NOT_FOUND"
        await clients["a"][1].close()
    await listening  # events end with the broker


async def decide_slowly(request):
    await asyncio.sleep(0.05)
    return decide_at_once(request)


def decide_at_once(request):
    if request.client_id == "odd":
        raise RuntimeError("the database is away")
    if request.client_id == "named":
        return roamqtt.Admission(user_name="somebody")
    if request.client_id == "banned":
        return roamqtt.Admission(reason=0x8A, text="you know why")
    return request.user_name == "anna" and request.password == b"secret"


@pytest.mark.parametrize("decide", [decide_at_once, decide_slowly])
async def test_a_function_decides(decide):
    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(str(context["exception"])))
    async with roamqtt.Broker(decide=decide) as broker:
        async with roamqtt.Client(broker.url, ca=broker.ca, user_name="anna", password="secret", client_id="x"):
            assert broker.client("x")["user_name"] == "anna"
        async with roamqtt.Client(broker.tcp_url, client_id="named"):
            assert broker.client("named")["user_name"] == "somebody"
        for client_id, reason, words in (("x", 0x87, "not authorized"), ("banned", 0x8A, "you know why"), ("odd", 0x80, "unspecified")):
            with pytest.raises(roamqtt.Refused, match=words) as caught:
                await roamqtt.Client(broker.tcp_url, client_id=client_id, reconnect=False).connect()
            assert caught.value.reason == reason
        assert said == ["the database is away"]
        assert broker.stats()["auth_failures"] == 3


async def test_a_method_of_ones_own_in_rounds():
    """Three rounds: CONNECT, a question and its answer, and the verdict with the last word; then once more while connected."""

    def decide(request):
        assert request.method == "riddle"
        if request.round == 0:
            return roamqtt.Admission(reason=0x18, data=b"what walks?")
        return roamqtt.Admission(data=b"welcome") if request.data == b"man" else False

    async with roamqtt.Broker(decide=decide) as broker:
        c = roamqtt.Client(broker.url, ca=broker.ca, auth_method="riddle", auth_data=b"ready")
        said = []

        async def answer():
            async for event in c.events():
                if isinstance(event, roamqtt.Auth):
                    said.append((event.method, event.data, event.reason))
                    if event.reason == 0x18:
                        c.auth(b"man")

        answering = asyncio.ensure_future(answer())
        await asyncio.sleep(0)
        await asyncio.wait_for(c.connect(), 5)
        with pytest.raises(roamqtt.UsageError):
            c.auth(b"man")
        c.reauthenticate(b"again")
        for _ in range(100):
            if len(said) >= 4:
                break
            await asyncio.sleep(0.02)
        await c.close()
        await answering
        rounds = [("riddle", b"what walks?", 0x18), ("riddle", b"welcome", 0)]
        assert said == rounds * 2


async def test_sent_to_another_server():
    async with roamqtt.Broker() as old, roamqtt.Broker(ca=old.ca, certificate=old._options.tls.certificate, key=old._options.tls.key) as new:
        clients = [
            roamqtt.Client(old.url, ca=old.ca, client_id=f"c{i}", clean_start=False, session_expiry_s=60, reconnect_min_ns=10_000_000)
            for i in range(3)
        ]
        for c in clients:
            await c.connect()
        told, drained = watch(clients[0], roamqtt.Redirected), watch(old, roamqtt.Drained)
        back = watch(clients[0], roamqtt.Connected)
        await asyncio.sleep(0)
        with pytest.raises(roamqtt.UsageError):
            await old.send_away("", spread_ns=0)
        assert await asyncio.wait_for(old.send_away(new.addresses["quic"], spread_ns=100_000_000), 10) == 3
        assert (await drained).count == 3
        event = await told
        assert event.reason == 0x9C and new.addresses["quic"] in event.text
        assert (await back).remote == new.addresses["quic"]
        for c in clients:
            await asyncio.wait_for(c.publish("t", "x", qos=1), 10)
            assert c.stats()["redirects"] == 1
            await c.close()
        assert old.stats()["drained"] == 3 and {e["client_id"] for e in new.clients()} == {"c0", "c1", "c2"}


async def test_a_snapshot_shows_everything():
    async with roamqtt.Broker() as broker:
        async with (
            roamqtt.Client(broker.url, ca=broker.ca, client_id="mover", local="127.0.10.200") as mover,
            roamqtt.Client(broker.tcp_url, client_id="still"),
        ):
            await mover.subscribe("t", qos=1)
            await mover.migrate("127.0.10.203")
            broker.publish("t", "from within", qos=1)
            assert (await asyncio.wait_for(anext(mover.messages()), 5)).payload == b"from within"
            shown = broker.snapshot()
        assert shown["stats"]["connections"] == 2 and shown["stats"]["moves"] == 1
        assert {each.transport for each in shown["listeners"]} == {"quic", "tcp"}
        by_id = {each["client_id"]: each for each in shown["clients"]}
        assert by_id["mover"]["transport"] == "quic" and by_id["still"]["transport"] == "tcp"
        assert by_id["mover"]["moves"] == 1 and by_id["mover"]["subscriptions"] == 1 and by_id["mover"]["messages_out"] == 1
        assert [c.address.split(":")[0] for c in by_id["mover"]["history"]] == ["127.0.10.200", "127.0.10.203"]
        assert [c.by_connect for c in by_id["mover"]["history"]] == [True, False]
        assert by_id["mover"]["ip_address"].startswith("127.0.10.203:")
        assert by_id["mover"]["connect_address"].startswith("127.0.10.200:")
        with pytest.raises(roamqtt.UsageError):
            broker.kick("nobody")
        with pytest.raises(roamqtt.UsageError):
            broker.publish("a/#", "x")


async def test_lines_go_to_files(tmp_path):
    log, keys = tmp_path / "log", tmp_path / "keys"
    with log.open("w") as log_file, keys.open("w") as key_file:
        broker = roamqtt.Broker(log=log_file, log_level="debug", keylog=key_file, qlog=tmp_path / "qlogs")
    async with broker, roamqtt.Client(broker.url, ca=broker.ca, client_id="somebody"):  # both files are closed by now
        pass
    qlogs = list((tmp_path / "qlogs").glob("*.sqlog"))
    assert len(qlogs) == 1 and '"vantage_point"' in qlogs[0].read_text() and qlogs[0].stat().st_mode & 0o777 == 0o600
    assert all(json.loads(record) for record in qlogs[0].read_text().split("\x1e")[1:])
    assert "somebody" in log.read_text() and "SERVER_TRAFFIC_SECRET_0" in keys.read_text()


async def test_lines_as_json(tmp_path):
    with (tmp_path / "broker").open("w") as one, (tmp_path / "client").open("w") as other:
        broker = roamqtt.Broker(log=one, log_level="info", log_format="json")
        async with broker:
            how = {"ca": broker.ca, "client_id": 'some"body', "log": other, "log_level": "info", "log_format": "json"}
            async with roamqtt.Client(broker.url, **how):
                pass
    heard = [json.loads(line) for line in (tmp_path / "broker").read_text().splitlines()]
    (connected,) = (entry for entry in heard if entry["name"] == "CLIENT_CONNECTED")
    at, address = connected.pop("at"), connected.pop("address")
    assert at > 0 and address.startswith("127.0.0.1:")
    assert connected == {
        "event": "log", "level": "info", "text": f'client some"body connected from {address} over quic', "name": "CLIENT_CONNECTED",
        "client": 'some"body', "transport": "quic", "session": None,
    }  # fmt: skip
    told = [json.loads(line) for line in (tmp_path / "client").read_text().splitlines()]
    assert [e["to"] for e in told if e["name"] == "PHASE"][-1] == "closed"


def test_tls_is_what_it_says():
    """An independent client: Python's own TLS over the embedded broker."""

    async def run():
        made = roamqtt.identity_make("localhost")
        async with roamqtt.Broker(quic=None, tls="127.0.0.1:0", certificate=made.certificate, key=made.key) as broker:
            context = ssl.create_default_context(cadata=made.ca_certificate.decode())
            host, port = broker.addresses["tls"].split(":")
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.write(greet("other"))
            packet, _ = mqtt.decode(await asyncio.wait_for(reader.read(1000), 5), from_server=True)
            assert packet.reason == 0 and broker.client("other")["transport"] == "tls"
            writer.close()

    asyncio.run(run())


async def cancelled(coroutine):
    """Begun, given its first turn, and cancelled."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def subscribe(client):
    await client.subscribe("t", qos=1)


async def test_what_is_cancelled_can_be_asked_for_again():
    async with roamqtt.Broker() as broker:
        await cancelled(broker.listen("tcp", "127.0.0.1"))
        async with asyncio.timeout(5):
            while len(broker.listeners) < 3:  # it is bound all the same, and known
                await asyncio.sleep(0.01)
        async with roamqtt.Client(f"mqtt://{broker.listeners[2].local}"):
            pass
        async with roamqtt.Client(broker.url, ca=broker.ca, local="127.0.10.200", client_id="c", reconnect=False) as c:
            await cancelled(c.migrate("127.0.10.201"))
            moved = None
            async with asyncio.timeout(5):
                while moved is None:
                    try:
                        moved = await c.migrate("127.0.10.202")
                    except roamqtt.UsageError as error:
                        assert error.name in ("ROAM_E_STATE", "ROAM_E_BLOCKED")  # the first one is still under way
                        await asyncio.sleep(0.01)
            assert moved.local.startswith("127.0.10.202:")
            await cancelled(c.publish("t", "x", qos=1))
            await cancelled(subscribe(c))
            assert await c.publish("t", "y", qos=1) in (0, 0x10)
            assert c._waiters._futures == {}
            await cancelled(broker.send_away("elsewhere.example", spread_ns=1_000_000_000))
            assert await asyncio.wait_for(broker.send_away("elsewhere.example"), 5) in (0, 1)
            assert broker._waiters._futures == {}
