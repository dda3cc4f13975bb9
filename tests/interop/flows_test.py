"""MQTT-next over sockets, rule by rule, against code that shares nothing with ours: an aioquic client at our broker, and our client at an
aioquic server. docs/design/streams.md says which rule each test is for."""
import asyncio
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from program import Broker, Process  # noqa: E402

try:
    import aioquic_peer as peer
except ImportError:
    peer = None

NEXT = "MQTT-next"
KEEP = 0x10 | 0x40


async def flow(p, number, flags, expire_s=60, one_way=False):
    stream = p.open(one_way)
    p.say(stream, peer.header(peer.CLIENT, number, flags, expire_s))
    return stream


async def close_of(p):
    await p.until(lambda: p.closed, "the close")
    return p.closed.error_code


class Flows(unittest.TestCase):
    words = ()

    @classmethod
    def setUpClass(cls):
        if peer is None:
            raise unittest.SkipTest("aioquic is not installed (tests/requirements.txt)")
        cls.broker = Broker(*cls.words)

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()

    def play(self, *stories, alpn=NEXT):
        async def all_of_it():
            for story in stories:
                async with peer.dial(self.broker.quic, alpn) as p:
                    await story(p)
        asyncio.run(asyncio.wait_for(all_of_it(), 60))


class Ours(Flows):
    """Client flows at our broker."""

    def test_which_packet_may_travel_where(self):
        """CONNECT, DISCONNECT, AUTH on the control flow alone; everything else on a client flow; QoS 0 alone on a one-way stream."""
        async def story(p):
            await p.greet("table")
            a = await flow(p, 2, peer.CLEAN)
            for say, kind in ((peer.subscribe(1, "t", 2), peer.SUBACK), (peer.publish("t/none", qos=1, packet_id=2), peer.PUBACK),
                              (peer.publish("t/none", qos=2, packet_id=3), peer.PUBREC), (peer.answer(peer.PUBREL, 3), peer.PUBCOMP),
                              (b"\xc0\x00", peer.PINGRESP), (peer.unsubscribe(4, "t"), peer.UNSUBACK)):
                p.say(a, say)
                await p.hear(a, kind)
            for number, say in enumerate((peer.connect_packet("x"), b"\xe0\x00", b"\xf0\x02\x18\x00"), 2):
                b = await flow(p, 2 * number, peer.CLEAN)
                p.say(b, say)
                await p.until(lambda: p.resets.get(b) == 0xBC, "FLOW_CANCELLED")
            for number, say in enumerate((peer.publish("t", qos=1, packet_id=1), peer.subscribe(1, "t"), b"\xc0\x00", b"\xe0\x00"), 9):
                c = await flow(p, 2 * number, peer.CLEAN, one_way=True)
                p.say(c, say)
                await p.until(lambda: p.stops.get(c) == 0xBC, "FLOW_CANCELLED")
            await p.ping()
        self.play(story)

    def test_one_way_streams(self):
        async def story(p):
            await p.greet("oneway")
            p.say(0, peer.subscribe(1, "o"))
            await p.hear(0, peer.SUBACK)
            for number in range(2, 200, 2):  # more than may be open at once
                a = p.open(one_way=True)
                p.say(a, peer.header(peer.CLIENT, number, peer.CLEAN) + peer.publish("o", str(number).encode()), end=True)
                self.assertEqual((await p.hear(0, peer.PUBLISH)).payload, str(number).encode())
            b = await flow(p, 2, peer.CLEAN | 0x40, one_way=True)
            await p.until(lambda: p.stops.get(b) == 0xB8, "PERSISTENT_SUB")
        self.play(story)

    def test_one_way_streams_are_of_mqtt_next(self):
        async def story(p):
            await p.greet("plain")
            a = p.open(one_way=True)
            p.say(a, peer.publish("o"))
            await p.until(lambda: a in p.stops, "STOP_SENDING")
            await p.ping()
        self.play(story, alpn="mqtt")

    def test_headers_come_in_pieces_with_what_is_unknown(self):
        async def story(p):
            await p.greet("pieces")
            a = p.open()
            for byte in b"\x12\x40\x02\x80\x00\x00\x3c\x81\x03abc\x01d\x00":  # two optional headers
                p.say(a, bytes([byte]))
                await asyncio.sleep(0.01)
            p.say(a, peer.publish("none", qos=1, packet_id=7))
            await p.hear(a, peer.PUBACK, 7)
            b = p.open()
            p.say(b, peer.number(0x21 + 0x1f * 1000) + b"whatever")  # grease
            await p.until(lambda: p.resets.get(b) == 0, "NO_ERROR")
            await p.ping()
        self.play(story)

    def test_an_idle_opening_is_aborted(self):
        async def story(p):
            await p.greet("idle")
            a = p.open()
            p.say(a, b"\x12\x40")
            await p.until(lambda: p.resets.get(a) == 0xBB, "FLOW_OPEN_IDLE", patience=15)
            await p.ping()
        self.play(story)

    def test_each_flow_has_its_own(self):
        """Subscriptions (with the same identifier, too), packet identifiers, aliases, Receive Maximum."""
        async def story(p):
            await p.greet("own")
            a, b = await flow(p, 2, peer.CLEAN), await flow(p, 4, peer.CLEAN)
            for stream, alias in ((a, "x"), (b, "y")):
                p.say(stream, peer.packet(0x82, b"\0\1" + b"\2\x0b\x09" + peer.text("own/#") + b"\1"))  # Subscription Identifier 9
                await p.hear(stream, peer.SUBACK, 1)
                p.say(stream, peer.publish(alias, qos=1, packet_id=1, properties=b"\x23\0\1"))
                await p.hear(stream, peer.PUBACK, 1)
            p.say(0, peer.subscribe(1, "+"))
            await p.hear(0, peer.SUBACK, 1)
            for stream, topic in ((b, "y"), (a, "x")):
                p.say(stream, peer.publish("", properties=b"\x23\0\1"))
                self.assertEqual((await p.hear(0, peer.PUBLISH)).topic, topic)
            p.say(0, peer.publish("own/1", qos=1, packet_id=1))
            await p.hear(0, peer.PUBACK, 1)
            for stream in (a, b):
                found = await p.hear(stream, peer.PUBLISH, 1)
                self.assertIn(b"\x0b\x09", found.body)
            self.assertTrue(p.is_quiet(0))
        self.play(story)

    def test_aliases_persist_where_the_header_asks(self):
        async def story(p):
            await p.greet("aliases")
            p.say(0, peer.subscribe(1, "long/topic"))
            await p.hear(0, peer.SUBACK, 1)
            for number, flags, code in ((2, peer.PERSISTENT_ALIAS, None), (4, peer.PERSISTENT_QOS, 0xBC)):
                a = await flow(p, number, flags | peer.CLEAN)
                p.say(a, peer.publish("long/topic", properties=b"\x23\0\2"))
                await p.hear(0, peer.PUBLISH)
                p.reset(a)
                await p.ping()
                b = await flow(p, number, flags | peer.ABORT_IF_NO_STATE)
                p.say(b, peer.publish("", b"again", properties=b"\x23\0\2"))
                if code:
                    await p.until(lambda: p.resets.get(b) == code, "FLOW_CANCELLED")
                else:
                    self.assertEqual((await p.hear(0, peer.PUBLISH)).topic, "long/topic")
        self.play(story)

    def test_ends_and_expiry(self):
        async def story(p):
            await p.greet("ends")
            a = await flow(p, 2, peer.CLEAN | KEEP)
            p.say(a, peer.publish("none", qos=1, packet_id=3), end=True)  # graceful: all is answered, then FIN
            await p.hear(a, peer.PUBACK, 3)
            await p.until(lambda: a in p.ended, "FIN")
            b = await flow(p, 4, peer.CLEAN | KEEP)
            p.say(b, b"\xc0\x00")  # it is there: a reset may outrun what has not been read
            await p.hear(b, peer.PINGRESP)
            p.reset(b)
            await p.ping()
            c = await flow(p, 4, KEEP | peer.ABORT_IF_NO_STATE, expire_s=1)
            p.say(c, b"\xc0\x00")  # it is there
            await p.hear(c, peer.PINGRESP)
            p.reset(c)
            await asyncio.sleep(1.5)
            for number in (2, 4):
                d = await flow(p, number, KEEP | peer.ABORT_IF_NO_STATE)
                await p.until(lambda: p.resets.get(d) == 0xB3, "NO_FLOW_STATE")
            e = await flow(p, 6, KEEP)  # without abort_if_no_state it goes on empty
            p.say(e, peer.publish("none", qos=1, packet_id=3))
            await p.hear(e, peer.PUBACK, 3)
        self.play(story)

    def test_a_control_stream_cut_within_a_packet(self):
        async def story(p):
            await p.greet("cut")
            p.say(0, b"\x30\x0a\x00", end=True)
            self.assertEqual(await close_of(p), 0xB4)
        self.play(story)

    def test_a_graceful_disconnect_and_others(self):
        """DISCONNECT, then the end of the control flow: no will. Anything else is abnormal, whatever code it has."""
        def mortal(client_id):
            body = peer.text("MQTT") + bytes([5, 6, 0, 60, 0]) + peer.text(client_id) + b"\0" + peer.text("wills") + peer.text(client_id)
            return peer.header(peer.CONTROL) + peer.packet(0x10, body)

        async def story(p):
            await p.greet("heir")
            p.say(0, peer.subscribe(1, "wills"))
            await p.hear(0, peer.SUBACK, 1)
            for name, last, dies in (("polite", b"\xe0\x00", False), ("rude", b"", True)):
                async with peer.dial(self.broker.quic, NEXT) as other:
                    other.open()
                    other.say(0, mortal(name))
                    await other.hear(0, peer.CONNACK)
                    a = await flow(other, 2, peer.CLEAN)
                    other.say(a, b"\xc0\x00")
                    await other.hear(a, peer.PINGRESP)
                    other.say(0, last, end=True)
                    self.assertEqual(await close_of(other), 0 if not dies else 1)
                if dies:
                    self.assertEqual((await p.hear(0, peer.PUBLISH)).payload, name.encode())
                else:
                    await p.ping()
                    self.assertTrue(p.is_quiet(0))
        self.play(story)

    def test_which_packet_may_travel_in_datagrams(self):
        async def story(p):
            await p.greet("datagrams")
            for say, kind in ((peer.subscribe(1, "d", 2), peer.SUBACK), (peer.publish("d/none", qos=2, packet_id=3), peer.PUBREC),
                              (peer.answer(peer.PUBREL, 3), peer.PUBCOMP), (peer.unsubscribe(4, "d"), peer.UNSUBACK)):
                p.say_datagram(say)
                await p.hear(0, kind)
            for say in (b"", b"\0not MQTT", peer.connect_packet("x"), b"\xc0\x00", b"\xe0\x00", b"\xf0\x02\x18\x00"):
                p.say_datagram(say)
            await p.ping()
            self.assertTrue(p.is_quiet(0))
        self.play(story)


