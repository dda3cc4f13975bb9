"""`roamqtt broker --workers N`: clients of every transport reach each other whichever worker they fall to; take-over, reload, the end, and
what is refused."""
import os
import re
import signal
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, Broker, Sub, run  # noqa: E402

URLS = {"tcp": "mqtt", "tls": "mqtts", "ws": "ws", "wss": "wss", "quic": "mqtt-quic"}
SECURE = ("tls", "wss", "quic")
LISTEN = [word for transport in URLS for word in (f"--{transport}", "127.0.0.1:0")]


def port_of(broker, transport):
    return int(re.findall(rb"listening " + transport.encode() + rb" \S+:(\d+)\n", bytes(broker.out))[0])


def words_for(broker, transport):
    words = ["-L", f"{URLS[transport]}://localhost:{port_of(broker, transport)}"]
    return words + (["--cafile", broker.ca] if transport in SECURE else [])


class Workers(unittest.TestCase):
    def test_everybody_reaches_everybody(self):
        with Broker("--workers", "3", listen=LISTEN) as broker:
            subs = [(transport, Sub(*words_for(broker, transport), "-t", "all/#", "-C", len(URLS), "-W", 30))
                    for transport in URLS for _ in range(2)]
            try:
                for other in URLS:
                    sent = run("pub", *words_for(broker, other), "-t", f"all/{other}", "-m", other, "-q", 2)
                    self.assertEqual(sent.returncode, 0, sent.stderr)
                for transport, sub in subs:
                    self.assertEqual(sub.wait(), 0, f"{transport}: {sub.text}")
                    self.assertEqual(sorted(bytes(sub.out).split()), sorted(other.encode() for other in URLS))
            finally:
                for _, sub in subs:
                    sub.close()
            self.assertEqual(broker.stop(), 0)
            self.assertIn(f"{len(URLS) * 3} connects", broker.text)

    def test_retained_and_persistent(self):
        with Broker("--workers", "4", listen=LISTEN) as broker:
            sent = run("pub", *words_for(broker, "tcp"), "-t", "kept", "-m", "still here", "-q", 1, "-r")
            self.assertEqual(sent.returncode, 0, sent.stderr)
            for transport in list(URLS) * 2:  # each falls to whatever worker
                with Sub(*words_for(broker, transport), "-t", "kept", "-C", 1, "-W", 20) as sub:
                    self.assertEqual(sub.wait(), 0, sub.text)
                    self.assertEqual(bytes(sub.out), b"still here\n")
            # a session and its queue follow the client from worker to worker
            session = ("-i", "roamer", "-c", "-x", "1000", "-q", 1, "-t", "q/#")
            with Sub(*words_for(broker, "quic"), *session) as sub:
                sub.signal(signal.SIGTERM)
                sub.wait()
            for i in range(8):
                sent = run("pub", *words_for(broker, "quic"), "-t", f"q/{i}", "-m", f"{i}", "-q", 1)
                self.assertEqual(sent.returncode, 0, sent.stderr)
                with Sub(*words_for(broker, "tcp" if i % 2 else "quic"), *session, "-C", 1, "-W", 20) as sub:
                    self.assertEqual(sub.wait(), 0, sub.text)
                    self.assertEqual(bytes(sub.out), f"{i}\n".encode())

    def test_a_restart_with_another_number(self):
        session = ("-i", "keeper", "-c", "-x", "1000", "-q", 1, "-t", "q/#")
        with tempfile.TemporaryDirectory() as folder:
            for i, workers in enumerate((3, 1, 4, 2)):
                words = ("--workers", str(workers), "--store", os.path.join(folder, "store.db"))
                with Broker(*words, state=folder, listen=LISTEN) as broker:
                    if i:
                        with Sub(*words_for(broker, "quic"), *session, "-C", 1, "-W", 20) as sub:
                            self.assertEqual(sub.wait(), 0, sub.text)
                            self.assertEqual(bytes(sub.out), f"{i - 1}\n".encode())
                    else:
                        with Sub(*words_for(broker, "tcp"), *session) as sub:
                            sub.signal(signal.SIGTERM)
                            sub.wait()
                    for topic in ("q/1", "kept"):
                        sent = run("pub", *words_for(broker, "tcp"), "-t", topic, "-m", f"{i}", "-q", 1, *(["-r"] * (topic == "kept")))
                        self.assertEqual(sent.returncode, 0, sent.stderr)
                    with Sub(*words_for(broker, "wss"), "-t", "kept", "-C", 1, "-W", 20) as sub:
                        self.assertEqual(sub.wait(), 0, sub.text)
                        self.assertEqual(bytes(sub.out), f"{i}\n".encode())
                    self.assertEqual(broker.stop(), 0)

    def test_each_worker_keeps_its_own_qlogs(self):
        with tempfile.TemporaryDirectory() as folder:
            qlogs, keys = os.path.join(folder, "qlogs"), os.path.join(folder, "keys")
            with Broker("--workers", "3", "--qlog", qlogs, "--keylog", keys, listen=LISTEN) as broker:
                for i in range(9):
                    sent = run("pub", *words_for(broker, "quic"), "-t", "t", "-m", f"{i}", "-q", 1)
                    self.assertEqual(sent.returncode, 0, sent.stderr)
                self.assertEqual(broker.stop(), 0)
            self.assertEqual(len(os.listdir(qlogs)), 9)
            for name in os.listdir(qlogs):
                with open(os.path.join(qlogs, name), "rb") as file:
                    records = file.read().split(b"\x1e")[1:]
                self.assertGreater(len(records), 10)
                self.assertTrue(all(record.endswith(b"}\n") for record in records), name)
            with open(keys, "rb") as file:
                self.assertTrue(all(len(line.split()) == 3 for line in file))

    def test_reload_reaches_all(self):
        with tempfile.TemporaryDirectory() as folder:
            acl = os.path.join(folder, "acl")
            with open(acl, "w") as f:
                f.write("topic readwrite open/#\n")
            with Broker("--workers", "3", "--acl-file", acl, listen=LISTEN) as broker:
                with open(acl, "w") as f:
                    f.write("topic readwrite other/#\n")
                broker.signal(signal.SIGHUP)
                deadline = time.monotonic() + PATIENCE
                while "reloaded" not in broker.text and time.monotonic() < deadline:
                    time.sleep(0.02)
                self.assertIn("reloaded", broker.text)
                for _ in range(8):
                    sent = run("pub", *words_for(broker, "tcp"), "-t", "other/x", "-m", "1", "-q", 1)
                    self.assertEqual(sent.returncode, 0, sent.stderr)
                    sent = run("pub", *words_for(broker, "tcp"), "-t", "open/x", "-m", "1", "-q", 1)
                    self.assertNotEqual(sent.returncode, 0)

    def test_what_is_refused(self):
        result = run("broker", "--workers", "65", "--tcp", "127.0.0.1:0")
        self.assertEqual(result.returncode, 1)
        with Broker("--workers", "2", listen=("--tcp", "127.0.0.1:0", "--quic", "127.0.0.1:0")) as broker:
            for transport in ("tcp", "quic"):  # the kernel would let the second one in
                at = f"127.0.0.1:{port_of(broker, transport)}"
                with tempfile.TemporaryDirectory() as state:
                    result = run("broker", "--workers", "2", f"--{transport}", at, env={"XDG_STATE_HOME": state})
                self.assertNotEqual(result.returncode, 0)
                self.assertIn("in use", result.stderr)


if __name__ == "__main__":
    unittest.main()
