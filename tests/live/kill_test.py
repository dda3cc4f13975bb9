"""kill -9 in the middle of QoS 1 and 2 traffic, for real: a broker with a store is killed again and again and started on the same
file. No acknowledged message may be lost, no QoS 2 message come twice, retained messages and wills be intact.

The clients are sockets that speak MQTT 3.1.1 themselves, so that what is acknowledged and what is repeated is known byte by byte.
ROAMQTT_KILLS says how often (5); ./dev test long asks for fifty."""
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import Broker, run  # noqa: E402

KILLS = int(os.environ.get("ROAMQTT_KILLS", "5"))
WINDOW = 40
PATIENCE = 60
CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK = 2, 3, 4, 5, 6, 7, 9


def text(value):
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def packet(first, body):
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([first]) + bytes(length) + body


class Wire:
    """One connection: bytes in, whole packets out. Raises OSError at its end."""

    def __init__(self, port, name, will=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        flags = 0x0c if will else 0  # the will has QoS 1
        body = text("MQTT") + bytes([4, flags]) + struct.pack("!H", 30) + text(name)
        if will:
            body += text(will[0]) + text(will[1])
        self.send(packet(0x10, body))
        kind, _, body = self.wait()
        if kind != CONNACK or body[1] != 0:
            raise OSError(f"CONNACK {body[1]}")
        self.session_present = body[0] == 1

    def send(self, data):
        self.socket.sendall(data)

    def packets(self, seconds):
        """What has arrived, after waiting this long for something."""
        if select.select([self.socket], [], [], seconds)[0]:
            data = self.socket.recv(1 << 16)
            if not data:
                raise OSError("closed")
            self.buffer += data
        while (one := self._cut()) is not None:
            yield one

    def _cut(self):
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self.buffer):
                return None
            size |= (self.buffer[at] & 127) << shift
            shift += 7
            at += 1
            if not self.buffer[at - 1] & 128:
                break
        if len(self.buffer) < at + size:
            return None
        first, body = self.buffer[0], bytes(self.buffer[at:at + size])
        del self.buffer[:at + size]
        return first >> 4, first & 15, body

    def wait(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for one in self.packets(0.2):
                return one
        raise OSError("silence")

    def close(self):
        self.socket.close()


class Client(threading.Thread):
    """A client that comes back until it is told to stop; its session must be there each time."""

    def __init__(self, port, name):
        super().__init__(daemon=True)
        self.port, self.name_of_session = port, name
        self.over, self.wire, self.connects, self.complaints = threading.Event(), None, 0, []

    def run(self):
        while not self.over.is_set():
            try:
                self.wire = Wire(self.port, self.name_of_session)
                if self.connects and not self.wire.session_present:
                    self.complaints.append(f"{self.name_of_session}: its session was forgotten")
                self.begin()
                self.connects += 1
                while not self.over.is_set():
                    self.work()
            except OSError:
                time.sleep(0.02)
            finally:
                if self.wire:
                    self.wire.close()

    def begin(self):
        """Once connected."""

    def work(self):
        """A moment of it."""


class Publisher(Client):
    def __init__(self, port, qos, topic, retain=False):
        super().__init__(port, f"publisher-{topic}")
        self.qos, self.topic, self.retain = qos, topic, retain
        self.next_number, self.next_id, self.paused = 0, 0, False
        self.unanswered = {}  # packet id -> [number, released]
        self.acknowledged = set()

    def send_message(self, packet_id, number, dup):
        first = 0x30 | dup << 3 | self.qos << 1 | self.retain
        self.wire.send(packet(first, text(self.topic) + struct.pack("!H", packet_id) + str(number).encode()))

    def begin(self):
        for packet_id, (number, released) in list(self.unanswered.items()):
            if released:
                self.wire.send(packet(0x62, struct.pack("!H", packet_id)))
            else:
                self.send_message(packet_id, number, True)

    def work(self):
        while len(self.unanswered) < WINDOW and not self.paused:
            self.next_id = self.next_id % 65535 + 1
            if self.next_id in self.unanswered:
                continue
            self.unanswered[self.next_id] = [self.next_number, False]
            self.next_number += 1
            self.send_message(self.next_id, self.next_number - 1, False)
        for kind, _, body in self.wire.packets(0.02):
            self.take(kind, struct.unpack("!H", body[:2])[0])

    def take(self, kind, packet_id):
        if packet_id not in self.unanswered:
            return
        if kind == PUBREC:
            self.unanswered[packet_id][1] = True
            self.acknowledged.add(self.unanswered[packet_id][0])
            self.wire.send(packet(0x62, struct.pack("!H", packet_id)))
        elif kind in (PUBACK, PUBCOMP):
            self.acknowledged.add(self.unanswered.pop(packet_id)[0])


class Subscriber(Client):
    def __init__(self, port, name="subscriber"):
        super().__init__(port, name)
        self.got, self.unreleased, self.ready = {}, set(), threading.Event()

    def begin(self):
        if not self.connects:
            self.wire.send(packet(0x82, struct.pack("!H", 1) + text("#") + b"\x02"))

    def work(self):
        for kind, flags, body in self.wire.packets(0.05):
            if kind == SUBACK:
                self.ready.set()
            elif kind == PUBLISH:
                self.take(flags >> 1 & 3, body)
            elif kind == PUBREL:
                self.unreleased.discard(body[:2])
                self.wire.send(packet(0x70, body[:2]))

    def take(self, qos, body):
        size = struct.unpack("!H", body[:2])[0]
        topic, rest = body[2:2 + size].decode(), body[2 + size:]
        packet_id, payload = (rest[:2], rest[2:]) if qos else (b"", rest)
        if qos < 2 or packet_id not in self.unreleased:
            counts = self.got.setdefault(topic, {})
            counts[payload.decode()] = counts.get(payload.decode(), 0) + 1
        if qos == 2:
            self.unreleased.add(packet_id)
            self.wire.send(packet(0x50, packet_id))
        elif qos == 1:
            self.wire.send(packet(0x40, packet_id))


def wait_until(predicate, what):
    end = time.monotonic() + PATIENCE
    while not predicate():
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.02)


