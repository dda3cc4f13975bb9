"""aioquic, a QUIC stack that shares nothing with ours, against our broker and our client: handshake, Retry, address tokens,
resumption, early data (and a first flight played again), client migration, key update, ALPN mismatch. What is MQTT here is a
handful of packets written by hand. Everything is bounded in time and uses loopback only."""
import asyncio
import datetime
import ipaddress
import os
import socket
import ssl
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, Broker, Sub, run  # noqa: E402

try:
    from aioquic.asyncio import QuicConnectionProtocol, serve
    from aioquic.quic import events
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from aioquic.tls import Epoch
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
except ImportError:
    QuicConnection = None
    QuicConnectionProtocol = object

NO_APPLICATION_PROTOCOL = 0x178


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def packet(first, body):
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def connect(client_id, expiry_s=0):
    props = b"\x11" + expiry_s.to_bytes(4, "big") if expiry_s else b""
    return packet(0x10, text("MQTT") + b"\x05\x00\x00\x3c" + bytes([len(props)]) + props + text(client_id))


def subscribe(topic, number=1):
    return packet(0x82, number.to_bytes(2, "big") + b"\x00" + text(topic) + b"\x01")


def publish(topic, payload, number=2):
    return packet(0x32, text(topic) + number.to_bytes(2, "big") + b"\x00" + payload)


def key_phase(quic):
    """Which of the two kinds of keys the other side uses now."""
    return quic._cryptos[Epoch.ONE_RTT].recv.key_phase


PINGREQ, DISCONNECT = b"\xc0\x00", b"\xe0\x00"


class Client:
    """A QUIC client by aioquic without its event loop: our own socket, so that a test can change it and record what leaves."""

    def __init__(self, broker, alpn="mqtt", ticket=None, token=b"", early=b""):
        self.tickets, self.tokens, self.sent, self.received, self.ended = [], [], [], bytearray(), None
        self.recording = True
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], server_name="localhost", session_ticket=ticket,
                                          token=token)
        configuration.load_verify_locations(broker.ca)
        self.to = ("127.0.0.1", broker.quic)
        self.handshaken = self.accepted = False
        self.quic = QuicConnection(configuration=configuration, session_ticket_handler=self.tickets.append,
                                   token_handler=self.tokens.append)
        self.socket = None
        self.move("127.0.0.1")
        self.quic.connect(self.to, time.time())
        if early:
            self.quic.send_stream_data(self.quic.get_next_available_stream_id(), early)
        self.flush()
        self.recording = False

    def move(self, address):
        if self.socket:
            self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(0.02)

    def flush(self):
        for data, to in self.quic.datagrams_to_send(time.time()):
            if self.recording:
                self.sent.append(data)
            self.socket.sendto(data, to)

    def step(self):
        try:
            data, sender = self.socket.recvfrom(65536)
            self.quic.receive_datagram(data, sender, time.time())
        except TimeoutError:
            pass
        timer = self.quic.get_timer()
        if timer is not None and timer <= time.time():
            self.quic.handle_timer(time.time())
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, events.HandshakeCompleted):
                self.handshaken, self.accepted = True, event.early_data_accepted
            elif isinstance(event, events.StreamDataReceived):
                self.received += event.data
            elif isinstance(event, events.ConnectionTerminated):
                self.ended = event
        self.flush()

    def until(self, predicate, what):
        end = time.monotonic() + PATIENCE
        while not predicate():
            assert time.monotonic() < end, f"{what}: not seen; received {bytes(self.received)!r}, ended {self.ended}"
            self.step()

    def send(self, data):
        self.quic.send_stream_data(0, data)
        self.flush()

    def handshake(self):
        self.until(lambda: self.handshaken or self.ended, "the handshake")
        return self

    def mqtt(self, client_id, **more):
        self.handshake()
        self.send(connect(client_id, **more))
        return self.connack()

    def connack(self):
        self.until(lambda: self.received[:1] == b"\x20" and len(self.received) >= 4, "CONNACK")
        assert self.received[3] == 0, bytes(self.received)
        return self

    def pingresp(self):
        before = self.received.count(b"\xd0\x00")
        self.send(PINGREQ)
        self.until(lambda: self.received.count(b"\xd0\x00") > before, "PINGRESP")

    def bye(self):
        self.send(DISCONNECT)
        for _ in range(3):
            self.step()
        self.close()

    def close(self):
        self.quic.close()
        self.flush()
        self.socket.close()


