"""What a client hands out: messages, acknowledgements and the events of a connection's life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from . import core

if TYPE_CHECKING:
    from .client import Client

ReasonCode = IntEnum(  # type: ignore[misc]
    "ReasonCode", {name[7:]: getattr(core, name) for name in dir(core) if name.startswith("REASON_")}
)
ReasonCode.__doc__ = "MQTT 5.0 section 2.4. 0x80 and above are errors."

PropertyId = IntEnum(  # type: ignore[misc]
    "PropertyId", {name[5:]: getattr(core, name) for name in dir(core) if name.startswith("PROP_")}
)
PropertyId.__doc__ = "MQTT 5.0 section 2.2.2.2."


def reason_text(reason: int) -> str:
    """ "not authorized" for 0x87."""
    return str(core.reason_text(reason))


class Message:
    """One received message. ``payload`` is bytes. Properties of MQTT 5.0 are read on demand."""

    __slots__ = ("topic", "payload", "qos", "retain", "dup", "_props", "_packet_id", "_lane", "_client", "_acked")

    def __init__(self, client: "Client | None", body: tuple[Any, ...]) -> None:
        self.topic: str
        self.payload: bytes
        self.qos: int
        self.retain: bool
        self.dup: bool
        (self.topic, self.payload, self.qos, self.retain, self.dup, self._props, self._packet_id, self._lane) = body
        self._client = client
        self._acked = self.qos == 0

    def _property(self, which: int) -> Any:
        for number, value in core.props_list(self._props):
            if number == which:
                return value
        return None

    @property
    def content_type(self) -> str | None:
        value = self._property(core.PROP_CONTENT_TYPE)
        return None if value is None else value.decode()

    @property
    def response_topic(self) -> str | None:
        value = self._property(core.PROP_RESPONSE_TOPIC)
        return None if value is None else value.decode()

    @property
    def correlation_data(self) -> bytes | None:
        return self._property(core.PROP_CORRELATION_DATA)  # type: ignore[no-any-return]

    @property
    def message_expiry(self) -> int | None:
        """Seconds left when the broker sent it on."""
        return self._property(core.PROP_MESSAGE_EXPIRY_INTERVAL)  # type: ignore[no-any-return]

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        return [value for number, value in core.props_list(self._props) if number == core.PROP_USER_PROPERTY]

    @property
    def subscription_identifiers(self) -> list[int]:
        return [value for number, value in core.props_list(self._props) if number == core.PROP_SUBSCRIPTION_IDENTIFIER]

    @property
    def payload_is_text(self) -> bool:
        """The publisher says that it is UTF-8."""
        return bool(self._property(core.PROP_PAYLOAD_FORMAT_INDICATOR))

    def ack(self) -> None:
        """With ``ack="manual"``: this message is dealt with. Twice is harmless."""
        if not self._acked and self._client is not None:
            self._client._ack([self])

    def __repr__(self) -> str:
        return f"Message(topic={self.topic!r}, payload={self.payload!r}, qos={self.qos}, retain={self.retain})"


def encode_properties(
    *,
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation_data: bytes | None = None,
    message_expiry: int | None = None,
    payload_is_text: bool = False,
    user_properties: "list[tuple[str, str]] | None" = None,
) -> bytes:
    """Properties of a PUBLISH, encoded."""
    props = b""
    if payload_is_text:
        props = core.props_add(props, core.PROP_PAYLOAD_FORMAT_INDICATOR, 1, None, None)
    if message_expiry is not None:
        props = core.props_add(props, core.PROP_MESSAGE_EXPIRY_INTERVAL, message_expiry, None, None)
    if content_type is not None:
        props = core.props_add(props, core.PROP_CONTENT_TYPE, 0, content_type.encode(), None)
    if response_topic is not None:
        props = core.props_add(props, core.PROP_RESPONSE_TOPIC, 0, response_topic.encode(), None)
    if correlation_data is not None:
        props = core.props_add(props, core.PROP_CORRELATION_DATA, 0, correlation_data, None)
    for name, value in user_properties or []:
        props = core.props_add(props, core.PROP_USER_PROPERTY, 0, name.encode(), value.encode())
    return bytes(props)


@dataclass(slots=True)
class Connected:
    """CONNACK arrived."""

    local: str
    remote: str
    transport: str
    version: int
    session_present: bool


@dataclass(slots=True)
class Disconnected:
    """The connection ended. ``retry`` is the seconds until the next attempt, None when there will be none."""

    error: Exception | None
    reason: int
    retry: float | None


@dataclass(slots=True)
class PathProbing:
    """A new path is being validated."""

    local: str
    remote: str


@dataclass(slots=True)
class PathMigrated:
    """The connection moved; the session never noticed. ``validation`` is in seconds."""

    old: str
    new: str
    validation: float


@dataclass(slots=True)
class PathFailed:
    """A path could not be used."""

    local: str
    error: Exception


@dataclass(slots=True)
class EarlyData:
    """QUIC: the server's verdict on what left in the first flight; what was rejected has been sent again."""

    accepted: bool


@dataclass(slots=True)
class PeerConnected:
    """Broker: a client's CONNECT was accepted."""

    client_id: str
    address: str
    transport: str


@dataclass(slots=True)
class PeerDisconnected:
    """Broker: a client's connection ended."""

    client_id: str
    address: str
    reason: int


@dataclass(slots=True)
class PeerMoved:
    """Broker: a client's address changed under a living connection."""

    client_id: str
    old: str
    new: str


@dataclass(slots=True)
class PeerRefused:
    """Broker: a connection was refused."""

    address: str
    error: Exception | None
    reason: int


@dataclass(slots=True)
class StoreFailed:
    """Broker: its store cannot be written. With ROAM_E_NO_SPACE it is tried again each second, else it is over until a restart."""

    error: Exception


@dataclass(slots=True)
class StoreRecovered:
    """Broker: its store can be written again."""


@dataclass(slots=True)
class Rebound:
    """NAT: the mappings were flushed and the public address changed."""

    old: str
    new: str


@dataclass(slots=True)
class Reset:
    """NAT: a TCP client whose mapping is gone was reset."""

    remote: str


Event = Connected | Disconnected | PathProbing | PathMigrated | PathFailed | EarlyData