class Pushed(Flows):
    """Server flows of our broker."""

    words = ("--assigned", "cmd/%c", "--assigned-qos", "2")
    CLEAN, RECOVER = 0x11, 0x12

    async def begin(self, p, client_id):
        await p.greet(client_id, expiry_s=3600)
        self.assertEqual(await p.hear_header(1), (peer.SERVER, 1, 3600, self.CLEAN))

    def test_what_is_assigned_travels_on_its_own_flow(self):
        async def story(p):
            await self.begin(p, "own")
            p.say(0, peer.publish("cmd/own", b"go", qos=2, packet_id=1) + peer.publish("cmd/other"))
            await p.hear(0, peer.PUBREC, 1)
            found = await p.hear(1, peer.PUBLISH, 1)
            self.assertEqual((found.payload, found.qos), (b"go", 2))
            p.say(1, peer.answer(peer.PUBREC, 1))
            await p.hear(1, peer.PUBREL, 1)
            p.say(1, peer.answer(peer.PUBCOMP, 1) + b"\xc0\x00" + peer.publish("none", qos=1, packet_id=1))
            await p.hear(1, peer.PINGRESP)
            await p.hear(1, peer.PUBACK, 1)
            self.assertTrue(p.is_quiet(0))
        self.play(story)

    def test_nobody_subscribes_on_a_server_flow(self):
        async def story(p):
            await self.begin(p, "subscribes")
            p.say(1, peer.subscribe(1, "t"))
            await p.until(lambda: p.resets.get(1) == 0xBC, "FLOW_CANCELLED")
            self.assertEqual(await p.hear_header(5), (peer.SERVER, 1, 3600, self.CLEAN))
        self.play(story)

    def test_a_lost_stream_is_recovered(self):
        async def first(p):
            await self.begin(p, "recovers")
            p.say(0, peer.publish("cmd/recovers", b"one", qos=1, packet_id=1))
            await p.hear(0, peer.PUBACK, 1)
            await p.hear(1, peer.PUBLISH, 1)
            p.reset(1, 0xBD)
            self.assertEqual((await p.hear_header(5))[3], self.RECOVER)
            self.assertTrue((await p.hear(5, peer.PUBLISH, 1)).dup)

        async def second(p):
            await p.greet("recovers", expiry_s=3600, clean=False)
            self.assertEqual((await p.hear_header(1))[3], self.RECOVER)
            self.assertTrue((await p.hear(1, peer.PUBLISH, 1)).dup)
            p.reset(1, 0xB3)  # but we know nothing of it
            self.assertEqual((await p.hear_header(5))[3], self.CLEAN)
            self.assertFalse((await p.hear(5, peer.PUBLISH)).dup)
        self.play(first, second)

    def test_who_wants_none_is_left_alone(self):
        async def story(p):
            await self.begin(p, "unwilling")
            p.reset(1, 0xC0)
            p.say(0, peer.publish("cmd/unwilling", qos=1, packet_id=1))
            await p.hear(0, peer.PUBACK, 1)
            await p.ping()
            self.assertNotIn(5, p.bytes)
        self.play(story)

    def test_only_the_owner_ends_a_flow(self):
        async def story(p):
            await self.begin(p, "ends")
            p.say(1, b"", end=True)
            self.assertEqual(await close_of(p), 0xB4)
        self.play(story)

    def test_without_a_stream_it_waits(self):
        async def story(p):
            await p.greet("narrow")
            p.say(0, peer.publish("cmd/narrow", qos=1, packet_id=1))
            await p.hear(0, peer.PUBACK, 1)
            await p.ping()
            self.assertNotIn(1, p.bytes)
            p._quic._local_max_streams_bidi.value = 4  # MAX_STREAMS follows
            p.transmit()
            await p.hear_header(1)
            await p.hear(1, peer.PUBLISH)

        async def all_of_it():
            class Narrow(peer.Peer):
                def __init__(self, *args, **kwargs):
                    super().__init__(*args, **kwargs)
                    self._quic._local_max_streams_bidi.value = self._quic._local_max_streams_bidi.sent = 0
            async with peer.dial(self.broker.quic, NEXT, create_protocol=Narrow) as p:
                await story(p)
        asyncio.run(asyncio.wait_for(all_of_it(), 60))


