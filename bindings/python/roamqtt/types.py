"""What clients, brokers and NATs hand out: messages, and everything that happens, each as a small class under the names of
``roamqtt/event.h``. Addresses are text ("127.0.0.1:1883", "-" where there is none); ``_ns`` is nanoseconds; ``reason`` is an MQTT reason code,
-1 where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from . import core
from .errors import RoamqttError, make_error

if TYPE_CHECKING:
    from .client import Client


class ReasonCode(IntEnum):
    """MQTT 5.0 section 2.4. 0x80 and above are errors."""

    SUCCESS = core.REASON_SUCCESS
    GRANTED_QOS_1 = core.REASON_GRANTED_QOS_1
    GRANTED_QOS_2 = core.REASON_GRANTED_QOS_2
    DISCONNECT_WITH_WILL = core.REASON_DISCONNECT_WITH_WILL
    NO_MATCHING_SUBSCRIBERS = core.REASON_NO_MATCHING_SUBSCRIBERS
    NO_SUBSCRIPTION_EXISTED = core.REASON_NO_SUBSCRIPTION_EXISTED
    CONTINUE_AUTHENTICATION = core.REASON_CONTINUE_AUTHENTICATION
    REAUTHENTICATE = core.REASON_REAUTHENTICATE
    UNSPECIFIED = core.REASON_UNSPECIFIED
    MALFORMED_PACKET = core.REASON_MALFORMED_PACKET
    PROTOCOL_ERROR = core.REASON_PROTOCOL_ERROR
    IMPLEMENTATION_SPECIFIC = core.REASON_IMPLEMENTATION_SPECIFIC
    UNSUPPORTED_VERSION = core.REASON_UNSUPPORTED_VERSION
    CLIENT_ID_NOT_VALID = core.REASON_CLIENT_ID_NOT_VALID
    BAD_USER_NAME_OR_PASSWORD = core.REASON_BAD_USER_NAME_OR_PASSWORD
    NOT_AUTHORIZED = core.REASON_NOT_AUTHORIZED
    SERVER_UNAVAILABLE = core.REASON_SERVER_UNAVAILABLE
    SERVER_BUSY = core.REASON_SERVER_BUSY
    BANNED = core.REASON_BANNED
    SERVER_SHUTTING_DOWN = core.REASON_SERVER_SHUTTING_DOWN
    BAD_AUTHENTICATION_METHOD = core.REASON_BAD_AUTHENTICATION_METHOD
    KEEP_ALIVE_TIMEOUT = core.REASON_KEEP_ALIVE_TIMEOUT
    SESSION_TAKEN_OVER = core.REASON_SESSION_TAKEN_OVER
    TOPIC_FILTER_INVALID = core.REASON_TOPIC_FILTER_INVALID
    TOPIC_NAME_INVALID = core.REASON_TOPIC_NAME_INVALID
    PACKET_ID_IN_USE = core.REASON_PACKET_ID_IN_USE
    PACKET_ID_NOT_FOUND = core.REASON_PACKET_ID_NOT_FOUND
    RECEIVE_MAXIMUM_EXCEEDED = core.REASON_RECEIVE_MAXIMUM_EXCEEDED
    TOPIC_ALIAS_INVALID = core.REASON_TOPIC_ALIAS_INVALID
    PACKET_TOO_LARGE = core.REASON_PACKET_TOO_LARGE
    MESSAGE_RATE_TOO_HIGH = core.REASON_MESSAGE_RATE_TOO_HIGH
    QUOTA_EXCEEDED = core.REASON_QUOTA_EXCEEDED
    ADMINISTRATIVE_ACTION = core.REASON_ADMINISTRATIVE_ACTION
    PAYLOAD_FORMAT_INVALID = core.REASON_PAYLOAD_FORMAT_INVALID
    RETAIN_NOT_SUPPORTED = core.REASON_RETAIN_NOT_SUPPORTED
    QOS_NOT_SUPPORTED = core.REASON_QOS_NOT_SUPPORTED
    USE_ANOTHER_SERVER = core.REASON_USE_ANOTHER_SERVER
    SERVER_MOVED = core.REASON_SERVER_MOVED
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = core.REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    CONNECTION_RATE_EXCEEDED = core.REASON_CONNECTION_RATE_EXCEEDED
    MAXIMUM_CONNECT_TIME = core.REASON_MAXIMUM_CONNECT_TIME
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = core.REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = core.REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED


class PropertyId(IntEnum):
    """MQTT 5.0 section 2.2.2.2."""

    PAYLOAD_FORMAT_INDICATOR = core.PROP_PAYLOAD_FORMAT_INDICATOR
    MESSAGE_EXPIRY_INTERVAL = core.PROP_MESSAGE_EXPIRY_INTERVAL
    CONTENT_TYPE = core.PROP_CONTENT_TYPE
    RESPONSE_TOPIC = core.PROP_RESPONSE_TOPIC
    CORRELATION_DATA = core.PROP_CORRELATION_DATA
    SUBSCRIPTION_IDENTIFIER = core.PROP_SUBSCRIPTION_IDENTIFIER
    SESSION_EXPIRY_INTERVAL = core.PROP_SESSION_EXPIRY_INTERVAL
    ASSIGNED_CLIENT_IDENTIFIER = core.PROP_ASSIGNED_CLIENT_IDENTIFIER
    SERVER_KEEP_ALIVE = core.PROP_SERVER_KEEP_ALIVE
    AUTHENTICATION_METHOD = core.PROP_AUTHENTICATION_METHOD
    AUTHENTICATION_DATA = core.PROP_AUTHENTICATION_DATA
    REQUEST_PROBLEM_INFORMATION = core.PROP_REQUEST_PROBLEM_INFORMATION
    WILL_DELAY_INTERVAL = core.PROP_WILL_DELAY_INTERVAL
    REQUEST_RESPONSE_INFORMATION = core.PROP_REQUEST_RESPONSE_INFORMATION
    RESPONSE_INFORMATION = core.PROP_RESPONSE_INFORMATION
    SERVER_REFERENCE = core.PROP_SERVER_REFERENCE
    REASON_STRING = core.PROP_REASON_STRING
    RECEIVE_MAXIMUM = core.PROP_RECEIVE_MAXIMUM
    TOPIC_ALIAS_MAXIMUM = core.PROP_TOPIC_ALIAS_MAXIMUM
    TOPIC_ALIAS = core.PROP_TOPIC_ALIAS
    MAXIMUM_QOS = core.PROP_MAXIMUM_QOS
    RETAIN_AVAILABLE = core.PROP_RETAIN_AVAILABLE
    USER_PROPERTY = core.PROP_USER_PROPERTY
    MAXIMUM_PACKET_SIZE = core.PROP_MAXIMUM_PACKET_SIZE
    WILDCARD_SUBSCRIPTION_AVAILABLE = core.PROP_WILDCARD_SUBSCRIPTION_AVAILABLE
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = core.PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE
    SHARED_SUBSCRIPTION_AVAILABLE = core.PROP_SHARED_SUBSCRIPTION_AVAILABLE


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


@dataclass(slots=True, kw_only=True)
class _Happened:
    """What all events have: ``at``, the core's clock in ns (it goes on while the machine sleeps)."""

    at: int = 0