@unittest.skipUnless(QuicConnection, "needs aioquic (./dev test has it)")
class OurBroker(unittest.TestCase):
    def broker(self, *words, **more):
        broker = Broker(*words, **more)
        self.addCleanup(broker.close)
        return broker

    def test_handshake_and_messages(self):
        broker = self.broker()
        with Sub(*broker.at("quic"), "-t", "t/#", "-C", "1") as sub:
            client = Client(broker).mqtt("stranger")
            client.send(publish("t/1", b"by hand"))
            client.until(lambda: b"\x40\x02\x00\x02" in client.received, "PUBACK")
            self.assertEqual(sub.wait(), 0)
            self.assertIn(b"by hand", bytes(sub.out))
            client.bye()
        broker.wait_err("stranger")

    def test_another_protocol_is_refused_by_its_number(self):
        client = Client(self.broker(), alpn="h3").handshake()
        client.until(lambda: client.ended, "the refusal")
        self.assertEqual(client.ended.error_code, NO_APPLICATION_PROTOCOL)
        self.assertFalse(client.handshaken)

    def test_retry_and_the_token_that_saves_it(self):
        broker = self.broker("--retry")
        first = Client(broker).mqtt("first")
        self.assertEqual(first.quic._retry_count, 1)
        first.until(lambda: first.tokens, "an address token")
        first.bye()
        second = Client(broker, token=first.tokens[-1]).mqtt("second")
        self.assertEqual(second.quic._retry_count, 0)
        second.bye()

    def test_retry_under_load(self):
        """Half of the handshakes that there may be hang: a stranger gets a Retry, one with a token does not."""
        broker = self.broker("--handshakes-max", "8")
        first = Client(broker).mqtt("first")
        self.assertEqual(first.quic._retry_count, 0)
        first.until(lambda: first.tokens, "an address token")
        first.bye()
        hanging = [Client(broker) for _ in range(4)]  # they never read the answer
        for client in hanging:
            self.addCleanup(client.socket.close)
        time.sleep(0.2)
        second = Client(broker).mqtt("second")
        self.assertEqual(second.quic._retry_count, 1)
        second.bye()
        third = Client(broker, token=first.tokens[-1]).mqtt("third")
        self.assertEqual(third.quic._retry_count, 0)
        third.bye()

    def visit(self, broker):
        client = Client(broker).mqtt("visitor", expiry_s=600)
        client.until(lambda: client.tickets, "a session ticket")
        client.bye()
        return client.tickets[-1]

    def test_resumption_and_early_data(self):
        broker = self.broker()
        ticket = self.visit(broker)
        self.assertGreater(ticket.max_early_data_size, 0)
        client = Client(broker, ticket=ticket, early=connect("visitor", 600) + subscribe("in"))
        client.connack()
        client.handshake()
        self.assertTrue(client.quic.tls.session_resumed)
        self.assertTrue(client.accepted)
        client.until(lambda: b"\x90\x04\x00\x01\x00\x01" in client.received, "SUBACK")
        client.bye()

    def test_a_first_flight_played_again(self):
        state = tempfile.TemporaryDirectory()
        self.addCleanup(state.cleanup)
        broker = self.broker(state=state.name)
        ticket = self.visit(broker)
        client = Client(broker, ticket=ticket, early=connect("victim", 600))
        client.connack()
        self.assertTrue(client.handshake().accepted)
        client.pingresp()
        flight = list(client.sent)
        connects = broker.text.count("victim")
        self.play(broker, flight)
        client.pingresp()  # not taken over
        self.assertIsNone(client.ended)
        self.assertEqual(broker.text.count("victim"), connects)
        client.bye()
        port = broker.quic
        broker.stop()
        again = self.broker(state=state.name, listen=("--quic", f"127.0.0.1:{port}"))
        self.play(again, flight)
        self.assertNotIn("victim", again.text)
        fresh = Client(again, ticket=ticket, early=connect("other"))  # the ticket is still good, early data is not
        fresh.handshake()
        self.assertTrue(fresh.quic.tls.session_resumed)
        self.assertFalse(fresh.accepted)
        fresh.close()

    @staticmethod
    def play(broker, flight):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.66", 0))
            for data in flight:
                stranger.sendto(data, ("127.0.0.1", broker.quic))
            stranger.settimeout(0.2)
            for _ in range(8):
                try:
                    stranger.recv(65536)
                except TimeoutError:
                    pass

    def test_migration(self):
        broker = self.broker()
        client = Client(broker).mqtt("nomad")
        client.pingresp()
        client.quic.change_connection_id()
        client.move("127.0.0.2")
        client.pingresp()
        broker.wait_err("127.0.0.2")
        client.move("127.0.0.3")  # a rebinding: the same connection id
        client.pingresp()
        broker.wait_err("127.0.0.3")
        client.bye()

    def test_key_update_by_the_peer(self):
        client = Client(self.broker()).mqtt("keys")
        for _ in range(3):
            client.quic.request_key_update()
            client.pingresp()
            client.pingresp()
        client.bye()

    def test_key_update_by_us(self):
        client = Client(self.broker("--key-update", "1k")).mqtt("keys")
        phases, end = [], time.monotonic() + PATIENCE
        while sum(a != b for a, b in zip(phases, phases[1:])) < 2:  # there and back; not before three probe time-outs
            self.assertLess(time.monotonic(), end)
            client.pingresp()
            phases.append(key_phase(client.quic))
        self.assertIsNone(client.ended)
        client.bye()