class Killed(unittest.TestCase):
    workers = [1]  # at each start the next, again and again

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.starts = 0
        self.broker = self.start("127.0.0.1:0")
        self.port = self.broker.tcp
        self.addCleanup(lambda: self.broker.close())

    def start(self, at):
        workers = self.workers[self.starts % len(self.workers)]
        self.starts += 1
        # A reader in Python may fall behind by more than a queue's usual bound on a busy machine; that would end its session.
        return Broker("--quiet", "--queue-messages-max", "1000000", "--queue-bytes-max", "256M", "--workers",
                      str(workers), "--store", os.path.join(self.folder.name, "store.db"), state=self.folder.name, listen=("--tcp", at))

    def kill(self):
        self.broker.signal(signal.SIGKILL)
        self.broker.close()
        self.broker = self.start(f"127.0.0.1:{self.port}")

    def test_nothing_acknowledged_is_lost(self):
        chance = random.Random(KILLS)
        subscriber = Subscriber(self.port)
        publishers = [Publisher(self.port, 1, "one"), Publisher(self.port, 2, "two"), Publisher(self.port, 1, "kept", retain=True)]
        everybody = [subscriber, *publishers]
        subscriber.start()
        self.assertTrue(subscriber.ready.wait(PATIENCE))
        for publisher in publishers:
            publisher.start()
        for i in range(KILLS):
            mortal = Wire(self.port, f"mortal-{i}", will=(f"will/{i}", "gone"))
            time.sleep(chance.uniform(0.05, 0.5))
            self.kill()
            mortal.close()
        for publisher in publishers:
            publisher.paused = True
        wait_until(lambda: not any(p.unanswered for p in publishers), "the publishers are not answered")
        wait_until(lambda: not self.missing(subscriber, publishers) or subscriber.complaints, "acknowledged and lost")
        self.assertEqual(subscriber.complaints, [])
        wait_until(lambda: all(f"will/{i}" in subscriber.got for i in range(KILLS)), "wills were lost")
        self.kill()  # once more: what is retained is on the disk
        self.check_retained(publishers[2])
        for client in everybody:
            client.over.set()
            client.join(PATIENCE)
        self.assertEqual([c for client in everybody for c in client.complaints], [])
        self.assertEqual([n for n, count in subscriber.got["two"].items() if count > 1], [], "QoS 2 came twice")
        self.assertTrue(all(len(p.acknowledged) > 10 for p in publishers))

    @staticmethod
    def missing(subscriber, publishers):
        return [(p.topic, n) for p in publishers for n in p.acknowledged if str(n) not in subscriber.got.get(p.topic, {})][:10]

    def check_retained(self, publisher):
        newcomer = Subscriber(self.port, "newcomer")
        newcomer.start()
        wait_until(lambda: newcomer.got.get("kept"), "nothing is retained")
        newcomer.over.set()
        newcomer.join(PATIENCE)
        self.assertEqual(list(newcomer.got["kept"]), [str(publisher.next_number - 1)])


