"""MQTT over QUIC that keeps its session while the network under it changes."""

from . import mqtt
from .broker import AddressChange, Broker, Listener
from .client import LANE_CONTROL, Client, Subscription
from .errors import (
    Blocked,
    CertificateError,
    Closed,
    InternalError,
    NetworkError,
    PathError,
    ProtocolError,
    Refused,
    RoamqttError,
    StoreError,
    Timeout,
    UsageError,
)
from .identity import Identity, identity_issue, identity_make
from .nat import Nat
from .options import BrokerOptions, ClientOptions, NatOptions
from .types import (
    Admission,
    Auth,
    AuthRequest,
    ClientClosed,
    Connected,
    Disconnected,
    Drained,
    EarlyData,
    LaneLost,
    ListenFailed,
    Listening,
    Message,
    NatMapped,
    NatRebound,
    NatReset,
    PathFailed,
    PathMigrated,
    PathProbing,
    PathTrouble,
    PeerConnected,
    PeerDisconnected,
    PeerLaneLost,
    PeerMoved,
    PeerRefused,
    PropertyId,
    Published,
    ReasonCode,
    Redirected,
    State,
    StoreFailed,
    StoreRecovered,
    Transport,
    Writable,
    encode_properties,
    reason_text,
)

__version__ = "0.1.0"

__all__ = [
    "AddressChange", "Admission", "Auth", "AuthRequest", "Blocked", "Broker", "BrokerOptions", "CertificateError", "Client", "ClientClosed",
    "ClientOptions", "Closed", "Connected", "Disconnected", "Drained", "EarlyData", "Identity", "InternalError", "LANE_CONTROL", "LaneLost",
    "ListenFailed", "Listener", "Listening", "Message", "Nat", "NatMapped", "NatOptions", "NatRebound", "NatReset", "NetworkError", "PathError",
    "PathFailed", "PathMigrated", "PathProbing", "PathTrouble", "PeerConnected", "PeerDisconnected", "PeerLaneLost", "PeerMoved",
    "PeerRefused", "PropertyId", "ProtocolError", "Published", "ReasonCode", "Redirected", "Refused", "RoamqttError", "State", "StoreError",
    "StoreFailed", "StoreRecovered", "Subscription", "Timeout", "Transport", "UsageError", "Writable", "encode_properties", "identity_issue",
    "identity_make", "mqtt", "reason_text",
]  # fmt: skip
