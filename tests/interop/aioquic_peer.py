"""An MQTT peer over QUIC on aioquic, written for these tests: it says and hears single packets on single streams, so that every rule
can be tried from outside, by code that shares nothing with ours but the standards."""
import asyncio
import contextlib
import datetime
import ssl

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, StopSendingReceived, StreamDataReceived, StreamReset
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PATIENCE = 10

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14

CLEAN, ABORT_IF_NO_STATE, PERSISTENT_QOS, PERSISTENT_ALIAS, PERSISTENT_SUBSCRIPTIONS = 0x01, 0x02, 0x10, 0x20, 0x40
CONTROL, CLIENT, SERVER, USER = 0x11, 0x12, 0x13, 0x14


def text(value):
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(first, body):
    length, out = len(body), bytearray([first])
    while True:
        out.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if length == 0:
            return bytes(out) + body


def connect_packet(client_id, expiry_s=0, clean=True):
    properties = b"\x11" + expiry_s.to_bytes(4, "big") if expiry_s else b""
    return packet(0x10, text("MQTT") + bytes([5, 2 if clean else 0, 0, 60, len(properties)]) + properties + text(client_id))


def publish(topic, payload=b"x", qos=0, packet_id=0, dup=False, properties=b""):
    body = text(topic) + (packet_id.to_bytes(2, "big") if qos else b"") + bytes([len(properties)]) + properties + payload
    return packet(0x30 | qos << 1 | (8 if dup else 0), body)


def subscribe(packet_id, topic, qos=0):
    return packet(0x82, packet_id.to_bytes(2, "big") + b"\0" + text(topic) + bytes([qos]))


def unsubscribe(packet_id, topic):
    return packet(0xA2, packet_id.to_bytes(2, "big") + b"\0" + text(topic))


def answer(kind, packet_id):
    return bytes([kind << 4 | (2 if kind == PUBREL else 0), 2]) + packet_id.to_bytes(2, "big")


def number(value):
    """A QUIC variable-length integer."""
    for bits, size in ((6, 1), (14, 2), (30, 4), (62, 8)):
        if value < 1 << bits:
            return (value | ((size.bit_length() - 1) << (8 * size - 2))).to_bytes(size, "big")
    raise ValueError(value)


