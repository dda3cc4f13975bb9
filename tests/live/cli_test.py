"""pub, sub and broker as a person uses them: delivery over QUIC and TCP, and a clear sentence with its exit code for what goes wrong."""
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, PROGRAM, Broker, Process, Sub, WithBroker, for_each, run  # noqa: E402

TRANSPORTS = ("quic", "tcp")
each = for_each(*TRANSPORTS)


class Cli(unittest.TestCase):
    def assert_fails(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertNotIn("ERROR: AddressSanitizer", result.stderr)

    def assert_ends(self, process, code):
        got = process.wait()
        self.assertEqual(got, code, process.text)


class Usage(Cli):
    """Wrong usage names the option and the remedy and exits 1."""

    CASES = [
        ("unknown option", ["pub", "--topik", "a"], ["--topik", "--topic"]),
        ("unknown letter", ["pub", "-Z"], ["-Z"]),
        ("missing value", ["sub", "-t"], ["--topic"]),
        ("not a number", ["pub", "-q", "two", "-t", "a", "-n"], ["--qos", "'two'"]),
        ("out of range", ["pub", "-q", "3", "-t", "a", "-n"], ["--qos", "between 0 and 2"]),
        ("not a duration", ["sub", "-t", "a", "-W", "soon"], ["-W", "'soon'"]),
        ("not an address", ["broker", "--tcp", "here"], ["--tcp", "'here'"]),
        ("bad bind", ["sub", "-t", "a", "-A", "nowhere"], ["--bind", "'nowhere'"]),
        ("two payloads", ["pub", "-t", "a", "-m", "x", "-n"], ["one of -m"]),
        ("no payload", ["pub", "-t", "a"], ["one of -m"]),
        ("no topic", ["pub", "-m", "x"], ["-t TOPIC"]),
        ("no filter", ["sub"], ["subscribe to"]),
        ("wildcard in a topic", ["pub", "-t", "a/#", "-m", "x"], ["'a/#'"]),
        ("bad filter", ["sub", "-t", "a/#/b"], ["'a/#/b'"]),
        ("two topics", ["pub", "mqtt://localhost/a", "-t", "b", "-m", "x"], ["once"]),
        ("two urls", ["sub", "-L", "mqtt://a/t", "mqtt://b/t"], ["one URL"]),
        ("url and host", ["sub", "-L", "mqtt://a/t", "-h", "b"], ["leave -h"]),
        ("not a url", ["sub", "localhost", "-t", "a"], ["'localhost' is not a URL"]),
        ("unknown scheme", ["sub", "http://localhost/a"], ["mqtt-quic://"]),
        ("secret in the url", ["sub", "mqtt://me:word@localhost/a"], ["-u and -P"]),
        ("version", ["sub", "-t", "a", "-V", "6"], ["-V", "'6'"]),
        ("ca without quic", ["sub", "-t", "a", "--cafile", "x"], ["--cafile", "--quic"]),
        ("no such file", ["sub", "--quic", "-t", "a", "--cafile", "/no/such"], ["--cafile", "/no/such", "No such file"]),
        ("certificate alone", ["sub", "--quic", "-t", "a", "--cert", "x"], ["--cert and --key"]),
        ("session without id", ["sub", "-t", "a", "-c"], ["-i"]),
        ("bad move", ["sub", "--quic", "-t", "a", "--migrate-at", "5s"], ["--migrate-at", "5s=127.0.0.2"]),
        ("move on tcp", ["sub", "-t", "a", "--migrate-at", "5s=127.0.0.2"], ["--migrate-at", "TCP"]),
        ("bad format", ["sub", "-t", "a", "-F", "%y"], ["-F"]),
        ("tls address", ["broker", "--tls", "nowhere"], ["--tls", "127.0.0.1:8883"]),
        ("ws address", ["broker", "--ws"], ["--ws"]),
        ("config without file", ["broker", "--config"], ["--config"]),
        ("config that is not there", ["broker", "--config", "/nowhere/b.conf"], ["--config", "/nowhere/b.conf"]),
        ("key alone", ["broker", "--quic", "127.0.0.1:0", "--key", "x"], ["--cert and --key"]),
        ("unreadable certificate", ["broker", "--quic", "127.0.0.1:0", "--cert", "/no/cert", "--key", "/no/key"],
         ["--cert", "/no/cert", "No such file"]),
        ("everybody", ["broker", "--tcp", "0.0.0.0:0"], ["--allow-anonymous"]),
        ("operand", ["broker", "start"], ["'start'"]),
        ("unknown command", ["bork"], ["'bork'", "roamqtt help"]),
    ]

    def test_each_case(self):
        for name, words, expected in self.CASES:
            with self.subTest(name):
                self.assert_fails(run(*words), 1, *expected)

    def test_nothing_at_all(self):
        result = run()
        self.assertEqual(result.returncode, 1)
        self.assertIn("Usage: roamqtt", result.stderr)

    def test_help_goes_to_stdout(self):
        for words in (["help"], ["--help"], ["pub", "--help"], ["help", "sub"], ["broker", "--help"]):
            with self.subTest(words):
                result = run(*words)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertIn(b"Usage: roamqtt", result.stdout)

    def test_version(self):
        for words in (["version"], ["--version"]):
            self.assertRegex(run(*words).stdout.decode(), r"\Aroamqtt \d+\.\d+\.\d+\n\Z")


class Delivery(WithBroker, Cli):
    """One broker for all; each test has topics of its own."""

    def pub(self, transport, *words, data=None):
        result = run("pub", *self.broker.at(transport), *words, data=data)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def test_each_qos_and_version(self):
        for transport in TRANSPORTS:
            for version in ("5", "311"):
                for qos in "012":
                    with self.subTest(f"{transport} {version} QoS {qos}"):
                        topic = f"basic/{transport}/{version}/{qos}"
                        with Sub(*self.broker.at(transport), "-V", version, "-t", topic, "-q", qos, "-C", "1", "-F", "%t %q %p") as sub:
                            self.pub(transport, "-V", version, "-t", topic, "-q", qos, "-m", "hello")
                            self.assert_ends(sub, 0)
                            self.assertEqual(bytes(sub.out), f"{topic} {qos} hello\n".encode())

    def test_across_transports(self):
        with Sub(*self.broker.at("tcp"), "-t", "across/#", "-v", "-C", "1") as sub:
            self.pub("quic", "-t", "across/x", "-m", "1")
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"across/x 1\n")

    def test_topic_in_the_url(self):
        with Sub(f"mqtt://localhost:{self.broker.tcp}/in/url/+", "-C", "1", "-v") as sub:
            result = run("pub", f"mqtt://localhost:{self.broker.tcp}/in/url/x", "-m", "y")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"in/url/x y\n")

    @each
    def test_lines_of_stdin(self, transport):
        lines = b"".join(b"line %d\n" % i for i in range(3000)) + b"no newline at the end"
        topic = f"lines/{transport}"
        with Sub(*self.broker.at(transport), "-t", topic, "-q", "1", "-C", "3001") as sub:
            self.pub(transport, "-t", topic, "-q", "1", "-l", data=lines)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), lines + b"\n")

    def test_lines_of_a_file_as_stdin(self):
        with tempfile.TemporaryFile() as file, Sub(*self.broker.at("tcp"), "-t", "lines/file", "-q", "1", "-C", "2") as sub:
            file.write(b"one\ntwo\n")
            file.seek(0)
            with Process("pub", *self.broker.at("tcp"), "-t", "lines/file", "-q", "1", "-l", stdin=file) as pub:
                self.assert_ends(pub, 0)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"one\ntwo\n")

    def test_more_than_the_queue_holds(self):
        """The publisher's queue, that is. The broker gets one that holds them all: it ends a session that falls behind by more."""
        count = 30000
        lines = b"x\n" * count
        with Broker("--queue-messages-max", count) as broker, Sub(*broker.at("tcp"), "-t", "flood", "-q", "1", "-C", count, "-F", "%l", "-N") as sub:
            result = run("pub", *broker.at("quic"), "-t", "flood", "-q", "1", "-l", data=lines)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"1" * count)

    @each
    def test_bytes_stay_bytes(self, transport):
        payload = bytes(range(256)) * 800
        topic = f"binary/{transport}"
        with Sub(*self.broker.at(transport), "-t", topic, "-q", "2", "-C", "1", "-N") as sub:
            self.pub(transport, "-t", topic, "-q", "2", "-s", data=payload)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), payload)

    def test_a_file(self):
        with tempfile.NamedTemporaryFile() as file, Sub(*self.broker.at("quic"), "-t", "file", "-C", "1", "-F", "%l %x") as sub:
            file.write(b"\x00\xff\n")
            file.flush()
            self.pub("quic", "-t", "file", "-f", file.name)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"3 00ff0a\n")

    def test_repeat(self):
        with Sub(*self.broker.at("quic"), "-t", "again", "-q", "1", "-C", "5") as sub:
            self.pub("quic", "-t", "again", "-q", "1", "-m", "x", "--repeat", "5", "--repeat-delay", "10ms")
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"x\n" * 5)

    def test_retained(self):
        self.pub("quic", "-t", "kept", "-m", "old", "-r", "-q", "1")
        result = run("sub", *self.broker.at("tcp"), "-t", "kept", "-C", "1", "-F", "%r %p", "-W", "10")
        self.assertEqual((result.returncode, result.stdout), (0, b"1 old\n"), result.stderr)
        result = run("sub", *self.broker.at("tcp"), "-t", "kept", "-R", "-W", "300ms")
        self.assertEqual((result.returncode, result.stdout), (27, b""), result.stderr)
        self.pub("tcp", "-t", "kept", "-r", "-n", "-q", "1")
        result = run("sub", *self.broker.at("tcp"), "-t", "kept", "-W", "300ms")
        self.assertEqual((result.returncode, result.stdout), (27, b""), result.stderr)

    @each
    def test_will(self, transport):
        topic = f"will/{transport}"
        with Sub(*self.broker.at("tcp"), "-t", topic, "-q", "1", "-C", "1", "-W", "20") as watcher:
            with Sub(*self.broker.at(transport), "-t", "nothing", "-k", "1", "--will-topic", topic, "--will-payload", "gone",
                     "--will-qos", "1") as dying:
                if transport == "quic":  # a killed QUIC client says nothing; its keep alive runs out
                    dying.signal(signal.SIGSTOP)
                else:
                    dying.signal(signal.SIGKILL)
                self.assert_ends(watcher, 0)
                self.assertEqual(bytes(watcher.out), b"gone\n")

    def test_no_will_after_goodbye(self):
        with Sub(*self.broker.at("tcp"), "-t", "bye", "-W", "1") as watcher:
            with Sub(*self.broker.at("quic"), "-t", "nothing", "--will-topic", "bye", "--will-payload", "gone") as leaving:
                leaving.signal(signal.SIGINT)
                self.assert_ends(leaving, 130)
            self.assert_ends(watcher, 27)
            self.assertEqual(bytes(watcher.out), b"")

    @each
    def test_kept_session(self, transport):
        words = [*self.broker.at(transport), "-i", f"keeper-{transport}", "-c", "-x", "60", "-t", f"session/{transport}", "-q", "1"]
        with Sub(*words) as first:
            first.signal(signal.SIGTERM)
            self.assert_ends(first, 0)
        self.pub(transport, "-t", f"session/{transport}", "-q", "1", "-m", "while away")
        result = run("sub", *words, "-C", "1", "-W", "10")
        self.assertEqual((result.returncode, result.stdout), (0, b"while away\n"), result.stderr)

    def test_filters(self):
        with Sub(*self.broker.at("quic"), "-t", "f/+/x", "-t", "g/#", "-T", "g/no/#", "-v", "-C", "2") as sub:
            for topic in ("f/1/x", "f/1/y", "g/no/1", "h", "g/2"):
                self.pub("tcp", "-t", topic, "-m", "m", "-q", "1")
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), b"f/1/x m\ng/2 m\n")

    def test_timeout(self):
        result = run("sub", *self.broker.at("quic"), "-t", "silence", "-W", "200ms")
        self.assert_fails(result, 27, "-W")

    def test_reader_gone(self):
        sub = subprocess.Popen([PROGRAM, "sub", *self.broker.at("tcp"), "-t", "pipe", "-d"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        with sub:
            while b"subscribed" not in sub.stderr.readline():
                pass
            sub.stdout.close()
            self.pub("tcp", "-t", "pipe", "-m", "x")
            self.assertEqual(sub.wait(PATIENCE), 0)

    def test_moves_on_command(self):
        """There and back by --migrate-at, nothing lost, every move told by the broker."""
        with Sub(*self.broker.at("quic"), "-t", "moving", "-q", "1", "-C", "100", "-F", "%p") as sub:
            lines = b"".join(b"%d\n" % i for i in range(100))
            pub = Process("pub", *self.broker.at("quic"), "-i", "mover", "-t", "moving", "-q", "1", "-l", "-A", "127.0.0.1",
                          "--migrate-at", "200ms=127.0.0.2", "--migrate-at", "600ms=127.0.0.1", stdin=subprocess.PIPE)
            with pub:
                for i in range(100):
                    pub.process.stdin.write(b"%d\n" % i)
                    pub.process.stdin.flush()
                    time.sleep(0.01)
                self.broker.wait_err("client mover moved 127.0.0.2:")
                pub.process.stdin.close()
                pub.process.stdin = None
                self.assert_ends(pub, 0)
                self.assertRegex(pub.text, r"moved from 127\.0\.0\.1:\d+ to 127\.0\.0\.2:\d+")
                self.assertNotIn("lost", pub.text)
            self.assert_ends(sub, 0)
            self.assertEqual(bytes(sub.out), lines)
        self.assertRegex(self.broker.text, r"client mover moved 127\.0\.0\.1:\d+ -> 127\.0\.0\.2:\d+")
        self.assertRegex(self.broker.text, r"client mover moved 127\.0\.0\.2:\d+ -> 127\.0\.0\.1:\d+")

    def test_a_client_id_cannot_paint_the_terminal(self):
        self.pub("tcp", "-V", "5", "-i", "red\x1b[31m", "-t", "a", "-m", "b")
        self.broker.wait_err("client red?[31m connected")
        self.assertNotIn("\x1b", self.broker.text)


class Hostile(Cli):
    """What one bad peer sends harms nobody else."""

    def healthy_while(self, transport, attack):
        with Broker() as broker:
            with Sub(*broker.at(transport), "-t", "health", "-q", "1", "-C", "200", "-F", "%p") as sub:
                with Process("pub", *broker.at(transport), "-t", "health", "-q", "1", "-m", "x", "--repeat", "200", "--repeat-delay",
                             "5ms") as pub:
                    attack(broker)
                    self.assert_ends(pub, 0)
                self.assert_ends(sub, 0)
                self.assertEqual(bytes(sub.out), b"x\n" * 200)
            self.assertEqual(broker.stop(), 0, broker.text)
            self.assertNotIn("lost", sub.text)

    def test_garbage_datagrams(self):
        chance = random.Random(1)

        def attack(broker):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                for _ in range(2000):
                    size = chance.choice((0, 1, 5, 20, 100, 1200, 1452))
                    data = bytearray(chance.randbytes(size))
                    if size > 20 and chance.random() < 0.5:  # an Initial of QUIC 1 with lengths that are anything
                        data[0] = 0xC0 | chance.randrange(64)
                        data[1:5] = b"\0\0\0\1"
                        data[5] = chance.choice((0, 8, 20, 255))
                    out.sendto(bytes(data), ("127.0.0.1", broker.quic))

        self.healthy_while("quic", attack)

    def test_garbage_on_tcp(self):
        chance = random.Random(2)

        def attack(broker):
            for i in range(200):
                with socket.create_connection(("127.0.0.1", broker.tcp), timeout=5) as out:
                    try:
                        head = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc" if i % 2 else b""
                        out.sendall(head + chance.randbytes(chance.randrange(1, 400)))
                        if i % 5 == 0:
                            out.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    except OSError:
                        pass  # the broker was quicker

        self.healthy_while("tcp", attack)


def answer_once(packets):
    """A TCP server on a free port that answers the n-th read with the n-th of packets; returns the port."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(PATIENCE)

    def serve():
        with server:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(PATIENCE)
                for packet in packets:
                    if not connection.recv(65536):
                        return
                    connection.sendall(packet)
                while connection.recv(65536):
                    pass

    threading.Thread(target=lambda: _quietly(serve), daemon=True).start()
    return server.getsockname()[1]


def _quietly(do):
    try:
        do()
    except OSError:
        pass


class Failures(Cli):
    """Each its own sentence and exit code."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker()

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()

    def test_port_in_use(self):
        for words, kind in ((["--tcp"], socket.SOCK_STREAM), (["--quic"], socket.SOCK_DGRAM)):
            with self.subTest(words), socket.socket(socket.AF_INET, kind) as taken, tempfile.TemporaryDirectory() as state:
                taken.bind(("127.0.0.1", 0))
                if kind == socket.SOCK_STREAM:
                    taken.listen()
                at = f"127.0.0.1:{taken.getsockname()[1]}"
                result = run("broker", *words, at, env={"XDG_STATE_HOME": state})
                self.assert_fails(result, 2, at, "in use", "choose another port")

    def test_certificate_that_is_none(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"this is no certificate\n")
            file.flush()
            result = run("broker", "--quic", "127.0.0.1:0", "--cert", file.name, "--key", file.name)
            self.assert_fails(result, 3, "--cert", file.name)

    def test_certificate_that_may_not_be_read(self):
        with tempfile.TemporaryDirectory() as folder:  # a folder can be opened and not read, also by root
            result = run("broker", "--quic", "127.0.0.1:0", "--cert", folder, "--key", folder)
            self.assert_fails(result, 1, "--cert", folder, "directory")

    def test_unverifiable_server(self):
        url = f"mqtt-quic://127.0.0.1:{self.broker.quic}/a"
        self.assert_fails(run("sub", url), 3, "cannot be verified: certificate signed", "--cafile")
        self.assert_fails(run("pub", url, "-m", "x"), 3, "cannot be verified", "--cafile")

    def test_insecure_is_said_by_name(self):
        result = run("pub", f"mqtt-quic://127.0.0.1:{self.broker.quic}/a", "-m", "x", "--insecure")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_another_name_in_the_certificate(self):
        result = run("sub", *self.broker.at("quic"), "-t", "a", "--server-name", "other.example")
        self.assert_fails(result, 3, "cannot be verified")

    def test_wrong_ca(self):
        with tempfile.TemporaryDirectory() as state, Broker(state=state) as other:
            result = run("sub", "-L", f"mqtt-quic://127.0.0.1:{self.broker.quic}", "-t", "a", "--cafile", other.ca)
            self.assert_fails(result, 3, "cannot be verified", "--cafile")

    def test_unknown_host(self):
        for scheme in ("mqtt", "mqtt-quic"):
            with self.subTest(scheme):
                self.assert_fails(run("sub", f"{scheme}://no-such-host.invalid/a"), 2, "no-such-host.invalid", "resolved")

    def test_nothing_listens_on_tcp(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            self.assert_fails(run("pub", f"mqtt://127.0.0.1:{port}/a", "-m", "x"), 2, "nothing listens")

    def test_udp_that_nobody_answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            result = run("sub", f"mqtt-quic://127.0.0.1:{silent.getsockname()[1]}/a", "--insecure", "--connect-timeout", "700ms")
            self.assert_fails(result, 2, "no answer over UDP", "mqtt://127.0.0.1")

    def test_tcp_that_says_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            result = run("sub", f"mqtt://127.0.0.1:{silent.getsockname()[1]}/a", "--connect-timeout", "700ms")
            self.assert_fails(result, 2, "no answer")

    def test_no_such_local_address(self):
        result = run("sub", *self.broker.at("tcp"), "-t", "a", "-A", "192.0.2.1")
        self.assert_fails(result, 2, "-A")

    def test_refused_connection(self):
        port = answer_once([b"\x20\x03\x00\x87\x00"])
        self.assert_fails(run("sub", f"mqtt://127.0.0.1:{port}/a"), 4, "not authorized", "-u and -P")
        port = answer_once([b"\x20\x02\x00\x05"])
        self.assert_fails(run("sub", f"mqtt://127.0.0.1:{port}/a", "-V", "311"), 4, "not authorized")

    def test_refused_subscription(self):
        port = answer_once([b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x87"])
        self.assert_fails(run("sub", f"mqtt://127.0.0.1:{port}/a/b"), 6, "a/b", "not authorized")

    def test_refused_publish(self):
        port = answer_once([b"\x20\x03\x00\x00\x00", b"\x40\x03\x00\x01\x87"])
        self.assert_fails(run("pub", f"mqtt://127.0.0.1:{port}/a/b", "-m", "x", "-q", "1"), 7, "a/b", "not authorized")

    def test_server_that_vanishes(self):
        for transport in TRANSPORTS:
            with self.subTest(transport), Broker() as broker:
                with Sub(*broker.at(transport), "-t", "a", "--give-up-after", "0") as sub:
                    self.assertEqual(broker.stop(), 0, broker.text)
                    self.assert_ends(sub, 5)
                    self.assertIn("lost", sub.text)

    def test_server_that_comes_back(self):
        with tempfile.TemporaryDirectory() as state:
            with Broker(state=state) as broker:
                ports = ("--tcp", f"127.0.0.1:{broker.tcp}", "--quic", f"127.0.0.1:{broker.quic}")
                sub = Sub(*broker.at("quic"), "-t", "back", "-q", "1", "-C", "1")
                self.assertEqual(broker.stop(), 0)
            with sub, Broker(state=state, listen=ports) as broker:
                sub.wait_err("connected again")
                result = run("pub", *broker.at("quic"), "-t", "back", "-q", "1", "-m", "still here", "-r")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assert_ends(sub, 0)
                self.assertEqual(bytes(sub.out), b"still here\n")


class QuicServer:
    """aioquic on a free port, speaking an ALPN that is not ours."""

    def __init__(self, alpn):
        import asyncio
        import datetime
        from aioquic.asyncio import serve
        from aioquic.quic.configuration import QuicConfiguration
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                       .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
                       .not_valid_after(now + datetime.timedelta(hours=1)).sign(key, hashes.SHA256()))
        configuration = QuicConfiguration(is_client=False, alpn_protocols=[alpn])
        configuration.certificate, configuration.private_key = certificate, key
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(serve("127.0.0.1", 0, configuration=configuration))
        self.port = self.server._transport.get_extra_info("sockname")[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


def has_aioquic():
    try:
        import aioquic  # noqa: F401
        return True
    except ImportError:
        return False


class OtherQuic(Cli):
    @unittest.skipUnless(has_aioquic(), "needs aioquic (./dev test has it)")
    def test_quic_but_not_mqtt(self):
        with QuicServer("h3") as server:
            result = run("sub", f"mqtt-quic://127.0.0.1:{server.port}/a", "--insecure")
            self.assert_fails(result, 3, "speaks QUIC but not MQTT")


class State(Cli):
    """The throw-away CA: made once, kept, its key for the owner only."""

    def test_kept_over_restarts(self):
        with tempfile.TemporaryDirectory() as state:
            seen = []
            for _ in range(2):
                with Broker(state=state) as broker:
                    with open(broker.ca, encoding="utf-8") as file:
                        seen.append(file.read())
                    result = run("pub", *broker.at("quic", "localhost"), "-t", "a", "-m", "x", "-q", "1")
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertEqual(broker.stop(), 0)
            self.assertEqual(seen[0], seen[1])
            self.assertEqual(os.stat(os.path.join(state, "roamqtt", "ca-key.pem")).st_mode & 0o777, 0o600)

    def test_made_anew_when_it_ends_soon(self):
        with tempfile.TemporaryDirectory() as state:
            with Broker(state=state) as broker:
                path = broker.ca
            with open(path, encoding="utf-8") as file:
                old = file.read()
            with open(path, "w", encoding="utf-8") as file:
                file.write(re.sub(r"(?<=1970\): )\d+", str(int(time.time()) + 86400), old))
            with Broker(state=state) as broker, open(broker.ca, encoding="utf-8") as file:
                self.assertNotEqual(file.read().split("-----")[2], old.split("-----")[2])

    def test_tells_what_to_type(self):
        with Broker() as broker:
            text = bytes(broker.out).decode()
            self.assertIn(f"throw-away CA: {broker.ca}", text)
            self.assertRegex(text, r"roamqtt sub -L 'mqtt-quic://localhost:\d+/#' -v --cafile")

    def test_no_folder(self):
        result = run("broker", "--quic", "127.0.0.1:0", env={"XDG_STATE_HOME": "/dev/null/x"})
        self.assert_fails(result, 3, "/dev/null/x", "--cert and --key")


if __name__ == "__main__":
    unittest.main()