# ---- our client ----------------------------------------------------------------------------------------------------------


class Server(QuicConnectionProtocol):
    """Answers what a publisher at QoS 1 says."""
    seen = None

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.data = bytearray()

    def quic_event_received(self, event):
        if isinstance(event, events.HandshakeCompleted):
            self.seen.append(("handshake", event.session_resumed, event.early_data_accepted))
        elif isinstance(event, events.StreamDataReceived):
            self.data += event.data
            self.answer(event.stream_id)

    def answer(self, stream):
        while len(self.data) >= 2 and len(self.data) >= 2 + self.data[1]:
            whole = bytes(self.data[:2 + self.data[1]])
            del self.data[:len(whole)]
            kind = whole[0] >> 4
            if kind == 1:
                self.seen.append(("connect", self._quic._network_paths[0].addr[:2]))
                self._quic.send_stream_data(stream, b"\x20\x03\x00\x00\x00")
            elif kind == 3:
                topic_len = int.from_bytes(whole[2:4], "big")
                self.seen.append(("keys", key_phase(self._quic)))
                self.seen.append(("publish", whole[4 + topic_len + 3:], self._quic._network_paths[0].addr[:2]))
                self._quic.send_stream_data(stream, b"\x40\x02" + whole[4 + topic_len:6 + topic_len])
                if b"new keys" in whole:
                    self._quic.request_key_update()
            elif kind == 12:
                self._quic.send_stream_data(stream, b"\xd0\x00")
        self.transmit()


