"""Where the broker listens, and how it is configured: every transport at once, Unix sockets, sockets from systemd, readiness, one file
of options, reload, and what each refusal says."""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from certificates import OPENSSL, Authority  # noqa: E402
from program import PATIENCE, PROGRAM, Broker, Process, Sub, for_each, run  # noqa: E402

URLS = {"tcp": "mqtt", "tls": "mqtts", "ws": "ws", "wss": "wss", "quic": "mqtt-quic"}
SECURE = ("tls", "wss", "quic")
HAS_V6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


def port_of(broker, transport, nth=0):
    return int(re.findall(rb"listening " + transport.encode() + rb" \S+:(\d+)\n", bytes(broker.out))[nth])


def words_for(broker, transport, host="localhost", port=None, ca=None):
    words = ["-L", f"{URLS[transport]}://{host}:{port or port_of(broker, transport)}"]
    return words + (["--cafile", ca or broker.ca] if transport in SECURE else [])


class Listeners(unittest.TestCase):
    def test_every_transport_reaches_every_other(self):
        listen = [word for transport in URLS for word in (f"--{transport}", "127.0.0.1:0")]
        with Broker(listen=listen) as broker:
            for transport in URLS:
                with self.subTest(transport), Sub(*words_for(broker, transport), "-t", "all/#", "-C", str(len(URLS)), "-W", 20) as sub:
                    for other in URLS:
                        sent = run("pub", *words_for(broker, other), "-t", f"all/{other}", "-m", other, "-q", 1)
                        self.assertEqual(sent.returncode, 0, sent.stderr)
                    self.assertEqual(sub.wait(), 0, sub.text)
                    self.assertEqual(sorted(bytes(sub.out).split()), sorted(other.encode() for other in URLS))
                self.assertIn(f"over {transport}", broker.text)
            self.assertEqual(broker.stop(), 0)

    def test_large_messages_over_every_transport(self):
        listen = [word for transport in URLS for word in (f"--{transport}", "127.0.0.1:0")]
        payload = os.urandom(700000)
        with Broker(listen=listen) as broker:
            for transport in URLS:
                with self.subTest(transport), Sub(*words_for(broker, transport), "-t", "big", "-C", 1, "-N", "-W", 20) as sub:
                    sent = run("pub", *words_for(broker, transport), "-t", "big", "-s", "-q", 1, data=payload)
                    self.assertEqual(sent.returncode, 0, sent.stderr)
                    self.assertEqual(sub.wait(), 0, sub.text)
                    self.assertEqual(bytes(sub.out), payload)

    @unittest.skipUnless(HAS_V6, "this machine has no IPv6")
    def test_dual_stack(self):
        with Broker("--allow-anonymous", listen=("--tcp", "[::]:0", "--tls", "[::]:0", "--ws", "[::]:0")) as broker:
            for transport in ("tcp", "tls", "ws"):
                for host in ("127.0.0.1", "[::1]"):
                    sent = run("pub", *words_for(broker, transport, host), "-t", "a", "-m", "b", "-q", 1)
                    self.assertEqual(sent.returncode, 0, f"{transport} {host}: {sent.stderr}")
            self.assertIn("connected from 127.0.0.1:", broker.text)
            self.assertIn("connected from [::1]:", broker.text)

    def test_beyond_loopback_needs_a_word_on_every_transport(self):
        for transport in URLS:
            with tempfile.TemporaryDirectory() as state:
                result = run("broker", f"--{transport}", "0.0.0.0:0", env={"XDG_STATE_HOME": state})
            self.assertEqual(result.returncode, 1, transport)
            self.assertIn("--allow-anonymous", result.stderr)


