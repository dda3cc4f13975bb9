"""Roaming on real sockets, loopback only: moving by the name of an interface, being sent to another server, falling back to TLS
where nobody answers over UDP."""
import os
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import Broker, Process, Sub, run  # noqa: E402


class Roaming(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = folder.name

    def broker(self, *words, **more):
        broker = Broker(*words, state=self.state, **more)  # one CA for all
        self.addCleanup(broker.close)
        return broker

    def test_an_interface_by_its_name(self):
        broker = self.broker()
        with Sub(*broker.at("quic"), "-t", "t", "-q", "1", "--migrate-at", "0.2s=lo") as sub:
            sub.wait_err("moved from 127.0.0.1")
            self.assertEqual(run("pub", *broker.at("quic"), "-t", "t", "-m", "after", "-q", "1").returncode, 0)
            sub.wait_out(b"after")
            self.assertEqual(sub.text.count("connected to"), 1)

    def test_sent_to_another_server(self):
        there = self.broker()
        here = self.broker("--drain-to", f"127.0.0.1:{there.quic}", "--drain-over", "100ms")
        with Sub(*here.at("quic"), "-t", "t", "-q", "1") as sub:
            here.signal(signal.SIGUSR1)
            sub.wait_err(f"sent to mqtt-quic://127.0.0.1:{there.quic}")
            sub.wait_err("connected again")
            self.assertEqual(run("pub", *there.at("quic"), "-t", "t", "-m", "there", "-q", "1").returncode, 0)
            sub.wait_out(b"there")

    def test_tls_where_udp_is_not_answered(self):
        broker = self.broker(listen=("--tls", "127.0.0.1:0"))
        tls = broker._port("tls")
        with Process("sub", "-d", "-L", f"mqtt-quic://127.0.0.1:{tls}/t", "--cafile", broker.ca, "--fallback",
                     "--fallback-port", tls) as sub:
            sub.wait_err("subscribed")
            self.assertIn("over tls", sub.text)


if __name__ == "__main__":
    unittest.main()
