"""Certificates for tests and first steps, made by the core: a throw-away CA, and what it signs."""

from __future__ import annotations

from dataclasses import dataclass

from . import core


@dataclass(slots=True, frozen=True)
class Identity:
    """A certificate authority and one certificate made by it, PEM. Keys are as secret as passwords."""

    ca_certificate: bytes
    ca_key: bytes
    certificate: bytes
    key: bytes


def identity_make(common_name: str, names: str = "localhost,127.0.0.1,::1", *, days: int = 30, client: bool = False) -> Identity:
    """A throw-away CA and a certificate by it, for tests and first steps. ``names``: DNS names and IP addresses, by commas;
    ``client``: for a client. Raises UsageError for an unusable name, NetworkError (ROAM_E_TLS) when GnuTLS would not."""
    return Identity(*core.make_identity(common_name, names, days, client, None, None))


def identity_issue(
    ca_certificate: bytes, ca_key: bytes, common_name: str, names: str = "localhost", *, days: int = 30, client: bool = False
) -> Identity:
    """Another certificate by a CA that exists, such as a client's (``client=True``). Raises as identity_make does."""
    return Identity(*core.make_identity(common_name, names, days, client, ca_certificate, ca_key))
