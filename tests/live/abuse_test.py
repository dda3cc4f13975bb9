"""One hostile or slow client costs the others nothing: thousands of connections that come and go, readers that do not read, handshakes
that are never finished, first packets that are none. Meanwhile a healthy client, in a process of its own, sends itself a message fifty
times a second over TLS. Afterwards its p99 stands below P99_MAX, and the broker's descriptors and memory are where they were.

A small round by default; with ROAMQTT_LONG=1 (./dev test long) the whole one: 10,000 connections and 1,000 slow readers."""
import json
import os
import random
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, Broker  # noqa: E402

LONG = os.environ.get("ROAMQTT_LONG") == "1"
CHURN, SLOW, HALF_OPEN, MALFORMED = (10000, 1000, 1000, 5000) if LONG else (600, 60, 60, 300)
BATCH = 200
P99_MAX = 0.3 if LONG else 0.1  # seconds; docs/guide/command-line.md states the first
MEMORY_MAX = 48 << 20  # what a process may keep of a round
os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=8")  # what a broker with a sanitizer keeps of freed memory is not its own
QUEUE = ["--queue-bytes-max", "256k", "--queue-messages-max", "200"]

HEALTHY = r"""
import json, socket, ssl, struct, sys, time
port, ca = int(sys.argv[1]), sys.argv[2]
conn = ssl.create_default_context(cafile=ca).wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
conn.settimeout(30)
stream = conn.makefile("rb")
def read():
    head = stream.read(2)
    return head[0], stream.read(head[1])
conn.sendall(b"\x10\x13\x00\x04MQTT\x04\x02\x00\x3c\x00\x07healthy")
assert read()[0] == 0x20
conn.sendall(b"\x82\x06\x00\x01\x00\x01h\x01")
assert read()[0] == 0x90
print("ready", flush=True)
conn.setblocking(True)
times, due, number = [], time.monotonic(), 0
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    due += 0.02
    time.sleep(max(0, due - time.monotonic()))
    number = number % 65535 + 1
    began = time.monotonic()
    conn.sendall(b"\x32\x09\x00\x01h" + struct.pack("!H", number) + b"ping")
    back = acked = False
    while not (back and acked):
        kind, body = read()
        if kind & 0xf0 == 0x30:
            conn.sendall(b"\x40\x02" + body[3:5])
            back = True
        acked |= kind == 0x40
    times.append((began, time.monotonic() - began))
print(json.dumps(times), flush=True)
"""


def raise_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 16384
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, want), max(hard, want)))
    except (ValueError, OSError):  # a container may forbid it even to root
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft < want else soft, hard))


def connect_packet(name):
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack("!H", len(name)) + name
    return bytes([0x10, len(body)]) + body


def dial(port, receive_buffer=None):
    conn = socket.socket()
    if receive_buffer:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    conn.settimeout(PATIENCE)
    conn.connect(("127.0.0.1", port))
    return conn