class Aioquic:
    """An aioquic server in a thread of its own."""

    def __init__(self, folder, alpn="mqtt", retry=False, logger=None):
        self.ca, key = os.path.join(folder, "server.pem"), os.path.join(folder, "server-key.pem")
        make_certificate(self.ca, key)
        self.seen, self.tickets = [], {}
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        protocol = type("Protocol", (Server,), {"seen": self.seen})
        configuration = QuicConfiguration(is_client=False, alpn_protocols=[alpn], quic_logger=logger)
        configuration.load_cert_chain(self.ca, key)
        configuration.verify_mode = ssl.CERT_NONE

        async def begin():
            server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=protocol, retry=retry,
                                 session_ticket_handler=lambda t: self.tickets.update({t.ticket: t}),
                                 session_ticket_fetcher=self.tickets.get)
            self.port = server._transport.get_extra_info("sockname")[1]
            self.ready.set()
            return server

        def main():
            asyncio.set_event_loop(self.loop)
            self.server = self.loop.run_until_complete(begin())
            self.loop.run_forever()

        self.thread = threading.Thread(target=main, daemon=True)
        self.thread.start()
        assert self.ready.wait(PATIENCE)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)

    def pub(self, *words, data=None):
        return run("pub", "-L", f"mqtt-quic://127.0.0.1:{self.port}/t", "--cafile", self.ca, "-q", "1", "-d", *words, data=data)

    def of(self, kind):
        return [entry for entry in self.seen if entry[0] == kind]


def make_certificate(certificate_path, key_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    with open(certificate_path, "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(key_path, "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@unittest.skipUnless(QuicConnection, "needs aioquic (./dev test has it)")
class OurClient(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def server(self, **more):
        server = Aioquic(self.folder, **more)
        self.addCleanup(server.stop)
        return server

    def test_handshake_and_messages(self):
        server = self.server()
        result = server.pub("-m", "hello")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(server.of("publish")[0][1], b"hello")

    def test_another_protocol_in_words(self):
        result = self.server(alpn="h3").pub("-m", "hello")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("speaks QUIC but not MQTT", result.stderr)

    def test_retry(self):
        server = self.server(retry=True)
        result = server.pub("-m", "hello")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(server.of("publish")), 1)

    def test_resumption_and_early_data(self):
        server = self.server()
        state = os.path.join(self.folder, "state")
        first = server.pub("-m", "one", "--state", state)
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o600)
        second = server.pub("-m", "two", "--state", state)
        self.assertEqual(second.returncode, 0, second.stderr)
        self.assertIn("early data accepted", second.stderr)
        third = server.pub("-m", "three", "--state", state, "--no-early-data")
        self.assertEqual(third.returncode, 0, third.stderr)
        self.assertNotIn("early data", third.stderr)
        self.assertEqual(server.of("handshake"), [("handshake", False, False), ("handshake", True, True), ("handshake", True, False)])
        self.assertEqual([entry[1] for entry in server.of("publish")], [b"one", b"two", b"three"])

    def test_early_data_rejected_is_sent_again(self):
        server = self.server()
        state = os.path.join(self.folder, "state")
        self.assertEqual(server.pub("-m", "one", "--state", state).returncode, 0)
        server.tickets.clear()
        again = server.pub("-m", "two", "--state", state)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("early data rejected, sent again", again.stderr)
        self.assertEqual([entry[1] for entry in server.of("publish")], [b"one", b"two"])

    def test_migration(self):
        server = self.server()
        result = server.pub("-m", "x", "--repeat", "20", "--repeat-delay", "100ms", "--migrate-at", "500ms=127.0.0.2,now")  # aioquic answers no probe
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("moved from 127.0.0.1", result.stderr)
        self.assertEqual(len(server.of("publish")), 20)
        addresses = {entry[2][0].removeprefix("::ffff:") for entry in server.of("publish")}
        self.assertEqual(addresses, {"127.0.0.1", "127.0.0.2"})
        self.assertEqual(len(server.of("handshake")), 1)

    def test_key_update_by_the_peer(self):
        server = self.server()
        result = server.pub("-m", "new keys", "--repeat", "10", "--repeat-delay", "50ms")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(server.of("publish")), 10)
        self.assertEqual(len(server.of("handshake")), 1)

    def test_key_update_by_us(self):
        server = self.server()
        result = server.pub("-m", "x" * 90, "--repeat", "60", "--repeat-delay", "5ms", "--key-update", "3k")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(server.of("publish")), 60)
        phases = [entry[1] for entry in server.of("keys")]
        self.assertGreaterEqual(sum(a != b for a, b in zip(phases, phases[1:])), 2)
        self.assertEqual(len(server.of("handshake")), 1)


if __name__ == "__main__":
    unittest.main()