@dataclass(slots=True, kw_only=True)
class Connected(_Happened):
    """Client: CONNACK arrived. ``transport``: "quic", "tls", "tcp", "ws", "wss"; ``version``: 5, 4 or 3."""

    local: str
    remote: str
    transport: str
    version: int
    session_present: bool


@dataclass(slots=True, kw_only=True)
class Disconnected(_Happened):
    """Client: the connection ended; ``retry_ns`` until the next attempt, 0 when there will be none. ``error`` is None when the end
    was asked for; ``attempt`` counts since the last success."""

    error: RoamqttError | None
    reason: int
    text: str | None
    retry_ns: int
    attempt: int
    local: str
    remote: str
    transport: str


@dataclass(slots=True, kw_only=True)
class ClientClosed(_Happened):
    """Client: for good. ``error`` is None after close()."""

    error: RoamqttError | None
    reason: int
    text: str | None


@dataclass(slots=True, kw_only=True)
class Published:
    """Client: a message of publish_nowait is done (``events(published=True)``). ``error``: it was refused (``reason``) or dropped."""

    token: int
    error: RoamqttError | None
    reason: int


@dataclass(slots=True, kw_only=True)
class Writable(_Happened):
    """Client: what raised Blocked may be tried again."""


@dataclass(slots=True, kw_only=True)
class PathProbing(_Happened):
    """Client: a new path is being validated."""

    local: str
    remote: str
    old_local: str
    old_remote: str


@dataclass(slots=True, kw_only=True)
class PathMigrated(_Happened):
    """Client: the connection moved; the session never noticed. ``validation_ns``: from the first PATH_CHALLENGE to its answer;
    ``gap_ns``: the longest time without a datagram from the server, from the last before the move to the first after it."""

    local: str
    remote: str
    old_local: str
    old_remote: str
    validation_ns: int
    gap_ns: int