def hang_up(conn, rudely):
    if rudely:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class Healthy:
    def __init__(self, broker):
        port = port_of(broker, "tls")
        self.process = subprocess.Popen([sys.executable, "-c", HEALTHY, str(port), broker.ca], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def finish(self):
        """All round trips: when they began, how long they took."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        times = json.loads(self.process.stdout.readline())
        self.process.wait(PATIENCE)
        return times

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def port_of(broker, transport):
    text = bytes(broker.out).decode()
    return int(text.split(f"listening {transport} 127.0.0.1:")[1].split("\n")[0])


class Abuse(unittest.TestCase):
    def setUp(self):
        raise_descriptors()
        self.chance = random.Random(7)
        self.broker = Broker("--connect-timeout", "2s", "--handshakes-max", "128", "--quiet", *QUEUE,
                             listen=[word for kind in ("tcp", "tls", "ws", "quic") for word in (f"--{kind}", "127.0.0.1:0")])
        self.pid = self.broker.process.pid
        self.phases = []

    def tearDown(self):
        self.broker.close()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

    def churn(self):
        done = 0
        while done < CHURN:
            conns = [dial(self.broker.tcp) for _ in range(min(BATCH, CHURN - done))]
            for i, conn in enumerate(conns):
                conn.sendall(connect_packet(b"churn%d" % (done + i)))
            for i, conn in enumerate(conns):
                self.assertEqual(conn.recv(4), b"\x20\x02\x00\x00")
                if i % 3 == 0:
                    conn.sendall(b"\xe0\x00")
                hang_up(conn, rudely=i % 3 == 1)
            done += len(conns)

    def slow_readers(self):
        """They subscribe and never read again; what they are owed is bounded, then they are told 0x97 and put out."""
        readers = []
        for i in range(SLOW):
            conn = dial(self.broker.tcp, receive_buffer=4096)
            conn.sendall(connect_packet(b"slow%d" % i) + b"\x82\x0a\x00\x01\x00\x05flood\x01")
            readers.append(conn)
        for conn in readers:
            self.assertEqual(conn.recv(4)[:2], b"\x20\x02")
        flooder = dial(self.broker.tcp)
        flooder.sendall(connect_packet(b"flooder"))
        flooder.recv(4)
        gone = 0
        for number in range(1, 401):
            body = b"\x00\x05flood" + struct.pack("!H", number) + bytes(16000)
            flooder.sendall(b"\x32" + bytes([len(body) & 0x7f | 0x80, len(body) >> 7]) + body)
            self.assertEqual(flooder.recv(4), b"\x40\x02" + struct.pack("!H", number))  # nobody slow holds the publisher up
        end = time.monotonic() + PATIENCE
        poll = select.poll()
        for conn in readers:
            poll.register(conn, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        while gone < len(readers) and time.monotonic() < end:
            gone = sum(1 for _, event in poll.poll(200) if event)
        for conn in [*readers, flooder]:
            conn.close()
        return gone

    def half_open(self):
        hello = ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        flight = hello.read()
        conns = []
        for i in range(HALF_OPEN):
            try:
                conn = dial(port_of(self.broker, "tls"))
            except ConnectionError:
                continue  # turned away at handshakes-max already
            conns.append(conn)
            try:
                conn.sendall(flight[:self.chance.randrange(len(flight))] if i % 2 else b"")
            except ConnectionError:
                pass
        time.sleep(2.5)  # the broker's connect-timeout
        for conn in conns:
            conn.settimeout(5)
            try:
                while conn.recv(4096):
                    pass
            except ConnectionError:
                pass
            conn.close()

    def malformed(self):
        heads = [b"", b"\x10", b"\x10\xff\xff\xff\xff", b"\x10\x7f\x00\x04MQTT", b"\x30\x05hello", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01"]
        ports = [port_of(self.broker, kind) for kind in ("tcp", "tls", "ws")]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for i in range(MALFORMED):
                noise = self.chance.choice(heads) + self.chance.randbytes(self.chance.randrange(200))
                try:
                    conn = dial(ports[i % 3])
                    conn.sendall(noise)
                    hang_up(conn, rudely=i % 2 == 0)
                except ConnectionError:
                    pass
                udp.sendto(self.chance.choice((b"\xc3", b"\xe0", b"\x40")) + self.chance.randbytes(self.chance.randrange(1300)),
                           ("127.0.0.1", self.broker.quic))

    def settle(self, descriptors):
        end = time.monotonic() + 15
        while self.descriptors() > descriptors and time.monotonic() < end:
            time.sleep(0.1)
        if self.descriptors() > descriptors:
            self.explain()

    def proc(self, name):
        try:
            with open(f"/proc/{self.pid}/{name}", encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError as error:
            return str(error)

    def answers(self):
        conn = dial(self.broker.tcp)
        try:
            conn.settimeout(5)
            conn.sendall(connect_packet(b"late"))
            return conn.recv(4) == b"\x20\x02\x00\x00"
        except OSError as error:
            return str(error)
        finally:
            conn.close()

    def explain(self):
        """Descriptors are still open: which, in which state of TCP, and what the broker is doing."""
        links = {}
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                links[os.readlink(f"/proc/{self.pid}/fd/{fd}")] = fd
            except OSError:
                pass
        rows = [row.split() for row in self.proc("net/tcp").splitlines()[1:]]
        tcp = {f"socket:[{row[9]}]": f"{row[1]} {row[2]} state {row[3]} queues {row[4]} timer {row[5]}" for row in rows if len(row) > 9}
        for link, fd in sorted(links.items(), key=lambda item: int(item[1])):
            print(f"  fd {fd}: {link} {tcp.get(link, '')}")
        before = self.proc("stat").split()[13:15]
        time.sleep(1)
        print(f"  processor ticks {before} -> {self.proc('stat').split()[13:15]} in 1 s; waits in {self.proc('wchan')}; "
              f"answers a new client: {self.answers()}; descriptors then: {self.descriptors()}; it said {self.broker.text[-2000:]!r}")

    def one_round(self):
        gone = 0
        for phase in (self.churn, self.slow_readers, self.half_open, self.malformed):
            self.phases.append((phase.__name__, time.monotonic()))
            gone += phase() or 0
        return gone

    def tell(self, trips):
        ends = [began for _, began in self.phases[1:]] + [float("inf")]
        for (name, began), end in zip(self.phases, ends):
            times = sorted(took for at, took in trips if began <= at < end)
            if times:
                print(f"  {name}: {len(times)} round trips, p50 {times[len(times) // 2] * 1000:.2f} ms, "
                      f"p99 {times[len(times) * 99 // 100] * 1000:.2f} ms, max {times[-1] * 1000:.1f} ms")

    def test_a_healthy_client_does_not_notice(self):
        before_fds, before = self.descriptors(), self.memory()
        healthy = Healthy(self.broker)
        try:
            gone = self.one_round()
            trips = healthy.finish()
        finally:
            healthy.close()
        self.settle(before_fds)
        self.tell(trips)
        times = sorted(took for _, took in trips)
        p99 = times[len(times) * 99 // 100]
        after = self.memory()
        print(f"healthy client: {len(times)} round trips, p50 {times[len(times) // 2] * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, "
              f"max {times[-1] * 1000:.1f} ms; slow readers put out: {gone} of {SLOW}; memory {before >> 10} -> {after >> 10} KiB")
        self.assertEqual(gone, SLOW)
        self.assertGreater(len(times), 50)
        self.assertLess(p99, P99_MAX)
        self.assertEqual(self.descriptors(), before_fds)
        self.assertLess(after, before + MEMORY_MAX)
        self.one_round()
        self.settle(before_fds)
        print(f"memory after a second round: {self.memory() >> 10} KiB")
        self.assertEqual(self.descriptors(), before_fds)
        self.assertLess(self.memory(), before + MEMORY_MAX)
        self.assertEqual(self.broker.stop(), 0)


if __name__ == "__main__":
    unittest.main()
