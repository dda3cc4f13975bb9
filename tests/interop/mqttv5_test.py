"""mqttv5 (mqtt-lib; Rust, quinn) as client and as broker over QUIC: one stream, MQTT-next, datagrams. What it does differently is
in docs/interop.md."""
import os
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from certificates import OPENSSL, Authority  # noqa: E402
from interop.rust_peers import need  # noqa: E402
from program import Broker, Process, Sub, for_each, run  # noqa: E402

PLAIN = {**os.environ, "NO_COLOR": "1"}
# What comes with the DISCONNECT, but not on its stream, may be too late.
AGAIN = ("--repeat", "5", "--interval", "100")


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class AsClient(unittest.TestCase):
    """Their client, our broker."""

    @classmethod
    def setUpClass(cls):
        cls.program = need("mqttv5")
        cls.broker = Broker(listen=("--quic", "127.0.0.1:0"))

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()

    def at(self, topic, *words):
        return ["--url", f"quics://localhost:{self.broker.quic}", "--ca-cert", self.broker.ca, "--non-interactive", "-t", topic,
                *words]

    def publish(self, topic, text, qos, *words, log="info"):
        done = subprocess.run([self.program, "pub", *self.at(topic, *words), "-m", text, "-q", str(qos)], capture_output=True,
                              text=True, timeout=20, env={**PLAIN, "RUST_LOG": log})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def subscribe(self, topic, count, *words):
        sub = Process("sub", *self.at(topic, *words), "-q", "2", "-n", count, program=self.program)
        self.addCleanup(sub.close)
        sub.wait_for(lambda: b"Subscribed to" in sub.out + sub.err, "subscribed")
        return sub

    def hear_all(self, sub):
        self.assertEqual(sub.wait(), 0, sub.text)
        return [line for line in bytes(sub.out).split() if line.startswith(b"qos")]

    @for_each(("one stream",), ("control-only", "--quic-stream-strategy", "control-only"),
              ("3.1.1", "--protocol-version", "3.1.1"),
              ("MQTT-next", "--quic-flow-headers", "--quic-stream-strategy", "control-only"))
    def test_every_qos(self, name, *words):
        topic = "c/" + name.replace(" ", "-")
        sub = self.subscribe(topic, 3, *words)
        for qos in range(3):
            self.publish(topic, f"qos{qos}", qos, *words)
        self.assertEqual(self.hear_all(sub), [b"qos0", b"qos1", b"qos2"])

    def test_mqtt_next_is_negotiated(self):
        said = self.publish("c/alpn", "x", 1, "--quic-flow-headers", "--quic-stream-strategy", "control-only")
        self.assertIn('alpn="MQTT-next"', said)
        self.assertIn('alpn="mqtt"', self.publish("c/alpn", "x", 1))

    def test_one_way_flows(self):
        """Their data flows are one-way streams: QoS 0 goes there, what wants an answer does not."""
        with Sub(*self.broker.at("quic"), "-t", "c/one-way", "-C", "1") as sub:
            self.publish("c/one-way", "on-a-flow", 0, "--quic-flow-headers", "--quic-stream-strategy", "per-topic", *AGAIN)
            sub.wait_out(b"on-a-flow")

    def test_between_theirs_and_ours(self):
        with Sub(*self.broker.at("quic"), "-t", "c/mixed", "-q", "2", "-C", "3", "--flows", "--lanes", "per-topic") as sub:
            for qos in range(3):
                self.publish("c/mixed", f"qos{qos}", qos, "--quic-flow-headers", "--quic-stream-strategy", "control-only")
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(bytes(sub.out).split(), [b"qos0", b"qos1", b"qos2"])

    @for_each(("mqtt",), ("MQTT-next", "--quic-flow-headers"))
    def test_datagrams(self, name, *words):
        topic = f"c/datagram-{name}"
        with Sub(*self.broker.at("quic"), "-t", topic, "-C", "1") as sub:
            said = self.publish(topic, "by-datagram", 0, "--quic-datagrams", "--quic-stream-strategy", "control-only", *AGAIN,
                                *words, log="mqtt5=trace")
            self.assertIn("via QUIC datagram", said)
            sub.wait_out(b"by-datagram")

    def test_a_certificate_it_does_not_trust(self):
        with tempfile.TemporaryDirectory() as folder:
            if not OPENSSL:
                self.skipTest("no openssl program to make certificates with")
            words = self.at("c/x")
            words[words.index("--ca-cert") + 1] = Authority(folder).cert
            done = subprocess.run([self.program, "pub", *words, "-m", "x"], capture_output=True, text=True, timeout=60, env=PLAIN)
            self.assertNotEqual(done.returncode, 0)