@dataclass(slots=True, kw_only=True)
class PathFailed(_Happened):
    """Client: a path could not be used; the connection stays where it was."""

    local: str
    remote: str
    old_local: str
    old_remote: str
    error: RoamqttError
    text: str | None


@dataclass(slots=True, kw_only=True)
class PathTrouble(_Happened):
    """Client: nothing is answered, or the network refuses to send. Something is being done about it."""

    local: str
    remote: str
    text: str | None


@dataclass(slots=True, kw_only=True)
class EarlyData(_Happened):
    """Client: QUIC, the server's verdict on what left in the first flight; what was rejected has been sent again."""

    accepted: bool


@dataclass(slots=True, kw_only=True)
class State(_Happened):
    """Client: what should be kept between runs has changed: ``client.saved()`` (with ``tell_state``; ``state_file`` does it itself)."""


@dataclass(slots=True, kw_only=True)
class Transport(_Happened):
    """Client: another transport won or took over; ``text`` says why."""

    transport: str
    text: str | None
    local: str
    remote: str


@dataclass(slots=True, kw_only=True)
class Redirected(_Happened):
    """Client: the server sent us to another, and we go. ``text``: where and why; ``reason``: 0x9C for now, 0x9D for good."""

    text: str | None
    reason: int


@dataclass(slots=True, kw_only=True)
class LaneLost(_Happened):
    """Client: a data stream was lost; what it carried goes on another. ``unsettled``: QoS 2 messages that may or may not have
    arrived, each of which is also told by its own publish."""

    lane: int
    stream: int
    code: int
    flow: int
    unsettled: int
    error: RoamqttError | None
    reason: int
    text: str | None


@dataclass(slots=True, kw_only=True)
class Auth(_Happened):
    """Client: the server's AUTH (or CONNACK) of a method that is not built in. ``reason`` 0x18: answer it with ``client.auth(data)``;
    0: the server is content."""

    method: str | None
    data: bytes | None
    reason: int


@dataclass(slots=True, kw_only=True)
class Listening(_Happened):
    """Broker: a listener is bound; ``listener`` is its number."""

    listener: int
    local: str
    transport: str


@dataclass(slots=True, kw_only=True)
class ListenFailed(_Happened):
    """Broker: a listener could not be bound."""

    listener: int
    local: str
    transport: str
    error: RoamqttError


@dataclass(slots=True, kw_only=True)
class PeerConnected(_Happened):
    """Broker: a client's CONNECT was accepted. ``peer`` is the number of the connection."""

    client_id: str
    peer: int
    local: str
    remote: str
    transport: str
    version: int
    session_present: bool


@dataclass(slots=True, kw_only=True)
class PeerDisconnected(_Happened):
    """Broker: a client's connection ended. ``error`` is None when the client said DISCONNECT."""

    client_id: str
    peer: int
    remote: str
    transport: str
    error: RoamqttError | None
    reason: int
    text: str | None


@dataclass(slots=True, kw_only=True)
class PeerMoved(_Happened):
    """Broker: a client's address changed under a living connection."""

    client_id: str
    peer: int
    old_remote: str
    remote: str


@dataclass(slots=True, kw_only=True)
class PeerRefused(_Happened):
    """Broker: a connection, a handshake or a CONNECT was refused."""

    remote: str
    transport: str
    error: RoamqttError | None
    reason: int
    text: str | None


@dataclass(slots=True, kw_only=True)
class PeerLaneLost(_Happened):
    """Broker: a client's data stream was aborted; the client goes on."""

    client_id: str
    peer: int
    lane: int
    stream: int
    code: int
    flow: int
    error: RoamqttError | None
    reason: int
    text: str | None


@dataclass(slots=True, kw_only=True)
class Drained(_Happened):
    """Broker: after send_away, everybody has been asked to leave. ``count``: how many."""

    count: int


@dataclass(slots=True, kw_only=True)
class StoreFailed(_Happened):
    """Broker: its store cannot be written. With ROAM_E_NO_SPACE it is tried again each second, else it is over until a restart."""

    error: RoamqttError


@dataclass(slots=True, kw_only=True)
class StoreRecovered(_Happened):
    """Broker: its store can be written again."""


