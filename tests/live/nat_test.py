"""`roamqtt nat` over real sockets: what the server sees, what a rebind does to UDP and to TCP, the line
protocol, bad input."""
import os
import signal
import socket
import subprocess
import threading
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROAMQTT = os.environ.get("ROAMQTT", os.path.join(TOP, "build", "roamqtt"))
HOME, AWAY = "127.0.10.200", "127.0.10.203"


def echo_server():
    """UDP and TCP on one port; each answer is the address the server sees."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        tcp = socket.socket()
        udp.bind(("127.0.0.1", 0))
        try:
            tcp.bind(udp.getsockname())
            break
        except OSError:
            udp.close()
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp.listen()

    def serve_udp():
        while True:
            try:
                _, peer = udp.recvfrom(2048)
                udp.sendto(peer[0].encode(), peer)
            except OSError:
                return

    def serve_one(conn, peer):
        with conn:
            while conn.recv(2048):
                conn.sendall(peer[0].encode())

    def serve_tcp():
        while True:
            try:
                conn, peer = tcp.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(conn, peer), daemon=True).start()

    for target in (serve_udp, serve_tcp):
        threading.Thread(target=target, daemon=True).start()
    return udp.getsockname()[1], (udp, tcp)


class Nat:
    def __init__(self, server, *args, stdin=subprocess.PIPE):
        self.process = subprocess.Popen([ROAMQTT, "nat", "--listen", "127.0.0.1:0", "--server", f"127.0.0.1:{server}",
                                         "--public", HOME, *args], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1)
        self.events = []
        ready = self.process.stdout.readline()
        assert ready.startswith("ready "), ready + self.process.stderr.read()
        self.port = int(ready.split("listen=127.0.0.1:")[1].split()[0])

    def wait_event(self, word):
        while not any(word in event for event in self.events):
            line = self.process.stdout.readline()
            assert line, "ended"
            self.events.append(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline()
            assert answer, "ended"
            if not answer.startswith("event "):
                return answer.strip()
            self.events.append(answer)

    def udp(self, timeout=5):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def tcp(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def end(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def exchange(sock, word=b"hello"):
    sock.send(word)
    return sock.recv(2048).decode()


class NatTest(unittest.TestCase):
    def setUp(self):
        self.server, self.sockets = echo_server()
        self.nats = []

    def tearDown(self):
        for nat in self.nats:
            if nat.process.poll() is None:
                nat.end()
            for pipe in (nat.process.stdin, nat.process.stdout, nat.process.stderr):
                if pipe and not pipe.closed:
                    pipe.close()
        for sock in self.sockets:
            sock.close()

    def nat(self, *args, **kwargs):
        self.nats.append(Nat(self.server, *args, **kwargs))
        return self.nats[-1]

    def test_rebind_moves_udp_and_resets_tcp(self):
        nat = self.nat("--delay", "2ms")
        with nat.udp() as udp, nat.tcp() as tcp:
            self.assertEqual(exchange(udp), HOME)
            self.assertEqual(exchange(tcp), HOME)
            self.assertEqual(nat.ask("rebind " + AWAY), "ok rebind " + AWAY)
            self.assertEqual(exchange(udp), AWAY)
            with self.assertRaises(ConnectionResetError):
                while True:
                    exchange(tcp)
            with nat.tcp() as again:
                self.assertEqual(exchange(again), AWAY)
        status = dict(word.split("=") for word in nat.ask("status").split()[1:])
        self.assertEqual((status["public"], status["rebinds"], status["resets"], status["hanging"]), (AWAY, "1", "1", "1"))

    def test_rebinds_by_time(self):
        nat = self.nat("--rebind-at", "0", "--rebind-to", AWAY)
        nat.wait_event(f"rebound {HOME} -> {AWAY}")
        with nat.udp() as udp:
            self.assertEqual(exchange(udp), AWAY)

    def test_down_and_up(self):
        nat = self.nat()
        with nat.udp(timeout=0.3) as udp:
            self.assertEqual(exchange(udp), HOME)
            self.assertEqual(nat.ask("down"), "ok down")
            with self.assertRaises(TimeoutError):
                exchange(udp)
            self.assertEqual(nat.ask("up"), "ok up")
            self.assertEqual(exchange(udp), HOME)

    def test_total_loss_is_of_udp_only(self):
        nat = self.nat("--loss", "100%")
        with nat.udp(timeout=0.3) as udp, nat.tcp() as tcp:
            with self.assertRaises(TimeoutError):
                exchange(udp)
            self.assertEqual(exchange(tcp), HOME)
        self.assertEqual(nat.ask("loss 0"), "ok loss 0")
        with nat.udp() as udp:
            self.assertEqual(exchange(udp), HOME)

    def test_lines_are_answered_one_by_one(self):
        nat = self.nat()
        for line, answer in (("delay 3ms", "ok delay 3ms jitter 0"), ("delay 3ms 1ms", "ok delay 3ms jitter 1ms"),
                             ("delay soon", "error "), ("delay 1ms 2ms 3ms", "error "), ("rate 100k", "ok rate 100k"),
                             ("rate unlimited", "ok rate unlimited"), ("rate -1", "error "), ("loss 2%", "ok loss 2%"),
                             ("loss 101%", "error "), ("rebind", "error "), ("rebind nowhere", "error "),
                             ("rebind 192.0.2.1", "error 192.0.2.1 is not an address of this machine"),
                             ("rebind 127.0.10.203:80", "error "), ("frobnicate", "error unknown command 'frobnicate'"),
                             ("up up", "error "), ("help", "ok rebind ADDR"), ("x" * 5000, "error line longer")):
            self.assertTrue(nat.ask(line).startswith(answer), line)

    def test_the_end_of_stdin_ends_nothing(self):
        nat = self.nat()
        nat.process.stdin.write("delay 1ms")
        nat.process.stdin.close()
        nat.process.stdin = None
        nat.events.append(nat.process.stdout.readline())
        self.assertEqual(nat.events[-1], "ok delay 1ms jitter 0\n")
        with nat.udp() as udp:
            self.assertEqual(exchange(udp), HOME)
        code, _, err = nat.end()
        self.assertEqual(code, 0)
        self.assertIn("datagrams_out=1", err)

    def test_dev_null_as_stdin_and_both_signals(self):
        for sign in (signal.SIGINT, signal.SIGTERM):
            nat = self.nat(stdin=subprocess.DEVNULL)
            with nat.udp() as udp:
                self.assertEqual(exchange(udp), HOME)
            self.assertEqual(nat.end(sign)[0], 0)

    def test_quit(self):
        nat = self.nat()
        self.assertEqual(nat.ask("quit"), "ok quit")
        self.assertEqual(nat.process.wait(timeout=20), 0)

    def test_udp_only_and_tcp_only(self):
        with self.nat("--udp-only").udp() as udp:
            self.assertEqual(exchange(udp), HOME)
        with self.nat("--tcp-only").tcp() as tcp:
            self.assertEqual(exchange(tcp), HOME)
        with self.assertRaises(ConnectionRefusedError):
            self.nats[0].tcp()

    def test_a_port_in_use(self):
        taken = f"127.0.0.1:{self.nat('--tcp-only').port}"
        done = subprocess.run([ROAMQTT, "nat", "--listen", taken, "--server", "127.0.0.1:1", "--public", HOME,
                               "--tcp-only"],
                              capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(f"--listen {taken}: the port is in use", done.stderr)

    BASE = ["--listen", "127.0.0.1:0", "--server", "127.0.0.1:1", "--public", HOME]
    BAD = [
        ([], "--listen"),
        (["--listen", "127.0.0.1:0"], "--server"),
        (["--listen", "127.0.0.1:0", "--server", "127.0.0.1"], "--server"),
        (["--listen", "127.0.0.1:0", "--server", "127.0.0.1:1"], "--public"),
        (["--listen", "127.0.0.1:0", "--server", "127.0.0.1:1", "--public", "192.0.2.1"], "--public"),
        (["--listen", "127.0.0.1:0", "--server", "127.0.0.1:1", "--public", "::1"], "--public"),
        (["--listen", "somewhere"], "--listen"),
        (BASE + ["--delay", "20"], "--delay"),
        (BASE + ["--loss", "150%"], "--loss"),
        (BASE + ["--rebind-at", "5s"], "--rebind-at"),
        (BASE + ["--rebind-at", "soon=127.0.0.9"], "--rebind-at"),
        (BASE + ["--rebind-at", "5s=there"], "--rebind-at"),
        (BASE + ["--rebind-to", AWAY], "--rebind-to"),
        (BASE + ["--udp-only", "--tcp-only"], "--udp-only"),
        (BASE + ["--filtering", "none"], "--filtering"),
        (BASE + ["--dealy", "20ms"], "--delay"),
    ]

    def test_bad_options_are_named(self):
        for args, word in self.BAD:
            done = subprocess.run([ROAMQTT, "nat", *args], capture_output=True, text=True, timeout=30,
                                  stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(word, done.stderr, args)


if __name__ == "__main__":
    unittest.main()
