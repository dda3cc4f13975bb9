"""Debian's mosquitto_pub and mosquitto_sub against our broker over TCP, and our pub and sub against Debian's mosquitto: 3.1.1 and 5.0,
every QoS, retained messages, wills, kept sessions, properties."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, Process, Sub, WithBroker, for_each, run  # noqa: E402

VERSIONS = ("311", "mqttv5")
each = for_each(*VERSIONS)
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/sbin")


class MosquittoSub(Process):
    """mosquitto_sub, subscribed once this returns; prints what the format says, a line a message."""

    def __init__(self, port, *words):
        super().__init__("-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-d", *words, program="stdbuf")
        try:
            self.wait_out(b"Subscribed (mid")
        except AssertionError:
            self.close()
            raise

    def messages(self):
        """What was printed, without the notes of -d."""
        noise = re.compile(rb"^(Client |Subscribed |All subs)")
        return [line for line in bytes(self.out).split(b"\n") if line and not noise.match(line)]


def mosquitto_pub(port, *words, data=b""):
    result = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), *map(str, words)], input=data, capture_output=True,
                            timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    return result


def mosquitto_sub(port, *words):
    return subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), *map(str, words)], capture_output=True,
                          timeout=PATIENCE)


@unittest.skipUnless(shutil.which("mosquitto_sub"), "needs mosquitto-clients")
class OurBroker(WithBroker, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = cls.broker.tcp

    def test_every_qos(self):
        for version in VERSIONS:
            for qos in "012":
                with self.subTest(f"{version} QoS {qos}"):
                    topic = f"qos/{version}/{qos}"
                    with MosquittoSub(self.port, "-V", version, "-t", topic, "-q", qos, "-C", "1", "-F", "%t|%q|%r|%p") as sub:
                        mosquitto_pub(self.port, "-V", version, "-t", topic, "-q", qos, "-m", "hello")
                        self.assertEqual(sub.wait(), 0, sub.text)
                        self.assertEqual(sub.messages(), [f"{topic}|{qos}|0|hello".encode()])

    def test_many_lines_in_order(self):
        lines = [b"%d" % i for i in range(2000)]
        for version in VERSIONS:
            for qos in "12":
                with self.subTest(f"{version} QoS {qos}"):
                    topic = f"many/{version}/{qos}"
                    with MosquittoSub(self.port, "-V", version, "-t", topic, "-q", qos, "-C", "2000") as sub:
                        mosquitto_pub(self.port, "-V", version, "-t", topic, "-q", qos, "-l", data=b"\n".join(lines) + b"\n")
                        self.assertEqual(sub.wait(), 0, sub.text)
                        self.assertEqual(sub.messages(), lines)

    @each
    def test_wildcards(self, version):
        with MosquittoSub(self.port, "-V", version, "-t", f"w/{version}/+/b", "-t", f"w/{version}/x/#", "-v", "-C", "3") as sub:
            for topic in ("a/b", "a/c", "x", "x/y/z"):
                mosquitto_pub(self.port, "-V", version, "-t", f"w/{version}/{topic}", "-m", "m", "-q", "1")
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(sub.messages(), [f"w/{version}/{topic} m".encode() for topic in ("a/b", "x", "x/y/z")])

    @each
    def test_retained(self, version):
        topic = f"kept/{version}"
        mosquitto_pub(self.port, "-V", version, "-t", topic, "-m", "old", "-r", "-q", "1")
        result = mosquitto_sub(self.port, "-V", version, "-t", topic, "-C", "1", "-W", "10", "-F", "%r %p")
        self.assertEqual(result.stdout, b"1 old\n", result.stderr)
        mosquitto_pub(self.port, "-V", version, "-t", topic, "-n", "-r", "-q", "1")
        result = mosquitto_sub(self.port, "-V", version, "-t", topic, "-W", "1")
        self.assertEqual((result.returncode, result.stdout), (27, b""), result.stderr)

    @each
    def test_will(self, version):
        topic = f"will/{version}"
        with MosquittoSub(self.port, "-V", version, "-t", topic, "-q", "1", "-C", "1") as watcher:
            with MosquittoSub(self.port, "-V", version, "-t", "nothing", "--will-topic", topic, "--will-payload", "gone",
                              "--will-qos", "1") as dying:
                dying.signal(signal.SIGKILL)
                self.assertEqual(watcher.wait(), 0, watcher.text)
                self.assertEqual(watcher.messages(), [b"gone"])

    @each
    def test_kept_session(self, version):
        words = ["-V", version, "-i", f"keeper-{version}", "-c", "-q", "1", "-t", f"session/{version}"]
        if version == "mqttv5":
            words += ["-x", "60"]
        with MosquittoSub(self.port, *words) as first:
            first.signal(signal.SIGTERM)
            first.wait()
        mosquitto_pub(self.port, "-V", version, "-t", f"session/{version}", "-q", "1", "-m", "while away")
        result = mosquitto_sub(self.port, *words, "-C", "1", "-W", "10")
        self.assertEqual(result.stdout, b"while away\n", result.stderr)

    @each
    def test_large_payload(self, version):
        payload = os.urandom(400_000).hex().encode()
        with MosquittoSub(self.port, "-V", version, "-t", f"large/{version}", "-q", "1", "-C", "1") as sub:
            mosquitto_pub(self.port, "-V", version, "-t", f"large/{version}", "-q", "1", "-s", data=payload)
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(sub.messages(), [payload])

    def test_properties(self):
        with MosquittoSub(self.port, "-V", "mqttv5", "-t", "props", "-q", "1", "-C", "1", "-F", "%C|%R|%D|%P|%p") as sub:
            mosquitto_pub(self.port, "-V", "mqttv5", "-t", "props", "-q", "1", "-m", "x", "-D", "publish", "content-type", "text/plain",
                          "-D", "publish", "response-topic", "answer", "-D", "publish", "correlation-data", "77", "-D", "publish",
                          "user-property", "who", "me")
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(sub.messages(), [b"text/plain|answer|77|who:me|x"])

    def test_topic_alias(self):
        with MosquittoSub(self.port, "-V", "mqttv5", "-t", "alias", "-q", "1", "-C", "3") as sub:
            mosquitto_pub(self.port, "-V", "mqttv5", "-t", "alias", "-q", "1", "-m", "a", "--repeat", "3", "-D", "publish", "topic-alias",
                          "1")
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(sub.messages(), [b"a"] * 3)

    def test_expired_message(self):
        mosquitto_pub(self.port, "-V", "mqttv5", "-t", "brief", "-r", "-m", "x", "-D", "publish", "message-expiry-interval", "1")
        time.sleep(1.3)
        result = mosquitto_sub(self.port, "-V", "mqttv5", "-t", "brief", "-W", "1")
        self.assertEqual((result.returncode, result.stdout), (27, b""), result.stderr)

    @each
    def test_take_over(self, version):
        words = ["-V", version, "-i", f"twin-{version}", "-t", "nothing"]
        with MosquittoSub(self.port, *words) as first, MosquittoSub(self.port, *words, "-t", f"twin/{version}", "-C", "1") as second:
            first.signal(signal.SIGKILL)  # or it would come back and take over in its turn
            mosquitto_pub(self.port, "-V", version, "-t", f"twin/{version}", "-q", "1", "-m", "x")
            self.assertEqual(second.wait(), 0, second.text)

    def test_old_protocol(self):
        with MosquittoSub(self.port, "-V", "mqttv31", "-t", "old", "-C", "1") as sub:
            mosquitto_pub(self.port, "-V", "mqttv31", "-t", "old", "-m", "x")
            self.assertEqual(sub.wait(), 0, sub.text)

    def test_from_quic_to_mosquitto(self):
        with MosquittoSub(self.port, "-t", "mixed", "-q", "2", "-C", "1") as sub:
            result = run("pub", *self.broker.at("quic"), "-t", "mixed", "-q", "2", "-m", "over QUIC")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(sub.wait(), 0, sub.text)
            self.assertEqual(sub.messages(), [b"over QUIC"])


@unittest.skipUnless(MOSQUITTO, "needs mosquitto")
class TheirBroker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            cls.port = free.getsockname()[1]
        path = os.path.join(cls.folder.name, "mosquitto.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"listener {cls.port} 127.0.0.1\nallow_anonymous true\n")
        cls.broker = Process("-c", path, program=MOSQUITTO)
        cls.broker.wait_err("running")
        cls.url = f"mqtt://127.0.0.1:{cls.port}"

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()
        cls.folder.cleanup()

    def test_every_qos(self):
        for version in ("311", "5"):
            for qos in "012":
                with self.subTest(f"{version} QoS {qos}"):
                    topic = f"qos/{version}/{qos}"
                    with Sub("-L", self.url, "-V", version, "-t", topic, "-q", qos, "-C", "500", "-F", "%q %p") as sub:
                        result = run("pub", "-L", self.url, "-V", version, "-t", topic, "-q", qos, "-l",
                                     data=b"".join(b"%d\n" % i for i in range(500)))
                        self.assertEqual(result.returncode, 0, result.stderr)
                        self.assertEqual(sub.wait(), 0, sub.text)
                        self.assertEqual(bytes(sub.out), b"".join(b"%s %d\n" % (qos.encode(), i) for i in range(500)))

    def test_kept_session(self):
        for version in ("311", "5"):
            with self.subTest(version):
                words = ["-L", self.url, "-V", version, "-t", f"session/{version}", "-q", "2", "-i", f"roam-keeper-{version}", "-c"]
                with Sub(*words, "-x", "60") if version == "5" else Sub(*words) as first:
                    first.signal(signal.SIGTERM)
                    first.wait()
                for qos in "12":
                    result = run("pub", "-L", self.url, "-V", version, "-t", f"session/{version}", "-q", qos, "-m", f"while away {qos}")
                    self.assertEqual(result.returncode, 0, result.stderr)
                result = run("sub", *words, *(["-x", "60"] if version == "5" else []), "-C", "2", "-W", "10", "-F", "%q %p")
                self.assertEqual(result.stdout, b"1 while away 1\n2 while away 2\n", result.stderr)

    def test_wildcards_and_large_payloads(self):
        payload = os.urandom(300_000).hex().encode()
        for version in ("311", "5"):
            for qos in "012":
                with self.subTest(f"{version} QoS {qos}"):
                    with Sub("-L", self.url, "-V", version, "-t", f"large/{version}/+/#", "-q", qos, "-C", "1", "-F", "%t %p") as sub:
                        result = run("pub", "-L", self.url, "-V", version, "-t", f"large/{version}/{qos}/x", "-q", qos, "-s", data=payload)
                        self.assertEqual(result.returncode, 0, result.stderr)
                        self.assertEqual(sub.wait(), 0, sub.text)
                        self.assertEqual(bytes(sub.out), f"large/{version}/{qos}/x ".encode() + payload + b"\n")

    def test_retained_and_will(self):
        for version in ("311", "5"):
            with self.subTest(version):
                result = run("pub", f"{self.url}/kept/{version}", "-V", version, "-m", "old", "-r", "-q", "1")
                self.assertEqual(result.returncode, 0, result.stderr)
                result = run("sub", f"{self.url}/kept/{version}", "-V", version, "-C", "1", "-W", "10")
                self.assertEqual(result.stdout, b"old\n", result.stderr)
                with Sub("-L", self.url, "-V", version, "-t", f"will/{version}", "-C", "1") as watcher:
                    with Sub("-L", self.url, "-V", version, "-t", "nothing", "--will-topic", f"will/{version}", "--will-payload",
                             "gone") as dying:
                        dying.signal(signal.SIGKILL)
                        self.assertEqual(watcher.wait(), 0, watcher.text)
                        self.assertEqual(bytes(watcher.out), b"gone\n")


if __name__ == "__main__":
    unittest.main()
