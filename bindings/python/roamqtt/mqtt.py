"""Packets and bytes, without a session: for tools, tests and captures.

``decode`` reads one packet off the front of some bytes, ``encode`` writes one. What ``decode`` accepts has been checked whole; a
packet that a peer would have to refuse raises ``ProtocolError`` with the ``reason`` code the specification names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from . import core
from .types import PropertyId

__all__ = ["Filter", "IncompletePacket", "Packet", "PacketType", "Properties", "PropertyId", "Will", "decode", "encode"]

PacketType = IntEnum(
    "PacketType",
    "CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH",
)
PacketType.__doc__ = "MQTT 5.0 section 2.1.2."

Properties = list[tuple[int, Any]]
"""In their order: (PropertyId, value). A value is an int, a str, bytes (binary data) or (name, value) for a user property."""


class IncompletePacket(Exception):
    """The bytes end before the packet does, and nothing is wrong so far: come again with more."""


@dataclass(slots=True)
class Will:
    """What the server publishes when the client vanishes."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=list)


@dataclass(slots=True)
class Filter:
    """One entry of a SUBSCRIBE or, of which only ``filter`` counts, an UNSUBSCRIBE."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(slots=True)
class Packet:
    """One control packet of any type; the comment names the types that have a field."""

    type: int
    version: int = 5
    properties: Properties = field(default_factory=list)  # 5.0
    packet_id: int = 0  # PUBLISH with QoS 1 or 2, PUBACK to UNSUBACK
    reason: int = 0  # CONNACK, PUBACK to PUBCOMP, DISCONNECT, AUTH; of 3.1.1 as its meaning in 5.0
    topic: str = ""  # PUBLISH, and so are the next four
    payload: bytes = b""
    qos: int = 0
    dup: bool = False
    retain: bool = False
    session_present: bool = False  # CONNACK
    filters: list[Filter] = field(default_factory=list)  # SUBSCRIBE, UNSUBSCRIBE
    codes: bytes = b""  # SUBACK, UNSUBACK: one byte for each filter
    client_id: str = ""  # CONNECT, and so are the rest
    clean_start: bool = False
    keep_alive: int = 0
    user_name: str | None = None
    password: bytes | None = None
    will: Will | None = None


def _properties(pairs: Properties) -> Properties:
    return [(PropertyId(number), value) for number, value in pairs]


def decode(
    data: bytes, version: int = 5, from_server: bool = False, *, maximum_packet_size: int = 0xFFFFFFFF
) -> tuple[Packet, int]:
    """The first packet in ``data`` and how many bytes it took.

    ``version`` is the connection's (3, 4 or 5); a CONNECT says its own, and 0 means that only CONNECT may come. ``from_server``
    tells who sent it. Raises ``IncompletePacket`` when bytes are missing, ``ProtocolError`` (with ``reason``) when it is bad.
    """
    found = core.packet_decode(data, version, from_server, maximum_packet_size)
    if found is None:
        raise IncompletePacket(f"{len(data)} bytes are not a whole packet")
    fields, used = found
    fields["type"] = PacketType(fields["type"])
    fields["properties"] = _properties(fields["properties"])
    if "filters" in fields:
        fields["filters"] = [Filter(*entry) for entry in fields["filters"]]
    if fields.get("will") is not None:
        topic, payload, qos, retain, properties = fields["will"]
        fields["will"] = Will(topic, payload, qos, retain, _properties(properties))
    return Packet(**fields), used


def _encode_connect(packet: Packet) -> bytes:
    will = packet.will
    flags = bool(packet.clean_start) | (will is not None) << 1 | (packet.user_name is not None) << 2
    flags |= (packet.password is not None) << 3
    if will is None:
        will = Will("")
    return bytes(
        core.connect_encode(
            packet.version,
            flags | bool(will.retain) << 4,
            packet.keep_alive,
            will.qos,
            packet.client_id.encode(),
            core.props_encode(packet.properties),
            (packet.user_name or "").encode(),
            packet.password or b"",
            will.topic.encode(),
            will.payload,
            core.props_encode(will.properties),
        )
    )


def encode(packet: Packet) -> bytes:
    """The packet as bytes for ``packet.version``. Raises ``UsageError`` when no peer could accept it."""
    if packet.type == PacketType.CONNECT:
        return _encode_connect(packet)
    filters = b"".join(
        core.filter_encode(packet.type, f.filter.encode(), f.qos, f.no_local, f.retain_as_published, f.retain_handling)
        for f in packet.filters
    )
    return bytes(
        core.packet_encode(
            packet.type,
            packet.version,
            packet.qos,
            bool(packet.dup) | bool(packet.retain) << 1 | bool(packet.session_present) << 2,
            packet.reason,
            packet.packet_id,
            packet.topic.encode(),
            packet.payload,
            core.props_encode(packet.properties),
            filters,
            bytes(packet.codes),
        )
    )