class Restarted(Flows):
    """The broker is killed; what its store has of flows is keyed by flow and packet identifier."""

    def test_flows_survive_kill_9(self):
        with tempfile.TemporaryDirectory() as folder:
            store = os.path.join(folder, "store")
            words = ("--store", store, "--assigned", "cmd/%c", "--assigned-qos", "2")

            async def first(p):
                await p.greet("survivor", expiry_s=3600)
                a, b = await flow(p, 2, peer.CLEAN | KEEP), await flow(p, 4, peer.CLEAN | KEEP)
                p.say(a, peer.subscribe(1, "s", 1) + peer.publish("none", qos=2, packet_id=9))
                await p.hear(a, peer.SUBACK, 1)
                await p.hear(a, peer.PUBREC, 9)
                p.say(b, peer.publish("none", qos=2, packet_id=9))
                await p.hear(b, peer.PUBREC, 9)
                p.say(b, peer.answer(peer.PUBREL, 9))
                await p.hear(b, peer.PUBCOMP, 9)
                p.say(0, peer.publish("s", b"kept", qos=1, packet_id=1) + peer.publish("cmd/survivor", b"go", qos=2, packet_id=2))
                await p.hear(0, peer.PUBACK, 1)
                await p.hear(0, peer.PUBREC, 2)
                await p.hear_header(1)
                await p.hear(1, peer.PUBLISH, 1)
                p.say(1, peer.answer(peer.PUBREC, 1))
                await p.hear(1, peer.PUBREL, 1)

            async def second(p):
                self.assertTrue(await p.greet("survivor", expiry_s=3600, clean=False))
                a = await flow(p, 2, KEEP | peer.ABORT_IF_NO_STATE)
                b = await flow(p, 4, KEEP | peer.ABORT_IF_NO_STATE)
                self.assertEqual((await p.hear(a, peer.PUBLISH)).payload, b"kept")
                p.say(a, peer.publish("none", qos=2, packet_id=9, dup=True) + peer.answer(peer.PUBREL, 9))
                await p.hear(a, peer.PUBREC, 9)
                self.assertNotEqual((await p.hear(a, peer.PUBCOMP, 9)).body[2:3], b"\x92")  # it was known
                p.say(b, peer.answer(peer.PUBREL, 9))
                self.assertEqual((await p.hear(b, peer.PUBCOMP, 9)).body[2:3], b"\x92")  # and that released
                self.assertEqual((await p.hear_header(1))[3], 0x12)
                await p.hear(1, peer.PUBREL, 1)

            def play(broker, story):
                async def all_of_it():
                    async with peer.dial(broker.quic, NEXT) as p:
                        await story(p)
                asyncio.run(asyncio.wait_for(all_of_it(), 60))
            broker = Broker(*words)
            try:
                play(broker, first)
                broker.process.kill()
                broker.process.wait(30)
            finally:
                broker.close()
            broker = Broker(*words)
            try:
                play(broker, second)
            finally:
                broker.close()


