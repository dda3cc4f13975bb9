"""Options of a client, a broker and a NAT, under exactly the names they have in C.

``Client``, ``Broker`` and ``Nat`` take them as keywords. What each means, its unit and its default stand in ``roamqtt/client.h``,
``broker.h`` and ``hop.h``; here they have their types. ``_ns`` is nanoseconds, ``_s`` seconds. ``None`` means: as if it had not been given.
A test compares these lists with the headers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypedDict

from . import core
from .errors import make_error


class ClientOptions(TypedDict, total=False):
    """The members of roam_client_options, and those of its ``tls``."""

    # who, and how long the session lives
    client_id: str | None
    user_name: str | None
    password: bytes | str | None
    version: int  # 5, 4 (3.1.1), 3 (3.1)
    clean_start: bool
    session_expiry_s: int
    keep_alive_s: int
    auth_method: str | None  # "SCRAM-SHA-256", or one of your own (events: Auth)
    auth_data: bytes
    will_topic: str | None
    will_payload: bytes | str
    will_qos: int
    will_retain: bool
    will_delay_s: int
    will_props: bytes  # encoded; or will_properties
    connect_props: bytes  # encoded; or user_properties
    request_response_information: bool
    # whom we trust: PEM
    ca: bytes | str | None
    certificate: bytes | str | None
    key: bytes | str | None
    insecure: bool
    server_name: str | None
    # where from, and how the connection is kept
    local: str | None
    interface: str | None
    reconnect: bool
    reconnect_min_ns: int
    reconnect_max_ns: int
    connect_timeout_ns: int
    idle_timeout_ns: int
    ping_ns: int
    offline_queue: bool
    manual_ack: bool  # False: acknowledged when the next message is asked for; True: message.ack()
    redirects_max: int
    # roaming
    roam: bool
    interfaces: str | None  # "wlan0, wwan0:metered, ppp*:cost=50"
    roam_settle_ns: int
    ping_min_ns: int
    ping_max_ns: int
    resume_after_ns: int
    fallback: bool
    fallback_port: int
    fallback_url: str | None  # "mqtts://host" or "wss://host/path": another host for it
    fallback_delay_ns: int
    follow_preferred: bool
    # the second visit
    state: bytes  # what Client.saved() gave; or state_file
    tell_state: bool
    early_data: bool
    initial_rtt_ns: int
    # bounds
    receive_maximum: int
    send_window_max: int
    topic_alias_maximum: int
    maximum_packet_size: int
    queue_messages_max: int
    queue_bytes_max: int
    subscriptions_max: int
    payload_format_check: bool
    # streams and datagrams
    lanes: str  # "one", "per-topic", "per-qos", "split", "per-message"
    lanes_max: int
    one_lane_per_packet: bool
    flows: bool
    flow_expire_s: int
    server_flows_max: int
    bare_control: bool
    datagrams: bool
    datagram_filter: str | None
    # QUIC
    congestion: str  # "cubic", "reno", "bbr"
    key_update_bytes: int
    datagram_bytes_max: int


class BrokerOptions(TypedDict, total=False):
    """The members of roam_broker_options, and those of its ``tls``. ``store`` is a path here: the package opens it."""

    # who we are, and whom we ask for a certificate: PEM
    ca: bytes | str | None
    certificate: bytes | str | None
    key: bytes | str | None
    more: bytes | str | None  # further chains with their keys, by server name
    require_client_certificate: bool
    request_client_certificate: bool
    # who may come in
    allow_anonymous: bool
    anonymous_beyond_loopback: bool
    passwords: bytes | str | None  # a password file's contents; or password_file
    acl: bytes | str | None  # an access list's contents; or acl_file
    subject_as_user_name: bool
    auth_waiting_max: int
    auth_failures_max: int
    connect_rate_max: int
    address_connections_max: int
    ws_path: str | None
    ws_origins: str | None
    # bounds
    connections_max: int
    handshakes_max: int
    connect_timeout_ns: int
    sessions_max: int
    session_expiry_max_s: int
    subscriptions_max: int
    topic_levels_max: int
    retained_max: int
    retained_bytes_max: int
    receive_maximum: int
    topic_alias_maximum: int
    maximum_packet_size: int
    queue_messages_max: int
    queue_bytes_max: int
    queued_bytes_max: int
    client_memory_max: int
    memory_max: int
    request_rate_max: int
    overflow: str  # "refuse", "drop_oldest", "drop_newest"
    server_keep_alive: int
    idle_timeout_ns: int
    silent_max_ns: int
    address_history_max: int
    maximum_qos: int
    retain_available: bool
    payload_format_check: bool
    sys_interval_s: int
    response_information: str | None
    # streams and datagrams
    lanes_max: int
    one_lane_per_packet: bool
    flows: bool
    assigned: str | None  # topic filters that each client gets on flows of the broker's: "cmd/%c"
    assigned_qos: int
    datagrams_max: int
    # durability; `store` and `store_sync` are arguments of Broker
    store_pending_bytes_max: int
    store_timeout_ns: int
    # QUIC
    follow_paths: bool
    retry: bool
    secret: bytes
    early_data: bool
    replay_window_ns: int
    replay_keys_max: int
    initial_rtt_ns: int
    congestion: str  # "cubic", "reno", "bbr"
    key_update_bytes: int
    datagram_bytes_max: int
    preferred_ipv4: str | None
    preferred_ipv6: str | None


class NatOptions(TypedDict, total=False):
    """The members of roam_relay_options."""

    udp: bool
    tcp: bool
    delay_ns: int  # one way
    jitter_ns: int
    loss_ppm: int  # UDP
    rate_bytes_s: int  # each way; 0: no limit
    filtering: str  # "endpoint_independent", "address_dependent", "address_and_port_dependent"
    idle_udp_ns: int
    idle_tcp_ns: int
    mappings_max: int
    hanging_max: int
    tcp_buffer_bytes: int


TLS = ("ca", "certificate", "key", "more", "insecure", "require_client_certificate", "request_client_certificate")
CLIENT = frozenset(ClientOptions.__annotations__)
BROKER = frozenset(BrokerOptions.__annotations__)
NAT = frozenset(NatOptions.__annotations__)
RECONFIGURABLE = frozenset(
    "connect_timeout_ns session_expiry_max_s receive_maximum topic_alias_maximum queue_messages_max queue_bytes_max overflow "
    "server_keep_alive".split()
)
"""What ``Broker.reconfigure`` takes."""

_ENUMS: dict[str, dict[str, int]] = {
    "lanes": {
        "one": core.LANES_ONE, "per-topic": core.LANES_PER_TOPIC, "per-qos": core.LANES_PER_QOS, "split": core.LANES_SPLIT,
        "per-message": core.LANES_PER_MESSAGE,
    },
    "congestion": {"cubic": core.CONGESTION_CUBIC, "reno": core.CONGESTION_RENO, "bbr": core.CONGESTION_BBR},
    "overflow": {
        "refuse": core.OVERFLOW_REFUSE, "drop_oldest": core.OVERFLOW_DROP_OLDEST, "drop_newest": core.OVERFLOW_DROP_NEWEST,
    },
    "filtering": {
        "endpoint_independent": core.FILTERING_ENDPOINT_INDEPENDENT, "address_dependent": core.FILTERING_ADDRESS_DEPENDENT,
        "address_and_port_dependent": core.FILTERING_ADDRESS_AND_PORT_DEPENDENT,
    },
}  # fmt: skip
_ALL = {**ClientOptions.__annotations__, **BrokerOptions.__annotations__, **NatOptions.__annotations__}
_BYTES = frozenset(name for name, kind in _ALL.items() if "bytes" in str(kind))
# What some were called before they had one name everywhere.
_OLD = {
    "username": "user_name", "cadata": "ca", "local_address": "local", "ack": "manual_ack", "session_expiry": "session_expiry_s",
    "keep_alive": "keep_alive_s", "will_delay": "will_delay_s", "reconnect_min": "reconnect_min_ns",
    "reconnect_max": "reconnect_max_ns", "connect_timeout": "connect_timeout_ns", "idle_timeout": "idle_timeout_ns",
    "ping_interval": "ping_ns", "delay": "delay_ns", "jitter": "jitter_ns", "loss": "loss_ppm", "rate": "rate_bytes_s",
}  # fmt: skip


def _refuse(name: str, text: str) -> Exception:
    return make_error(core.E_OPTION, text=f"{name}: {text}")


def _value(name: str, value: Any) -> Any:
    if name in _ENUMS:
        if value not in _ENUMS[name]:
            raise _refuse(name, f"expected {' or '.join(_ENUMS[name])}, got {value!r}")
        return _ENUMS[name][value]
    if name in _BYTES:
        return value.encode() if isinstance(value, str) else value
    return value


def fill(o: Any, given: Mapping[str, Any], known: frozenset[str], owner: str) -> list[Any]:
    """Sets what was given, by its C name, in a struct of options. Gives what must be kept as long as the struct is used: it points
    into these objects. Raises UsageError that names the option and the remedy."""
    keep = []
    for name, value in given.items():
        if name not in known:
            near = [_OLD[name]] if _OLD.get(name) in known else difflib.get_close_matches(name, known, 1)
            raise _refuse(name, f"a {owner} has no such option" + (f"; is it {near[0]}?" if near else ""))
        if value is None:
            continue
        value = _value(name, value)
        try:
            setattr(o.tls if name in TLS else o, name, value)
        except OverflowError:
            raise _refuse(name, f"{value} is out of its range") from None
        except TypeError:
            raise _refuse(name, f"expected {getattr(_ALL[name], '__forward_arg__', _ALL[name])}, got {type(value).__name__}") from None
        keep.append(value)
    return keep
