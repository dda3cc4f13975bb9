"""Others can read what we write for them: tshark decodes our traffic with our key log, early data included, and the qlogs are
JSON-SEQ of the form that qvis takes. The traffic passes a relay of the test's own that writes a capture file, so no privilege
is needed."""
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, Broker, run  # noqa: E402

LINKTYPE_RAW = 101


class Relay:
    """Loopback UDP between one client and the broker, each datagram as an IPv4 packet into a pcap file."""

    def __init__(self, path, port):
        self.front, self.back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.front.bind(("127.0.0.1", 0))
        self.back.connect(("127.0.0.1", port))
        self.port = self.front.getsockname()[1]
        self.file = open(path, "wb")
        self.file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_RAW))
        self.over = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _note(self, source, target, data):
        udp = struct.pack("!HHHH", source, target, 8 + len(data), 0) + data
        home = bytes([127, 0, 0, 1])
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, home, home) + udp
        now = time.time()
        self.file.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(ip), len(ip)) + ip)

    def _run(self):
        client = None
        while not self.over:
            for ready in select.select([self.front, self.back], [], [], 0.05)[0]:
                try:
                    if ready is self.front:
                        data, client = self.front.recvfrom(65536)
                        self._note(client[1], self.port, data)
                        self.back.send(data)
                    else:
                        data = self.back.recv(65536)
                        self._note(self.port, client[1], data)
                        self.front.sendto(data, client)
                except ConnectionRefusedError:
                    pass

    def stop(self):
        self.over = True
        self.thread.join(PATIENCE)
        for each in (self.front, self.back, self.file):
            each.close()


def records(path):
    with open(path, "rb") as file:
        text = file.read()
    assert text[:1] == b"\x1e", "JSON-SEQ begins each record with RS"
    return [json.loads(part) for part in text[1:].split(b"\x1e")]


class Decode(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.at = lambda name: os.path.join(folder.name, name)

    def pub(self, broker, port, *words):
        result = run("pub", "-L", f"mqtt-quic://127.0.0.1:{port}/decode/me", "--cafile", broker.ca, "-q", "1", "-d", "--keylog",
                     self.at("keys"), "--qlog", self.at("qlogs"), "--state", self.at("state"), *words)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    @unittest.skipUnless(shutil.which("tshark"), "needs tshark (apt-get install tshark)")
    def test_tshark_reads_it_with_the_key_log(self):
        with Broker() as broker:
            relay = Relay(self.at("pcap"), broker.quic)
            self.pub(broker, relay.port, "-m", "the payload")
            second = self.pub(broker, relay.port, "-m", "once more")
            relay.stop()
        self.assertIn("early data accepted", second.stderr)
        self.assertEqual(os.stat(self.at("keys")).st_mode & 0o777, 0o600)
        common = ["tshark", "-r", self.at("pcap"), "-o", f"tls.keylog_file:{self.at('keys')}", "-d",
                  f"udp.port=={relay.port},quic"]
        frames = subprocess.run([*common, "-T", "fields", "-e", "quic.stream_data"], capture_output=True, text=True,
                                timeout=PATIENCE).stdout
        seen = bytes.fromhex("".join(c for c in frames if c in "0123456789abcdef"))
        for piece in (b"MQTT\x05", b"decode/me", b"the payload", b"once more"):
            self.assertIn(piece, seen)
        early = subprocess.run([*common, "-Y", "quic.long.packet_type == 1 && quic.stream_data", "-T", "fields", "-e",
                                "quic.stream_data"], capture_output=True, text=True, timeout=PATIENCE).stdout
        self.assertIn(b"MQTT\x05".hex(), early)

    def test_qlog(self):
        with Broker("--qlog", self.at("server")) as broker:
            self.pub(broker, broker.quic, "-m", "hello", "--repeat", "5", "--repeat-delay", "30ms")
            broker.stop()
        for side, folder in (("client", "qlogs"), ("server", "server")):
            names = os.listdir(self.at(folder))
            self.assertEqual(len(names), 1)
            self.assertTrue(names[0].endswith(f"_{side}.sqlog"))
            head, *rest = records(os.path.join(self.at(folder), names[0]))
            self.assertEqual((head["qlog_version"], head["qlog_format"]), ("0.3", "JSON-SEQ"))
            self.assertEqual(head["trace"]["vantage_point"]["type"], side)
            times = [record["time"] for record in rest]
            self.assertEqual(times, sorted(times))
            kinds = {record["name"] for record in rest}
            self.assertLessEqual({"transport:packet_sent", "transport:packet_received", "transport:datagrams_sent",
                                  "recovery:metrics_updated", "connectivity:connection_closed"}, kinds)
            sent = [record["data"]["header"] for record in rest if record["name"] == "transport:packet_sent"]
            self.assertLessEqual({"initial", "handshake", "1RTT"}, {header["packet_type"] for header in sent})
            numbers = [header["packet_number"] for header in sent if header["packet_type"] == "1RTT"]
            self.assertEqual(numbers, sorted(set(numbers)))


if __name__ == "__main__":
    unittest.main()