def mqtt_connect(path):
    """A CONNECT and its CONNACK over a Unix socket."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(PATIENCE)
        conn.connect(path)
        conn.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc")
        return conn.recv(100)


class UnixSockets(unittest.TestCase):
    def test_mode_use_and_removal(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "mqtt.sock")
            with Broker("--unix", path, "--unix-mode", "384", listen=()) as broker:
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                self.assertEqual(mqtt_connect(path)[:4], b"\x20\x02\x00\x00")
                self.assertIn(f"listening unix {path}".encode(), bytes(broker.out))
                self.assertEqual(broker.stop(), 0)
            self.assertFalse(os.path.exists(path))

    def test_our_client_uses_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "mqtt.sock")
            nobody = run("pub", "-L", f"unix://{path}", "-t", "a", "-m", "1")
            self.assertEqual(nobody.returncode, 2, nobody.stderr)
            self.assertIn(f"unix://{path}: nothing listens there; is the broker running, and with this --unix?", nobody.stderr)
            with Broker("--unix", path, listen=("--tcp", "127.0.0.1:0")) as broker:
                with Sub("--unix", path, "-t", "a/#", "-C", 2, "-W", 20) as sub:
                    for words in (("-L", f"unix://{path}"), words_for(broker, "tcp")):
                        sent = run("pub", *words, "-t", "a/b", "-m", "1", "-q", 2)
                        self.assertEqual(sent.returncode, 0, sent.stderr)
                    self.assertEqual(sub.wait(), 0, sub.text)
                big = os.urandom(900000)
                with Sub("--unix", path, "-t", "big", "-C", 1, "-N", "-W", 20) as sub:
                    self.assertEqual(run("pub", "--unix", path, "-t", "big", "-s", "-q", 1, data=big).returncode, 0)
                    self.assertEqual(sub.wait(), 0, sub.text)
                    self.assertEqual(bytes(sub.out), big)
                self.assertEqual(broker.stop(), 0)
            for words in (("--unix", "relative"), ("--unix", path, "-h", "x"), ("-L", "unix://host/path"), ("-L", "unix:///")):
                self.assertEqual(run("pub", *words, "-t", "a", "-m", "1").returncode, 1, words)

    def test_stale_files_are_replaced_and_living_ones_not(self):
        with tempfile.TemporaryDirectory() as folder:
            path, plain = os.path.join(folder, "mqtt.sock"), os.path.join(folder, "file")
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(path)
                dead.listen()
            with Broker("--unix", path, listen=()) as broker:
                self.assertEqual(mqtt_connect(path)[:2], b"\x20\x02")
                second = run("broker", "--unix", path)
                self.assertEqual(second.returncode, 2)
                self.assertIn("another process listens there", second.stderr)
                self.assertEqual(mqtt_connect(path)[:2], b"\x20\x02")
                broker.stop()
            with open(plain, "w", encoding="ascii") as out:
                out.write("mine")
            self.assertEqual(run("broker", "--unix", plain).returncode, 2)
            with open(plain, encoding="ascii") as back:
                self.assertEqual(back.read(), "mine")


class Systemd(unittest.TestCase):
    def test_sockets_and_readiness(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket() as tcp, socket.socket() as ws, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            for given in (tcp, ws):
                given.bind(("127.0.0.1", 0))
                given.listen()
            notify.bind(os.path.join(folder, "notify"))
            notify.settimeout(PATIENCE)
            script = ("import os,sys\nfds=[int(f) for f in sys.argv[1:3]]\nkept=[os.dup(f) for f in fds]\n"
                      "for i,f in enumerate(kept): os.dup2(f, 3+i); os.set_inheritable(3+i, True)\n"
                      "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='tcp:ws')\n"
                      "os.execv(sys.argv[3], [sys.argv[3], 'broker'])\n")
            process = subprocess.Popen([sys.executable, "-c", script, str(tcp.fileno()), str(ws.fileno()), PROGRAM],
                                       pass_fds=[tcp.fileno(), ws.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                       env={**os.environ, "NOTIFY_SOCKET": os.path.join(folder, "notify"), "XDG_STATE_HOME": folder})
            try:
                self.assertIn(b"READY=1", notify.recv(1000))
                for scheme, given in (("mqtt", tcp), ("ws", ws)):
                    sent = run("pub", "-L", f"{scheme}://127.0.0.1:{given.getsockname()[1]}", "-t", "a", "-m", "b", "-q", 1)
                    self.assertEqual(sent.returncode, 0, sent.stderr)
                process.send_signal(signal.SIGHUP)
                self.assertTrue(notify.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
                self.assertIn(b"READY=1", notify.recv(1000))
                process.send_signal(signal.SIGTERM)
                self.assertIn(b"STOPPING=1", notify.recv(1000))
                self.assertEqual(process.wait(PATIENCE), 0)
            finally:
                process.kill()
                process.wait()
                process.stderr.close()


    def start_with(self, folder, sockets, names, *words):
        """A broker that is given these sockets, with their names."""
        script = ("import os,sys\nn=int(sys.argv[1])\nkept=[os.dup(int(f)) for f in sys.argv[2:2+n]]\n"
                  "for i,f in enumerate(kept): os.dup2(f, 3+i); os.set_inheritable(3+i, True)\n"
                  "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n), LISTEN_FDNAMES=sys.argv[2+n])\n"
                  "os.execv(sys.argv[3+n], [sys.argv[3+n], 'broker', *sys.argv[4+n:]])\n")
        fds = [given.fileno() for given in sockets]
        return subprocess.Popen([sys.executable, "-c", script, str(len(fds)), *map(str, fds), ":".join(names), PROGRAM, *words],
                                pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**os.environ, "XDG_STATE_HOME": folder})

    def test_datagram_sockets_are_quics(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            tcp.bind(("127.0.0.1", 0))
            tcp.listen()
            for _ in range(2):  # the socket outlives the broker, as systemd's does
                process = self.start_with(folder, (udp, tcp), ("roamqtt.socket", "roamqtt.socket"))
                try:
                    said = b""
                    while b"ready;" not in said:
                        said += process.stdout.readline()
                    ca = re.search(rb"CA: (\S+)", said).group(1).decode()
                    self.assertIn(f"listening quic 127.0.0.1:{udp.getsockname()[1]}".encode(), said)
                    for words in ((f"mqtt-quic://localhost:{udp.getsockname()[1]}", "--cafile", ca),
                                  (f"mqtt://localhost:{tcp.getsockname()[1]}",)):
                        sent = run("pub", "-L", *words, "-t", "a", "-m", "b", "-q", 1)
                        self.assertEqual(sent.returncode, 0, sent.stderr)
                    process.send_signal(signal.SIGTERM)
                    self.assertEqual(process.wait(PATIENCE), 0)
                finally:
                    process.kill()
                    process.communicate()

    def test_sockets_that_fit_nothing_are_named(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, \
                socket.socket(type=socket.SOCK_DGRAM) as loose:
            udp.bind(("127.0.0.1", 0))
            tcp.bind(("127.0.0.1", 0))
            tcp.listen()
            for given, name, needle in ((udp, "tls", "only QUIC can use"), (tcp, "quic", "ListenDatagram="), (loose, "quic", "neither")):
                with self.subTest(name):
                    _, err = self.start_with(folder, (given,), (name,)).communicate(timeout=PATIENCE)
                    self.assertIn(needle, err.decode())

    @unittest.skipUnless(HAS_V6, "this machine has no IPv6")
    def test_a_dual_datagram_socket_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            udp.bind(("::", 0))
            _, err = self.start_with(folder, (udp,), ("quic",), "--allow-anonymous").communicate(timeout=PATIENCE)
            self.assertIn("BindIPv6Only=ipv6-only", err.decode())


class Configuration(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "broker.conf")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as out:
            out.write(text)

    def check(self, text):
        self.write(text)
        return run("broker", "--check", self.path)

    def test_the_whole_of_help_is_good_in_a_file(self):
        text = run("broker", "--help").stdout.decode()
        values = {"N": "7", "SECONDS": "7", "TIME": "7s", "SIZE": "7k", "QOS": "1", "MODE": "384", "TEXT": "x", "HOW": "drop_oldest", "0|1": "0"}
        least = {"datagram-bytes": "1200"}
        lines = []
        for name, argument in re.findall(r"^ +(?:-\w, )? *--([a-z-]+)(?: ([A-Z|01]+))?(?: |$)", text, re.M):
            if name in ("config", "check", "help") or (argument and argument not in values) or "memory-max" in name or name == "datagram-bytes":  # 7k, 7 are too little
                continue
            if "certificate" not in name and "subject" not in name:  # these need files
                lines.append(f"{name} = {least.get(name, values[argument])}" if argument else name)
        self.assertGreater(len(lines), 25)
        result = self.check("\n".join(lines) + "\n")
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    @for_each(
        ("fine", "# a comment\n\ntcp = 127.0.0.1:0\nallow_anonymous\nretain-available = 0\n", 0, ()),
        ("unknown", "tcp = 127.0.0.1:0\nconnection-max = 3\n", 1, (":2:", "did you mean --connections-max")),
        ("bad number", "connections_max = many\n", 1, (":1:", "connections-max", "whole number")),
        ("bad address", "\n\ntcp = 127.0.0.1:x\ntcp = 127.0.0.1:0\n", 1, (":3:", "--tcp", "127.0.0.1:x")),
        ("no address", "tls = here\n", 1, (":1:", "--tls", "such as 127.0.0.1:8883")),
        ("beyond loopback", "tcp = 127.0.0.1:0\ntcp = 0.0.0.0:0\ntcp = [::1]:0\n", 1, (":2:", "--allow-anonymous")),
        ("long path", "quiet\nunix = /" + "x" * 120 + "\n", 1, (":2:", "107 bytes")),
        ("bad word for a limit", "overflow = burn\n", 1, (":1:", "drop_oldest", "burn")),
        ("no password file", "quiet\npassword-file = /nowhere/p\n", 1, (":2:", "/nowhere/p")),
        ("bad preference", "preferred = 192.0.2.1\n", 1, (":1:", "192.0.2.1:14567")),
        ("bad congestion", "quiet\ncongestion = slow\n", 1, (":2:", "cubic, reno or bbr")),
        ("bad path", "ws-path = mqtt\n", 1, (":1:", "/mqtt")),
        ("nobody vouches", "quiet\nuse-subject-as-username\n", 1, ("client_certificate",)),
        ("not whose", "require-client-certificate\n", 1, (":1:", "--ca FILE")),
        ("access limits", "login-failures-max = 3\nconnect_rate_max = 5\naddress-connections-max = 2\nauth-failures-max = 0\n", 0, ()),
        ("out of range", "server-keep-alive = 99999\n", 1, (":1:", "between")),
        ("bad flag", "quiet = perhaps\n", 1, (":1:", "yes or no")),
        ("no value", "queue-messages-max\n", 1, (":1:", "whole number")),
        ("bad word", "quiet\nlog-format = xml\n", 1, (":2:", "text json")),
        ("no file", "cert = /nowhere/c.pem\nkey = /nowhere/k.pem\n", 1, (":1:", "/nowhere/c.pem")),
        ("half", "\nkey = /nowhere/k.pem\n", 1, (":2:", "--cert and --key")),
        ("section", "[listener]\n", 1, (":1:", "name = value")),
        ("two words", "quiet please\n", 1, (":1:", "name = value")),
        ("itself", "config = x\n", 1, (":1:", "command line")),
    )
    def test_check_names_line_and_remedy(self, _, text, code, needles):
        result = self.check(text)
        self.assertEqual(result.returncode, code, result.stderr)
        for needle in needles:
            self.assertIn(needle, result.stderr)

    def test_the_command_line_has_the_last_word(self):
        self.write("tcp = 127.0.0.1:0\nlog-format = text\n")
        with Broker("--config", self.path, "--log-format", "json", listen=()) as broker:
            run("pub", "-L", f"mqtt://127.0.0.1:{port_of(broker, 'tcp')}", "-t", "a", "-m", "b", "-q", 1)
            broker.wait_err('"event":"PEER_CONNECTED"')

    @unittest.skipUnless(OPENSSL, "needs openssl")
    def test_reload(self):
        first, second = Authority(self.folder.name, "first"), Authority(self.folder.name, "second")
        cert, key = first.issue("server")
        self.write(f"tls = 127.0.0.1:0\nquic = 127.0.0.1:0\ncert = {cert}\nkey = {key}\nlog-level = notice\n")
        with Broker("--config", self.path, listen=()) as broker:
            with Sub(*words_for(broker, "tls", ca=first.cert), "-t", "a", "-C", 2, "-W", 20) as sub:
                for transport in ("tls", "quic"):
                    self.assertEqual(run("pub", *words_for(broker, transport, ca=first.cert), "-t", "b", "-m", "1").returncode, 0)
                cert2, key2 = second.issue("server2")
                os.replace(cert2, cert)
                broker.signal(signal.SIGHUP)  # the new certificate with the old key
                broker.wait_err("not reloaded")
                self.assertEqual(run("pub", *words_for(broker, "tls", ca=first.cert), "-t", "a", "-m", "1").returncode, 0)
                os.replace(key2, key)
                broker.signal(signal.SIGHUP)
                broker.wait_err(" reloaded")
                for transport in ("tls", "quic"):
                    self.assertEqual(run("pub", *words_for(broker, transport, ca=first.cert), "-t", "b", "-m", "1").returncode, 3)
                self.assertEqual(run("pub", *words_for(broker, "tls", ca=second.cert), "-t", "a", "-m", "2").returncode, 0)
                self.assertEqual(sub.wait(), 0, sub.text)  # connected all the time
            self.write("tls = 127.0.0.1:0\nnonsense\n")
            broker.signal(signal.SIGHUP)
            broker.wait_err("nonsense")
            self.assertEqual(broker.stop(), 0)


@unittest.skipUnless(OPENSSL, "needs openssl")
class SeveralCertificates(unittest.TestCase):
    """A certificate by the name that is asked for, over TLS and QUIC, and read anew."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.ca = Authority(self.folder.name, "ca")
        self.pairs = {"first": self.ca.issue("first", "DNS:localhost"), "a": self.ca.issue("a", "DNS:a.localhost"),
                      "b": self.ca.issue("b", "DNS:*.b.localhost")}
        self.path = os.path.join(self.folder.name, "broker.conf")
        self.write("first", "a", "b")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, *names):
        with open(self.path, "w", encoding="utf-8") as out:
            out.write("tls = 127.0.0.1:0\nquic = 127.0.0.1:0\nlog-level = notice\n")
            for name in names:
                out.write(f"cert = {self.pairs[name][0]}\nkey = {self.pairs[name][1]}\n")

    def shown(self, broker, name):
        """The common name of what openssl is shown over TLS."""
        words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port_of(broker, 'tls')}", "-CAfile", self.ca.cert]
        words += ["-servername", name] if name else ["-noservername"]
        result = subprocess.run(words, input=b"", capture_output=True, timeout=PATIENCE)
        return re.search(rb"subject=.*CN ?= ?(\S+)", result.stdout).group(1).decode()

    def test_the_name_chooses(self):
        with Broker("--config", self.path, listen=()) as broker:
            for name, common in (("localhost", "first"), ("a.localhost", "a"), ("x.b.localhost", "b"), ("b.localhost", "first"),
                                 ("elsewhere.test", "first"), (None, "first")):
                with self.subTest(name):
                    self.assertEqual(self.shown(broker, name), common)
            for transport in ("tls", "quic"):
                for host, code in (("localhost", 0), ("a.localhost", 0), ("x.b.localhost", 0), ("c.localhost", 3)):
                    with self.subTest(f"{transport} {host}"):
                        sent = run("pub", *words_for(broker, transport, host, ca=self.ca.cert), "-t", "a", "-m", "1", "-q", 1)
                        self.assertEqual(sent.returncode, code, sent.stderr)
            self.assertIn("certificate of localhost is not for c.localhost", sent.stderr)

    def test_reload(self):
        with Broker("--config", self.path, listen=()) as broker:
            self.pairs["c"] = self.ca.issue("c", "DNS:c.localhost")
            self.pairs["mixed"] = (self.pairs["c"][0], self.pairs["a"][1])
            self.write("first", "mixed")
            broker.signal(signal.SIGHUP)
            broker.wait_err("not reloaded")
            self.assertIn(f"{self.path}:6: --cert {self.pairs['c'][0]}", broker.text)
            self.assertIn("does not belong to the certificate", broker.text)
            for transport in ("tls", "quic"):
                sent = run("pub", *words_for(broker, transport, "a.localhost", ca=self.ca.cert), "-t", "a", "-m", "1", "-q", 1)
                self.assertEqual(sent.returncode, 0, sent.stderr)  # as it was
            self.write("first", "c")
            broker.signal(signal.SIGHUP)
            broker.wait_err(" reloaded")
            for transport in ("tls", "quic"):
                for host, code in (("c.localhost", 0), ("localhost", 0), ("a.localhost", 3)):
                    sent = run("pub", *words_for(broker, transport, host, ca=self.ca.cert), "-t", "a", "-m", "1", "-q", 1)
                    self.assertEqual(sent.returncode, code, f"{transport} {host}: {sent.stderr}")
            self.assertEqual(broker.stop(), 0)

    def test_the_command_line_counts_instead_of_the_file(self):
        cert, key = self.pairs["a"]
        with Broker("--config", self.path, "--cert", cert, "--key", key, listen=()) as broker:
            self.assertEqual(self.shown(broker, "localhost"), "a")

    def test_openssl_comes_back_with_its_ticket(self):
        with Broker("--config", self.path, listen=()) as broker:
            ticket = os.path.join(self.folder.name, "ticket")
            words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port_of(broker, 'tls')}", "-CAfile", self.ca.cert, "-servername",
                     "localhost"]
            connect = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc\xe0\x00"
            for extra, said in ((["-sess_out", ticket], b"New, TLSv1.3"), (["-sess_in", ticket], b"Reused, TLSv1.3")):
                process = subprocess.Popen(words + extra, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                process.stdin.write(connect)  # and it reads until the broker has closed: the tickets came before
                process.stdin.flush()
                out, _ = process.communicate(timeout=PATIENCE) if process.wait(PATIENCE) == 0 else (b"", None)
                self.assertIn(said, out)

    def test_a_key_for_each(self):
        with open(self.path, "a", encoding="utf-8") as out:
            out.write(f"cert = {self.pairs['a'][0]}\n")
        result = run("broker", "--check", self.path)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"{self.path}:10: --cert and --key", result.stderr)


class Stopping(unittest.TestCase):
    def test_clients_are_told(self):
        with Broker(listen=("--tcp", "127.0.0.1:0", "--tls", "127.0.0.1:0", "--ws", "127.0.0.1:0")) as broker:
            subs = [Process("sub", "-d", *words_for(broker, transport), "-t", "a", "--give-up-after", "0s") for transport in
                    ("tcp", "tls", "ws")]
            try:
                for sub in subs:
                    sub.wait_err("subscribed")
                self.assertEqual(broker.stop(), 0)
                for sub in subs:
                    sub.wait()
                    self.assertIn("shutting down", sub.text.lower())
            finally:
                for sub in subs:
                    sub.close()


if __name__ == "__main__":
    unittest.main()