class TheirBroker(unittest.TestCase):
    DELIVERY = None

    @classmethod
    def setUpClass(cls):
        if cls.DELIVERY is None:
            raise unittest.SkipTest("what the classes below have in common")
        program = need("mqttv5")
        if not OPENSSL:
            raise unittest.SkipTest("no openssl program to make certificates with")
        cls.folder = tempfile.TemporaryDirectory()
        authority = Authority(cls.folder.name)
        cert, key = authority.issue("server")
        cls.ca, cls.port = authority.cert, free_port(socket.SOCK_DGRAM)
        cls.broker = Process("broker", "--host", f"127.0.0.1:{free_port(socket.SOCK_STREAM)}", "--tls-host",
                             f"127.0.0.1:{free_port(socket.SOCK_STREAM)}", "--quic-host", f"127.0.0.1:{cls.port}", "--tls-cert", cert,
                             "--tls-key", key, "--storage-backend", "memory", "--allow-anonymous",
                             "--non-interactive", "--quic-delivery-strategy", cls.DELIVERY, program=program,
                             env={"RUST_LOG": "mqtt5=trace"})
        cls.broker.wait_for(lambda: b"QUIC: 127.0.0.1" in cls.broker.out + cls.broker.err, "its QUIC listener")

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()
        cls.folder.cleanup()

    def at(self, topic, *words):
        return ["-L", f"mqtt-quic://127.0.0.1:{self.port}/{topic}", "--cafile", self.ca, *words]

    def try_every_qos(self, topic, *words):
        with Sub(*self.at(topic, *words), "-q", "2", "-C", "3") as sub:
            for qos in range(3):
                done = run("pub", "-d", *self.at(topic, *words), "-m", f"qos{qos}", "-q", str(qos), timeout=20)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotIn("rebound", done.stderr)
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(sorted(bytes(sub.out).split()), [b"qos0", b"qos1", b"qos2"])


class AsBroker(TheirBroker):
    """Our client, their broker. With ALPN mqtt it must be told to deliver on the control stream: by default it opens streams of its
    own."""

    DELIVERY = "control-only"

    @for_each(("one stream",), ("3.1.1", "-V", "311"), ("MQTT-next", "--flows", "--bare-control"))
    def test_every_qos(self, name, *words):
        self.try_every_qos("b/" + name.replace(" ", "-"), *words)

    def test_datagrams(self):
        with Sub(*self.at("b/datagram"), "-C", "1") as sub:
            done = run("pub", *self.at("b/datagram", "--datagrams"), "-m", "by-datagram", "--repeat", "5",
                       "--repeat-delay", "100ms", timeout=20)  # one that comes with the DISCONNECT is dropped there
            self.assertEqual(done.returncode, 0, done.stderr)
            sub.wait_out(b"by-datagram")
        self.assertIn(b"datagram from 127.0.0.1", self.broker.out + self.broker.err)

    def test_two_way_data_streams_are_refused(self):
        """Ours go on on the control stream then; what was under way on the stream is the application's to know."""
        with Sub(*self.at("b/lanes", "--lanes", "per-topic"), "-q", "1", "-C", "1") as sub:
            sub.wait_err("goes on the control stream")
            done = run("pub", *self.at("b/lanes", "--lanes", "per-topic"), "-m", "through", "-q", "1", timeout=20)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sub.wait(), 0, sub.text)

    def test_session_is_resumed(self):
        words = ["-i", "kept", "-c", "-q", "1"]
        with Sub(*self.at("b/kept", *words)) as sub:
            sub.signal(15)
            sub.wait()
        done = run("pub", *self.at("b/kept"), "-m", "meanwhile", "-q", "1", timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        with Process("sub", *self.at("b/kept", *words), "-C", "1") as sub:
            sub.wait_out(b"meanwhile", 20)


class ServerFlows(TheirBroker):
    """MQTT-next: what it delivers comes on server data flows, one for each topic."""

    DELIVERY = "per-topic"

    def test_every_qos(self):
        self.try_every_qos("b/server-flows", "--flows", "--bare-control")
        self.assertIn(b"Opened new server stream", self.broker.out + self.broker.err)


class ServerFlowsEach(TheirBroker):
    """The same, one for each message: their order is nobody's promise."""

    DELIVERY = "per-publish"

    def test_every_qos(self):
        self.try_every_qos("b/ephemeral", "--flows", "--bare-control")


if __name__ == "__main__":
    unittest.main()
