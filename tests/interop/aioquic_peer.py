"""An MQTT peer over QUIC on aioquic, written for these tests: it says and hears single packets on single streams, so that every rule
can be tried from outside, by code that shares nothing with ours but the standards."""
import asyncio
import ssl

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, StreamDataReceived, StreamReset

PATIENCE = 10

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14

CLEAN, ABORT_IF_NO_STATE, PERSISTENT_QOS, PERSISTENT_SUBSCRIPTIONS = 0x01, 0x02, 0x10, 0x40


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


def publish(topic, payload=b"x", qos=0, packet_id=0, dup=False):
    body = text(topic) + (packet_id.to_bytes(2, "big") if qos else b"") + b"\0" + payload
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
        self.bytes, self.ended, self.resets, self.datagrams, self.closed = {}, set(), {}, [], None
        self.news = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.bytes.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream:
                self.ended.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, DatagramFrameReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.closed = event
        self.news.set()

    @property
    def alpn(self):
        return self._quic.tls.alpn_negotiated

    def open(self):
        """A new bidirectional stream of ours; it is on the wire with its first byte."""
        stream = self._quic.get_next_available_stream_id()
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


def dial(port, alpn="mqtt", **more):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn] if isinstance(alpn, str) else alpn,
                                      verify_mode=ssl.CERT_NONE, max_datagram_frame_size=65536, **more)
    return connect("127.0.0.1", port, configuration=configuration, create_protocol=Peer)
