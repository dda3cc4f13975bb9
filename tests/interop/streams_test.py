"""Streams and datagrams over sockets, from aioquic: the rules of simple multistream (ALPN mqtt) and of MQTT-next at our broker."""
import asyncio
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from program import PROGRAM, Broker  # noqa: E402

try:
    import aioquic_peer as peer
except ImportError:
    peer = None


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if peer is None:
            raise unittest.SkipTest("aioquic is not installed (tests/requirements.txt)")
        cls.broker = Broker()

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()

    def play(self, story, alpn="mqtt", **more):
        async def all_of_it():
            async with peer.dial(self.broker.quic, alpn, **more) as p:
                await story(p)
        asyncio.run(asyncio.wait_for(all_of_it(), 60))


class Simple(Streams):
    def test_alpn_is_exact(self):
        async def story():
            async with peer.dial(self.broker.quic, "MQTT") as p:
                await p.ping()
        with self.assertRaises((ConnectionError, AssertionError)):
            asyncio.run(asyncio.wait_for(story(), 20))

    def test_answers_on_the_stream_of_the_request(self):
        async def story(p):
            await p.greet("answers")
            a, b = p.open(), p.open()
            for stream in (b, a):
                p.say(stream, peer.publish("none", qos=1, packet_id=7))
                await p.hear(stream, peer.PUBACK, 7)
            p.say(a, peer.publish("none", qos=2, packet_id=8))
            await p.hear(a, peer.PUBREC, 8)
            p.say(a, peer.answer(peer.PUBREL, 8))
            await p.hear(a, peer.PUBCOMP, 8)
            self.assertTrue(p.is_quiet(0))
        self.play(story)

    def test_deliveries_on_the_stream_of_the_subscription(self):
        async def story(p):
            await p.greet("deliveries")
            a, b = p.open(), p.open()
            p.say(a, peer.subscribe(1, "d/1", 1))
            p.say(b, peer.subscribe(1, "d/1", 1))
            await p.hear(a, peer.SUBACK, 1)
            await p.hear(b, peer.SUBACK, 1)
            p.say(0, peer.publish("d/1", b"both"))
            self.assertEqual((await p.hear(a, peer.PUBLISH)).payload, b"both")
            self.assertEqual((await p.hear(b, peer.PUBLISH)).payload, b"both")
            p.say(0, peer.publish("d/1", qos=1, packet_id=1))
            await p.hear(0, peer.PUBACK, 1)
            self.assertEqual((await p.hear(a, peer.PUBLISH)).id, 1)  # each stream counts by itself
            self.assertEqual((await p.hear(b, peer.PUBLISH)).id, 1)
            p.say(b, peer.unsubscribe(9, "d/other"))
            self.assertEqual((await p.hear(b, peer.UNSUBACK, 9)).payload, b"\x11")
            p.say(0, peer.unsubscribe(9, "d/1"))
            self.assertEqual((await p.hear(0, peer.UNSUBACK, 9)).payload, b"\x11")
        self.play(story)

    def test_early_streams_wait_for_connack(self):
        async def story(p):
            control, early = p.open(), p.open()
            p.say(early, peer.subscribe(1, "e") + peer.publish("e", qos=1, packet_id=2))
            await asyncio.sleep(0.3)
            self.assertTrue(p.is_quiet(early))
            p.say(control, peer.connect_packet("early"))
            await p.hear(control, peer.CONNACK)
            await p.hear(early, peer.SUBACK, 1)
            kinds = {(await p.hear_any(early)).kind for _ in range(2)}
            self.assertEqual(kinds, {peer.PUBACK, peer.PUBLISH})
        self.play(story)

    def test_nanomq_opens_five_at_once_with_gaps(self):
        async def story(p):
            await p.greet("nano")
            streams = [p.open() for _ in range(4)]
            for i in (3, 1, 2):
                p.say(streams[i], peer.publish("none", qos=1, packet_id=100 * i))
                await p.hear(streams[i], peer.PUBACK, 100 * i)
            p.say(streams[0], peer.subscribe(5, "n"))
            await p.hear(streams[0], peer.SUBACK, 5)
        self.play(story)

    def test_a_broken_stream_harms_itself_alone(self):
        async def story(p):
            await p.greet("broken")
            good = p.open()
            p.say(good, peer.subscribe(1, "b"))
            await p.hear(good, peer.SUBACK, 1)
            for name, data in (("malformed", b"\x36\x02\x00\x00"), ("DISCONNECT", b"\xe0\x00"), ("CONNECT", peer.connect_packet("x"))):
                with self.subTest(name):
                    bad = p.open()
                    p.say(bad, peer.subscribe(1, "b"))
                    await p.hear(bad, peer.SUBACK, 1)
                    p.say(bad, data)
                    await p.until(lambda: bad in p.resets, "its reset")
                    p.say(0, peer.publish("b"))
                    await p.hear(good, peer.PUBLISH)
                    await p.ping()
        self.play(story)

    def test_fin_is_answered_by_fin(self):
        async def story(p):
            await p.greet("fin")
            a = p.open()
            p.say(a, peer.publish("none", qos=1, packet_id=3), end=True)
            await p.hear(a, peer.PUBACK, 3)
            await p.until(lambda: a in p.ended, "FIN")
            await p.ping()
        self.play(story)

    def test_ping_on_a_data_stream_is_not_answered(self):
        async def story(p):
            await p.greet("ping")
            a = p.open()
            p.say(a, b"\xc0\x00")
            await p.ping()
            self.assertTrue(p.is_quiet(a))
            self.assertNotIn(a, p.resets)
        self.play(story)

    def test_datagrams(self):
        async def story(p):
            await p.greet("datagrams")
            p.say(0, peer.subscribe(1, "g"))
            await p.hear(0, peer.SUBACK, 1)
            for ignored in (b"", b"\0other", b"\xe0\x00", b"\xc0\x00", peer.publish("g", qos=1, packet_id=1), b"\x30\x7f", b""):
                p.say_datagram(ignored)
            p.say_datagram(peer.publish("g", b"by datagram"))
            self.assertEqual((await p.hear(0, peer.PUBLISH)).payload, b"by datagram")
            await p.ping()
        self.play(story)

    def test_subscriber_in_datagrams(self):
        async def story(p):
            await p.greet("downward")
            wish = b"\x26" + peer.text("roamqtt-delivery") + peer.text("datagram")
            p.say(0, peer.packet(0x82, b"\0\1" + bytes([len(wish)]) + wish + peer.text("down") + b"\0"))
            await p.hear(0, peer.SUBACK, 1)
            p.say(0, peer.publish("down", b"here"))
            await p.until(lambda: p.datagrams, "a datagram")
            self.assertTrue(p.datagrams[0].endswith(b"here"))
            p.say(0, peer.publish("down", b"x" * 5000))  # does not fit, so it comes on the stream
            self.assertEqual(len((await p.hear(0, peer.PUBLISH)).payload), 5000)
        self.play(story)

    def test_the_guarantee_ends_with_the_stream(self):
        async def first(p):
            await p.greet("ends", expiry_s=3600)
            p.say(0, peer.subscribe(1, "lasts", 1))
            await p.hear(0, peer.SUBACK, 1)
            a, b = p.open(), p.open()
            p.say(a, peer.subscribe(1, "gone", 1) + peer.publish("none", qos=2, packet_id=5))
            await p.hear(a, peer.SUBACK, 1)
            await p.hear(a, peer.PUBREC, 5)
            p.reset(a)
            await p.ping()
            p.say(b, peer.answer(peer.PUBREL, 5))
            self.assertEqual((await p.hear(b, peer.PUBCOMP, 5)).body[2:3], b"\x92")  # nothing is known of it
            p.say(b, peer.subscribe(1, "gone too", 1))
            await p.hear(b, peer.SUBACK, 1)

        async def second(p):
            self.assertTrue(await p.greet("ends", expiry_s=3600, clean=False))
            p.say(0, peer.publish("gone") + peer.publish("gone too") + peer.publish("lasts", b"here"))
            self.assertEqual((await p.hear(0, peer.PUBLISH)).payload, b"here")
        self.play(first)
        self.play(second)

    def test_will_belongs_to_the_control_stream(self):
        async def story(p):
            await p.greet("watcher")
            p.say(0, peer.subscribe(1, "will"))
            await p.hear(0, peer.SUBACK, 1)
            async with peer.dial(self.broker.quic) as other:
                body = peer.text("MQTT") + bytes([5, 6, 0, 60, 0]) + peer.text("mortal") + b"\0" + peer.text("will") + peer.text("gone")
                other.open()
                other.say(0, peer.packet(0x10, body))
                await other.hear(0, peer.CONNACK)
                bad = other.open()
                other.say(bad, b"\x36\x02\x00\x00")
                await other.until(lambda: bad in other.resets, "its reset")
                await other.ping()
                await p.ping()
                self.assertTrue(p.is_quiet(0))
                other.say(0, b"\x36\x02\x00\x00")
                await p.hear(0, peer.PUBLISH)
        self.play(story)

    def test_our_client_uses_streams(self):
        for words in (("--lanes", "per-topic"), ("--lanes", "per-message"), ("--flows", "--lanes", "split"), ("--datagrams",)):
            with self.subTest(" ".join(words)):
                async def story(p):
                    await p.greet("hears")
                    p.say(0, peer.subscribe(1, "c"))
                    await p.hear(0, peer.SUBACK, 1)
                    result = await asyncio.to_thread(
                        subprocess.run,
                        [PROGRAM, "pub", f"mqtt-quic://127.0.0.1:{self.broker.quic}", "--insecure", "-t", "c", "-m", "hello", *words],
                        capture_output=True, timeout=30)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertEqual((await p.hear(0, peer.PUBLISH)).payload, b"hello")
                self.play(story)


