"""MQTT over QUIC that keeps its session while the network under it changes."""

from . import mqtt
from .broker import Broker, Nat
from .client import Client, Subscription
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
from .types import (
    Connected,
    Disconnected,
    EarlyData,
    Message,
    PathFailed,
    PathMigrated,
    PathProbing,
    PeerConnected,
    PeerDisconnected,
    PeerMoved,
    PeerRefused,
    PropertyId,
    ReasonCode,
    Rebound,
    Reset,
    StoreFailed,
    StoreRecovered,
    encode_properties,
    reason_text,
)

__version__ = "0.1.0"

__all__ = [
    "Blocked", "Broker", "CertificateError", "Client", "Closed", "Connected", "Disconnected", "EarlyData", "InternalError", "Message", "Nat",
    "NetworkError", "PathError", "PathFailed", "PathMigrated", "PathProbing", "PeerConnected", "PeerDisconnected", "PeerMoved",
    "PeerRefused", "PropertyId", "ProtocolError", "ReasonCode", "Rebound", "Refused", "Reset", "RoamqttError", "StoreError",
    "StoreFailed", "StoreRecovered", "Subscription", "Timeout", "UsageError", "encode_properties", "mqtt", "reason_text",
]  # fmt: skip