class KilledWorkers(Killed):
    """The same with several workers, and with another number of them after each death."""
    workers = [2, 2, 4, 1]


@unittest.skipUnless(os.geteuid() == 0, "a small file system can be mounted by root only")
class Disk(unittest.TestCase):
    """A disk of three megabytes, that gets full and then read-only under a running broker."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.disk = os.path.join(self.folder.name, "disk")
        os.mkdir(self.disk)
        if self.mount("-t", "tmpfs", "-o", "size=3m", "tmpfs"):
            self.skipTest("mounting is not allowed here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk])
        self.broker = self.start("127.0.0.1:0")
        self.addCleanup(lambda: self.broker.close())

    def mount(self, *words):
        return subprocess.run(["mount", *words, self.disk], capture_output=True).returncode

    def start(self, at):
        return Broker("--store", os.path.join(self.disk, "store.db"), state=self.folder.name, listen=("--tcp", at))

    def subscribe_and_leave(self):
        wire = Wire(self.broker.tcp, "away")
        wire.send(packet(0x82, struct.pack("!H", 1) + text("#") + b"\x01"))
        self.assertEqual(wire.wait()[0], SUBACK)
        wire.send(b"\xe0\x00")
        wire.close()

    def test_full_and_then_not(self):
        self.subscribe_and_leave()
        filler = os.path.join(self.disk, "filler")
        with open(filler, "wb") as file:
            file.write(bytes(1 << 20))
        publisher = Publisher(self.broker.tcp, 1, "x" * 900)
        publisher.start()
        self.broker.wait_err("make room on its disk")
        time.sleep(0.3)
        before = len(publisher.acknowledged)
        time.sleep(0.7)
        self.assertEqual(len(publisher.acknowledged), before, "acknowledged while nothing could be written")
        publisher.paused = True
        os.unlink(filler)
        self.broker.wait_err("can be written again")
        wait_until(lambda: not publisher.unanswered, "not answered although there is room again")
        publisher.over.set()
        publisher.join(PATIENCE)
        port = self.broker.tcp
        self.broker.signal(signal.SIGKILL)
        self.broker.close()
        self.broker = self.start(f"127.0.0.1:{port}")
        away = Subscriber(port, "away")
        away.connects = 1  # its subscription is there
        away.start()
        wait_until(lambda: len(away.got.get("x" * 900, {})) == len(publisher.acknowledged), "something acknowledged was lost")
        away.over.set()
        away.join(PATIENCE)

    def test_read_only(self):
        self.subscribe_and_leave()
        self.broker.stop()
        self.assertEqual(self.mount("-o", "remount,ro"), 0)
        result = run("broker", "--tcp", "127.0.0.1:0", "--store", os.path.join(self.disk, "store.db"))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("be writable by this user", result.stderr)


class Refused(unittest.TestCase):
    """What cannot be used is refused with a sentence, and is left as it is."""

    def refuse(self, path, *words):
        result = run("broker", "--tcp", "127.0.0.1:0", "--store", path, *words)
        self.assertNotEqual(result.returncode, 0)
        return result.stderr

    def test_a_file_that_is_no_store(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "note.txt")
            with open(path, "w", encoding="utf-8") as file:
                file.write("this is not a database " * 100)
            self.assertIn("move the file away", self.refuse(path))
            with open(path, encoding="utf-8") as file:
                self.assertTrue(file.read().startswith("this is not a database"))

    def test_a_folder_that_is_not_there(self):
        self.assertIn("the folder must exist", self.refuse("/nowhere/at/all/store.db"))

    def test_a_second_broker_on_the_same_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "store.db")
            with Broker("--store", path, state=folder, listen=("--tcp", "127.0.0.1:0")):
                self.assertIn("another process has it open", self.refuse(path))

    def test_a_policy_nobody_knows(self):
        self.assertIn("always interval off", self.refuse("/tmp/unused.db", "--store-sync", "sometimes"))


if __name__ == "__main__":
    unittest.main()