class Flows(Streams):
    """MQTT-next."""

    KEEP = 0x10 | 0x40

    async def flow(self, p, number, flags, expire_s=60):
        stream = p.open()
        p.say(stream, peer.header(0x12, number, flags, expire_s))
        return stream

    def test_the_highest_mode_both_speak(self):
        async def story(p):
            self.assertEqual(p.alpn, "MQTT-next")
            await p.greet("highest")
        self.play(story, alpn=["MQTT-next", "mqtt"])

    def test_packets_on_flows(self):
        async def story(p):
            await p.greet("flows")
            a, b = await self.flow(p, 2, peer.CLEAN), await self.flow(p, 1 << 40, peer.CLEAN)
            for stream in (a, b):
                p.say(stream, peer.subscribe(1, "f"))
                await p.hear(stream, peer.SUBACK, 1)
            p.say(a, b"\xc0\x00")
            await p.hear(a, peer.PINGRESP)
            p.say(a, peer.publish("f", qos=1, packet_id=5))
            kinds = [(await p.hear_any(a)).kind for _ in range(2)]
            self.assertEqual(sorted(kinds), [peer.PUBLISH, peer.PUBACK])
            await p.hear(b, peer.PUBLISH)
        self.play(story, alpn="MQTT-next")

    def test_recovery_and_qos_2(self):
        async def first(p):
            await p.greet("recovers", expiry_s=3600)
            a = await self.flow(p, 2, peer.CLEAN | self.KEEP)
            p.say(a, peer.subscribe(1, "r", 1) + peer.publish("r/none", qos=2, packet_id=9))
            await p.hear(a, peer.SUBACK, 1)
            await p.hear(a, peer.PUBREC, 9)
            p.reset(a)
            await p.ping()
            p.say(0, peer.publish("r", b"meanwhile", qos=1, packet_id=1))
            await p.hear(0, peer.PUBACK, 1)
            b = await self.flow(p, 2, self.KEEP | peer.ABORT_IF_NO_STATE)
            self.assertEqual((await p.hear(b, peer.PUBLISH)).payload, b"meanwhile")

        async def second(p):
            self.assertTrue(await p.greet("recovers", expiry_s=3600, clean=False))
            c = await self.flow(p, 2, self.KEEP | peer.ABORT_IF_NO_STATE)
            self.assertTrue((await p.hear(c, peer.PUBLISH)).dup)
            p.say(c, peer.publish("r/none", qos=2, packet_id=9, dup=True) + peer.answer(peer.PUBREL, 9))
            await p.hear(c, peer.PUBREC, 9)
            await p.hear(c, peer.PUBCOMP, 9)
        self.play(first, alpn="MQTT-next")
        self.play(second, alpn="MQTT-next")

    def test_stream_errors(self):
        async def story(p):
            await p.greet("errors")
            for name, first, code in (
                    ("clean and recovered", peer.header(0x12, 2, peer.CLEAN | peer.ABORT_IF_NO_STATE), 0xBE),
                    ("server's type", peer.header(0x13, 3), 0xB5), ("odd number", peer.header(0x12, 3), 0xB6),
                    ("user", peer.header(0x14, 2)[:2], 0xBE),
                    ("no state", peer.header(0x12, 2, peer.ABORT_IF_NO_STATE), 0xB3),
                    ("DISCONNECT", peer.header(0x12, 4, peer.CLEAN) + b"\xe0\x00", 0xBC)):
                with self.subTest(name):
                    stream = p.open()
                    p.say(stream, first)
                    await p.until(lambda: stream in p.resets, "a reset")
                    self.assertEqual(p.resets[stream], code)
                    await p.ping()
        self.play(story, alpn="MQTT-next")

    def test_cut_take_over_and_discard(self):
        async def story(p):
            await p.greet("cut")
            a = await self.flow(p, 2, peer.CLEAN | self.KEEP)
            p.say(a, peer.subscribe(1, "k"))
            await p.hear(a, peer.SUBACK, 1)
            p.say(a, b"\x30\x0a\x00", end=True)
            await p.until(lambda: p.resets.get(a) == 0xBA, "INCOMPLETE_PACKET")
            b = await self.flow(p, 2, self.KEEP | peer.ABORT_IF_NO_STATE)
            c = await self.flow(p, 2, self.KEEP | peer.ABORT_IF_NO_STATE)
            await p.until(lambda: b in p.resets, "the older stream's end")
            p.say(0, peer.publish("k"))
            await p.hear(c, peer.PUBLISH)
            d = p.open()
            p.say(d, peer.header(0x12, 2, peer.CLEAN, 0), end=True)
            await p.until(lambda: d in p.ended, "FIN")
            e = await self.flow(p, 2, self.KEEP | peer.ABORT_IF_NO_STATE)
            await p.until(lambda: p.resets.get(e) == 0xB3, "NO_FLOW_STATE")
        self.play(story, alpn="MQTT-next")

    def test_connection_errors(self):
        async def header_missing(p):
            p.open()
            p.say(0, peer.header(0x12, 2))
            await p.until(lambda: p.closed, "the close")
            self.assertEqual(p.closed.error_code, 0xB4)

        async def recovered_twice(p):
            await p.greet("twice")
            first = await self.flow(p, 2, peer.ABORT_IF_NO_STATE)
            await p.until(lambda: first in p.resets, "NO_FLOW_STATE")
            await self.flow(p, 2, peer.ABORT_IF_NO_STATE)
            await p.until(lambda: p.closed, "the close")
            self.assertEqual(p.closed.error_code, 0xB3)
        self.play(header_missing, alpn="MQTT-next")
        self.play(recovered_twice, alpn="MQTT-next")

    def test_datagrams_carry_more(self):
        async def story(p):
            await p.greet("more")
            p.say_datagram(peer.subscribe(4, "m"))
            await p.hear(0, peer.SUBACK, 4)
            p.say_datagram(peer.publish("m", qos=1, packet_id=6))
            kinds = [(await p.hear_any(0)).kind for _ in range(2)]
            self.assertEqual(sorted(kinds), [peer.PUBLISH, peer.PUBACK])
            p.say_datagram(b"\xe0\x00")
            await p.ping()
        self.play(story, alpn="MQTT-next")


del Streams

if __name__ == "__main__":
    unittest.main()