@dataclass(slots=True, kw_only=True)
class AuthRequest(_Happened):
    """Broker, with ``decide``: somebody who is not admitted yet waits for ``admit``, now or later; others are served meanwhile. Who
    is not answered within connect_timeout_ns of its first packet is turned away. ``round`` 0 is a CONNECT (or the AUTH that begins
    again, ``again``), 1 and on are answers to what was sent with reason 0x18. ``user_name``, ``password``, ``method``, ``data`` are None
    where they were not given."""

    peer: int
    client_id: str
    user_name: str | None
    password: bytes | None = field(repr=False)
    method: str | None
    data: bytes | None
    remote: str
    round: int
    again: bool
    _broker: Any = field(default=None, repr=False, compare=False)

    def admit(self, reason: int = 0, *, data: bytes = b"", user_name: str | None = None, text: str | None = None) -> None:
        """``broker.admit`` for this one: come in; with ``reason`` from 0x80 on refused; with 0x18 another round."""
        self._broker.admit(self.peer, reason, data=data, user_name=user_name, text=text)


@dataclass(slots=True, kw_only=True)
class Admission:
    """The verdict of a ``decide`` function: ``reason`` 0, come in (as ``user_name``); 0x18, another round, in which ``data`` goes out;
    from 0x80 on refused, with ``text`` as Reason String."""

    reason: int = 0
    data: bytes = b""
    user_name: str | None = None
    text: str | None = None


@dataclass(slots=True, kw_only=True)
class NatRebound(_Happened):
    """NAT: the mappings were flushed and the public address changed."""

    old_local: str
    local: str


@dataclass(slots=True, kw_only=True)
class NatReset(_Happened):
    """NAT: a TCP client whose mapping is gone was reset."""

    remote: str


@dataclass(slots=True, kw_only=True)
class NatMapped(_Happened):
    """NAT: a new mapping: ``remote`` inside is ``local`` outside."""

    remote: str
    local: str


Event = (
    Connected | Disconnected | ClientClosed | Published | Writable | PathProbing | PathMigrated | PathFailed | PathTrouble | EarlyData
    | State | Transport | Redirected | LaneLost | Auth
)  # fmt: skip
BrokerEvent = (
    Listening | ListenFailed | PeerConnected | PeerDisconnected | PeerMoved | PeerRefused | PeerLaneLost | Drained | StoreFailed
    | StoreRecovered | AuthRequest
)  # fmt: skip
NatEvent = NatRebound | NatReset | NatMapped

CLIENT_EVENTS: dict[int, type] = {
    core.EV_CONNECTED: Connected, core.EV_DISCONNECTED: Disconnected, core.EV_CLOSED: ClientClosed, core.EV_PUBLISHED: Published,
    core.EV_WRITABLE: Writable, core.EV_PATH_PROBING: PathProbing, core.EV_PATH_MIGRATED: PathMigrated,
    core.EV_PATH_FAILED: PathFailed, core.EV_PATH_TROUBLE: PathTrouble, core.EV_EARLY_DATA: EarlyData, core.EV_STATE: State,
    core.EV_TRANSPORT: Transport, core.EV_REDIRECTED: Redirected, core.EV_LANE_LOST: LaneLost, core.EV_AUTH: Auth,
}  # fmt: skip
BROKER_EVENTS: dict[int, type] = {
    core.EV_LISTENING: Listening, core.EV_LISTEN_FAILED: ListenFailed, core.EV_PEER_CONNECTED: PeerConnected,
    core.EV_PEER_DISCONNECTED: PeerDisconnected, core.EV_PEER_MOVED: PeerMoved, core.EV_PEER_REFUSED: PeerRefused,
    core.EV_PEER_LANE_LOST: PeerLaneLost, core.EV_DRAINED: Drained, core.EV_STORE_FAILED: StoreFailed,
    core.EV_STORE_RECOVERED: StoreRecovered, core.EV_AUTH: AuthRequest,
}  # fmt: skip
NAT_EVENTS: dict[int, type] = {core.EV_NAT_REBOUND: NatRebound, core.EV_NAT_RESET: NatReset, core.EV_NAT_MAPPED: NatMapped}

# The same thing under the name that fits the event.
_NAMES = {"client_id": "id", "listener": "token", "count": "token"}


def error_of(body: dict[str, Any]) -> RoamqttError | None:
    """The exception an event carries."""
    return make_error(body["rc"], text=body["text"], reason=body["reason"]) if body["rc"] < 0 else None


def make_event(kind: type, body: dict[str, Any]) -> Any:
    """An event of the class from what the core said about it."""
    values: dict[str, Any] = {}
    for f in fields(kind):
        if f.name == "error":
            # PathFailed and the like are failures whatever the number says.
            certain = kind in (PathFailed, ListenFailed, StoreFailed)
            values["error"] = error_of(body) or (make_error(core.E_IO, text=body["text"]) if certain else None)
        elif f.name == "accepted":
            values["accepted"] = body["rc"] == 0
        elif f.name != "_broker":
            values[f.name] = body[_NAMES.get(f.name, f.name)]
    return kind(**values)
