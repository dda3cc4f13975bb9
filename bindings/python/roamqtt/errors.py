"""Exceptions. Every one carries ``code`` (a negative number, stable), ``name`` (``ROAM_E_TIMEOUT``) and, where the server gave one,
``reason`` (an MQTT reason code). Timeouts are also ``TimeoutError``, refusals also ``ConnectionError``."""

from __future__ import annotations

from . import core


class RoamqttError(Exception):
    """Something failed; ``str(error)`` says what and, where there is one, the remedy."""

    def __init__(self, code: int, name: str, text: str, reason: int = -1) -> None:
        super().__init__(f"{name}: {text}")
        self.code = code
        self.name = name
        self.text = text
        self.reason = reason


class UsageError(RoamqttError, ValueError):
    """A bad argument, option or state (codes -1 to -99): correct the call."""


class Blocked(UsageError):
    """The queue is full: wait for acknowledgements and try again."""


class Closed(UsageError):
    """The object is closed."""


class ProtocolError(RoamqttError):
    """The other side broke the protocol (codes -100 to -199)."""


class Refused(RoamqttError, ConnectionError):
    """The server said no; ``reason`` tells why."""


class NetworkError(RoamqttError, ConnectionError):
    """The network, a name or a certificate (codes -200 to -299)."""


class CertificateError(NetworkError):
    """The server's certificate is not acceptable, or one of ours is not readable."""


class Timeout(NetworkError, TimeoutError):
    """Nothing came in time."""


class PathError(NetworkError):
    """A migration did not succeed; the connection stays where it was."""


class StoreError(RoamqttError, OSError):
    """A broker's store cannot be used: no space, read-only, damaged, written by a later version, in use."""


class InternalError(RoamqttError):
    """Out of memory, or a fault of this library (codes -300 to -399)."""


_BY_CODE: dict[int, type[RoamqttError]] = {
    core.E_BLOCKED: Blocked,
    core.E_CLOSED: Closed,
    core.E_REFUSED: Refused,
    core.E_CERTIFICATE: CertificateError,
    core.E_TIMEOUT: Timeout,
    core.E_PATH: PathError,
    core.E_NO_SPACE: StoreError,
    core.E_READ_ONLY: StoreError,
    core.E_DAMAGED: StoreError,
    core.E_NEWER: StoreError,
    core.E_IN_USE: StoreError,
}


def make_error(code: int, name: str | None = None, text: str | None = None, reason: int = -1) -> RoamqttError:
    """The exception for an error code, with the library's own text unless a better one is given."""
    kind = _BY_CODE.get(code)
    if kind is None:
        kind = UsageError if code > -100 else ProtocolError if code > -200 else NetworkError if code > -300 else InternalError
    return kind(code, name or core.error_name(code), text or core.strerror(code), reason)


core.set_error_factory(make_error)
