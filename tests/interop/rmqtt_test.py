"""rmqtt (Rust, quinn) as broker over QUIC. It has no client over QUIC, and serves the first stream of a connection only: what
of ours stays on one stream works with it."""
import os
import socket
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from certificates import OPENSSL, Authority  # noqa: E402
from interop.rust_peers import need  # noqa: E402
from program import Process, Sub, for_each, run  # noqa: E402


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Rmqtt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program = need("rmqtt-peer")
        if not OPENSSL:
            raise unittest.SkipTest("no openssl program to make certificates with")
        cls.folder = tempfile.TemporaryDirectory()
        authority = Authority(cls.folder.name)
        cert, key = authority.issue("server")
        cls.port = free_udp_port()
        cls.broker = Process(cls.port, cert, key, "debug", program=program)
        cls.broker.wait_out(b"ready")
        cls.ca = authority.cert

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()
        cls.folder.cleanup()

    def at(self, topic):
        return ["-L", f"mqtt-quic://127.0.0.1:{self.port}/{topic}", "--cafile", self.ca]

    def publish(self, topic, text, *words):
        done = run("pub", "-d", *self.at(topic), "-m", text, *words, timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr

    @for_each(("5", "5"), ("3.1.1", "311"), ("3.1", "31"))
    def test_every_version_and_qos(self, name, version):
        topic = f"one/{name}"
        with Sub(*self.at(topic), "-q", "2", "-V", version, "-C", "3") as sub:
            for qos in "012":
                self.publish(topic, f"qos{qos}", "-q", qos, "-V", version)
            sub.wait_out(b"qos2")
            self.assertEqual(bytes(sub.out).split(), [b"qos0", b"qos1", b"qos2"])
            self.assertEqual(sub.wait(), 0, sub.text)

    def test_large_payload(self):
        text = "x" * 900_000
        with Sub(*self.at("large"), "-q", "1", "-C", "1") as sub:
            path = os.path.join(self.folder.name, "large")
            with open(path, "w", encoding="ascii") as out:
                out.write(text)
            done = run("pub", *self.at("large"), "-f", path, "-q", "1", timeout=20)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(bytes(sub.out).rstrip(b"\n"), text.encode())

    def test_session_is_resumed(self):
        words = ["-i", "kept", "-c", "-q", "1"]
        with Sub(*self.at("kept"), *words) as sub:
            sub.signal(15)
            sub.wait()
        self.publish("kept", "meanwhile", "-q", "1")
        with Process("sub", *self.at("kept"), *words, "-C", "1") as sub:
            sub.wait_out(b"meanwhile", 20)

    def test_two_tokens_are_no_rebinding(self):
        """quinn gives two address tokens with the handshake; only later ones tell of a NAT."""
        self.assertNotIn("rebound", self.publish("tokens", "x", "-q", "1"))

    def test_will_and_abrupt_end(self):
        with Sub(*self.at("will"), "-q", "1", "-C", "1") as sub:
            lost = Sub(*self.at("other"), "-i", "mortal", "--will-topic", "will", "--will-payload", "gone", "--will-qos", "1",
                       "-k", "2")
            lost.process.kill()
            lost.close()
            sub.wait_out(b"gone", 30)

    def test_data_streams_are_not_served(self):
        """A second stream is neither read nor reset: with rmqtt the default of one stream is to be kept."""
        with Sub(*self.at("lanes"), "-q", "0") as sub:
            done = run("pub", "-d", *self.at("lanes"), "-m", "unheard", "-q", "1", "--lanes", "per-topic", "-W", "2s", timeout=20)
            self.assertNotEqual(done.returncode, 0, "a data stream was answered: docs/interop.md says that it is not")
            self.publish("lanes", "heard", "-q", "1")
            sub.wait_out(b"heard")
            time.sleep(0.2)
            self.assertNotIn(b"unheard", sub.out)


if __name__ == "__main__":
    unittest.main()