class OurClient(unittest.TestCase):
    """`roamqtt sub` at an aioquic server."""

    @classmethod
    def setUpClass(cls):
        if peer is None:
            raise unittest.SkipTest("aioquic is not installed (tests/requirements.txt)")

    def play(self, story, *words, alpn=NEXT):
        async def all_of_it():
            async with peer.listen(alpn) as (port, met):
                client = Process("sub", "-L", f"mqtt-quic://127.0.0.1:{port}/t", "--insecure", "-q", "2", *words)
                try:
                    server = await asyncio.wait_for(met.get(), peer.PATIENCE)
                    await server.meet()
                    await server.grant()
                    await story(server, client)
                finally:
                    client.close()
        asyncio.run(asyncio.wait_for(all_of_it(), 60))

    @staticmethod
    async def printed(client, text):
        await asyncio.to_thread(client.wait_out, text)

    @staticmethod
    def flow(server, kind, number, flags, expire_s=60, one_way=False):
        stream = server.open(one_way)
        server.say(stream, peer.header(kind, number, flags, expire_s))
        return stream

    def test_server_flows(self):
        async def story(server, client):
            a = self.flow(server, peer.SERVER, 1, peer.CLEAN | 0x10)
            server.say(a, peer.publish("t", b"by flow", qos=2, packet_id=4))
            await server.hear(a, peer.PUBREC, 4)
            server.say(a, peer.answer(peer.PUBREL, 4))
            await server.hear(a, peer.PUBCOMP, 4)
            await self.printed(client, b"by flow\n")
            b = self.flow(server, peer.SERVER, 3, peer.CLEAN, one_way=True)
            server.say(b, peer.publish("t", b"one way"), end=True)
            await self.printed(client, b"one way\n")
            server.say(a, peer.publish("t", b"last", qos=1, packet_id=5), end=True)
            await server.hear(a, peer.PUBACK, 5)
            await server.until(lambda: a in server.ended, "FIN")
        self.play(story, "--flows")

    def test_recovery_and_take_over(self):
        async def story(server, client):
            a = self.flow(server, peer.SERVER, 1, peer.CLEAN | 0x10)
            server.say(a, peer.publish("t", b"once", qos=2, packet_id=4) + b"\x30\x09")
            await server.hear(a, peer.PUBREC, 4)
            b = self.flow(server, peer.SERVER, 1, peer.ABORT_IF_NO_STATE | 0x10)  # the later stream wins
            await server.until(lambda: server.resets.get(a) == 0, "the older stream's end")
            server.say(b, peer.publish("t", b"once", qos=2, packet_id=4, dup=True))
            await server.hear(b, peer.PUBREC, 4)
            server.say(b, peer.publish("t", b"end", qos=1, packet_id=5))
            await self.printed(client, b"end\n")
            self.assertEqual(bytes(client.out).count(b"once\n"), 1)
            server.say(b, b"\x30\x09", end=True)  # cut
            await server.until(lambda: server.resets.get(b) == 0xBA, "INCOMPLETE_PACKET")
            c = self.flow(server, peer.SERVER, 1, peer.ABORT_IF_NO_STATE | 0x10)
            server.say(c, peer.publish("t", b"there", qos=1, packet_id=6))
            await server.hear(c, peer.PUBACK, 6)
        self.play(story, "--flows")

    def test_stream_errors(self):
        async def story(server, client):
            for name, first, code in (
                    ("clean and recovered", peer.header(peer.SERVER, 1, 0x03), 0xBE), ("client's type", peer.header(peer.CLIENT, 2, 1), 0xB5),
                    ("even number", peer.header(peer.SERVER, 2, 1), 0xB6), ("user", peer.header(peer.USER, 1)[:2], 0xBE),
                    ("subscriptions", peer.header(peer.SERVER, 1, 0x41), 0xB8), ("no state", peer.header(peer.SERVER, 1, 0x02), 0xB3),
                    ("SUBACK", peer.header(peer.SERVER, 3, 1) + b"\x90\x04\0\1\0\0", 0xBC), ("grease", peer.number(0x21), 0)):
                with self.subTest(name):
                    stream = server.open()
                    server.say(stream, first)
                    await server.until(lambda: stream in server.resets, "a reset")
                    self.assertEqual(server.resets[stream], code)
            server.say(0, peer.publish("t", b"alive"))
            await self.printed(client, b"alive\n")
        self.play(story, "--flows")

    def test_connection_errors(self):
        async def control(server, client):
            self.flow(server, peer.CONTROL, 0, 0)
            self.assertEqual(await close_of(server), 0xB4)

        async def twice(server, client):
            for _ in range(2):
                self.flow(server, peer.SERVER, 1, peer.ABORT_IF_NO_STATE)
                await asyncio.sleep(0.2)
            self.assertEqual(await close_of(server), 0xB3)
        self.play(control, "--flows")
        self.play(twice, "--flows")

    def test_none_in_the_simple_mode(self):
        async def story(server, client):
            with self.assertRaises(AssertionError):
                a = server.open()
                server.say(a, peer.publish("t", b"pushed"))
                await server.until(lambda: a in server.resets, "a reset", patience=1)
            server.say(0, peer.publish("t", b"alive"))
            await self.printed(client, b"alive\n")
            self.assertNotIn(b"pushed", client.out)
        self.play(story, alpn="mqtt")


del Flows

if __name__ == "__main__":
    unittest.main()