def read_number(data, at):
    """Such an integer, and where the next byte is; None: more bytes are needed."""
    size = 1 << (data[at] >> 6) if at < len(data) else 1
    if at + size > len(data):
        return None
    return int.from_bytes(data[at:at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def header(kind, flow=0, flags=0, expire_s=60):
    """The first bytes of a stream of MQTT-next."""
    return number(kind) + number(flow) + (number(expire_s) if kind != 0x11 else b"") + bytes([flags])


class Packet:
    """The fixed header, and what most packets have: an identifier, a topic, codes."""

    def __init__(self, first, body):
        self.kind, self.flags, self.body = first >> 4, first & 15, body
        self.qos, self.dup = (self.flags >> 1) & 3, bool(self.flags & 8)
        self.id = self.topic = self.payload = None
        at = 0
        if self.kind == PUBLISH:
            length = int.from_bytes(body[:2], "big")
            self.topic, at = body[2:2 + length].decode(), 2 + length
        if self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) or (self.kind == PUBLISH and self.qos):
            self.id, at = int.from_bytes(body[at:at + 2], "big"), at + 2
        if self.kind in (PUBLISH, SUBACK, UNSUBACK):
            at += 1 + body[at]  # properties, short here
            self.payload = body[at:]


class Peer(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bytes, self.ended, self.resets, self.stops, self.datagrams, self.closed = {}, set(), {}, {}, [], None
        self.news = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.bytes.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream:
                self.ended.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        elif isinstance(event, DatagramFrameReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.closed = event
        self.news.set()

    @property
    def alpn(self):
        return self._quic.tls.alpn_negotiated

    def open(self, one_way=False):
        """A new stream of ours; it is on the wire with its first byte."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=one_way)
        self._quic._get_or_create_stream_for_send(stream)
        return stream

    def say(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def reset(self, stream, code=0):
        self._quic.reset_stream(stream, code)
        self._quic.stop_stream(stream, code)
        self.transmit()

    def say_datagram(self, data):
        self._quic.send_datagram_frame(data)
        self.transmit()

    async def until(self, condition, what, patience=PATIENCE):
        async def wait():
            while not condition():
                self.news.clear()
                await self.news.wait()
        try:
            await asyncio.wait_for(wait(), patience)
        except asyncio.TimeoutError:
            raise AssertionError(f"not seen: {what}; resets {self.resets}, closed {self.closed}") from None

    def _take(self, stream):
        data = self.bytes.get(stream, b"")
        length = shift = 0
        for i, byte in enumerate(data[1:5], 1):
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if len(data) < 1 + i + length:
                    return None
                taken = Packet(data[0], bytes(data[1 + i:1 + i + length]))
                del data[:1 + i + length]
                return taken
        return None

    async def hear_any(self, stream):
        found = []
        await self.until(lambda: found or (one := self._take(stream)) is not None and not found.append(one), f"a packet on {stream}")
        return found[0]

    async def hear(self, stream, kind, packet_id=None):
        found = await self.hear_any(stream)
        assert found.kind == kind, f"packet {found.kind}, not {kind}, on stream {stream}"
        assert packet_id is None or found.id == packet_id, f"identifier {found.id}, not {packet_id}"
        return found

    async def hear_header(self, stream):
        """Type, flow, expire interval and flags, at the beginning of a stream of the other side's."""
        def read():
            data, at, numbers = self.bytes.get(stream, b""), 0, []
            for _ in range(2 if data[:1] == bytes([CONTROL]) else 3):
                if (found := read_number(data, at)) is None:
                    return None
                numbers.append(found[0])
                at = found[1]
            if at >= len(data):
                return None
            found = (*numbers, data[at])
            del data[:at + 1]
            return found
        found = []
        await self.until(lambda: found or (one := read()) is not None and not found.append(one), f"a header on {stream}")
        return found[0]

    def is_quiet(self, stream):
        return not self.bytes.get(stream)

    async def greet(self, client_id, **how):
        stream = self.open()
        assert stream == 0
        self.say(0, (header(0x11) if self.alpn == "MQTT-next" else b"") + connect_packet(client_id, **how))
        connack = await self.hear(0, CONNACK)
        assert connack.body[1] == 0, connack.body
        return bool(connack.body[0])

    async def ping(self):
        """Is the control stream alive? And everything before it has been dealt with."""
        self.say(0, b"\xc0\x00")
        await self.hear(0, PINGRESP)


def dial(port, alpn="mqtt", create_protocol=Peer, **more):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn] if isinstance(alpn, str) else alpn,
                                      verify_mode=ssl.CERT_NONE, max_datagram_frame_size=65536, **more)
    return connect("127.0.0.1", port, configuration=configuration, create_protocol=create_protocol)


class Server(Peer):
    """The other side: serves one client of ours, as the test says."""

    async def meet(self):
        """The client's header, where there is one, and CONNECT are read; it is let in."""
        await self.until(lambda: self.bytes.get(0), "the first bytes")
        if self.alpn == "MQTT-next":
            assert await self.hear_header(0) == (CONTROL, 0, 0)
        await self.hear(0, CONNECT)
        self.say(0, b"\x20\x03\x00\x00\x00")

    async def grant(self, stream=0):
        request = await self.hear(stream, SUBSCRIBE)
        self.say(stream, packet(0x90, request.body[:2] + b"\0\2"))


def self_signed():
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256()))
    return certificate, key


@contextlib.asynccontextmanager
async def listen(alpn):
    """A server on a free port; yields the port and a queue of those who connect."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[alpn], max_datagram_frame_size=65536)
    configuration.certificate, configuration.private_key = self_signed()
    met = asyncio.Queue()

    def make(*args, **kwargs):
        server = Server(*args, **kwargs)
        met.put_nowait(server)
        return server
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=make)
    try:
        yield server._transport.get_extra_info("sockname")[1], met
    finally:
        server.close()
