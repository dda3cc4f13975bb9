"""An embedded broker on the core's own thread."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from . import core
from ._io import TRANSPORTS, Driver, LogFile, Sinks, struct_dict
from ._served import Served, with_port
from .errors import RoamqttError, make_error
from .identity import identity_make
from .options import BROKER, RECONFIGURABLE, BrokerOptions, fill
from .types import BROKER_EVENTS, Admission, AuthRequest, BrokerEvent, Drained, make_event

_SYNCS = {"always": core.STORE_SYNC_ALWAYS, "interval": core.STORE_SYNC_INTERVAL, "off": core.STORE_SYNC_OFF}
_UNSPECIFIED = 0x80
_NOT_AUTHORIZED = 0x87

Addresses = str | Sequence[str] | None
Verdict = bool | Admission
Decide = Callable[[AuthRequest], "Verdict | Awaitable[Verdict]"]


def _host(address: str) -> str:
    return address[1 : address.index("]")] if address.startswith("[") else address.rsplit(":", 1)[0]


def _each(addresses: Addresses) -> list[str]:
    return [addresses] if isinstance(addresses, str) else list(addresses or ())


def _check_access(data: bytes, acl: bool, what: str) -> None:
    wrong = core.access_error(data, acl)
    if wrong:
        raise make_error(core.E_OPTION, text=f"{what}, {wrong}")


@dataclass(slots=True, frozen=True)
class AddressChange:
    """A client came from that address (``by_connect``) or moved there, at that time of the core's clock (ns)."""

    at: int
    address: str
    by_connect: bool


@dataclass(slots=True, frozen=True)
class Listener:
    """A bound listener: its number, "quic", "tls", ..., its true address ("-": it has none), and its name (a path or "fd:3")."""

    listener: int
    transport: str
    local: str
    name: str | None = None


class Broker(Served[BrokerEvent]):
    """A broker. Options are keywords under their C names (:class:`roamqtt.BrokerOptions`; what each means, its unit and its default:
    ``roamqtt/broker.h``, what happens at each limit: docs/guide/limits.md). Beside them the package has its own:

    - ``quic``, ``tcp``, ``tls``, ``ws``, ``wss``: an address to listen on, or several; port 0 takes a free one. ``unix``: paths of Unix
      sockets (MQTT as on TCP). More at any time: ``listen`` and ``listen_name``.
    - ``cafile``, ``certfile``, ``keyfile``, ``password_file`` (by ``roamqtt passwd`` or mosquitto_passwd), ``acl_file`` (mosquitto's syntax):
      files, which ``reload`` reads again. Without a certificate the broker makes a throw-away CA, for ``names``: give ``broker.ca`` to
      clients as ``ca``.
    - ``store``: a file in which sessions, messages and wills outlive the process; ``store_sync``: "always" (each commit is forced onto
      the disk), "interval" (once a second) or "off".
    - ``decide``: who may come in, of all whom passwords do not name. True: each asks by an AuthRequest event, which ``admit`` answers,
      now or later. A function (or coroutine function) of an AuthRequest does that by itself: it returns True, False or an Admission.
      One that raises lets nobody in.
    - ``log``, ``log_level``, ``log_format``, ``keylog``, ``qlog``: as for a client.

    Raises UsageError that names the option and the remedy, CertificateError that says which PEM is bad, OSError for a file that cannot
    be read.

    >>> async with roamqtt.Broker() as broker:
    ...     async with roamqtt.Client(broker.url, ca=broker.ca) as client: ...
    """

    def __init__(
        self,
        *,
        quic: Addresses = "127.0.0.1:0",
        tcp: Addresses = "127.0.0.1:0",
        tls: Addresses = None,
        ws: Addresses = None,
        wss: Addresses = None,
        unix: Addresses = None,
        names: str = "localhost,127.0.0.1,::1",
        cafile: str | Path | None = None,
        certfile: str | Path | None = None,
        keyfile: str | Path | None = None,
        password_file: str | Path | None = None,
        acl_file: str | Path | None = None,
        store: str | Path | None = None,
        store_sync: str = "always",
        decide: bool | Decide = False,
        log: LogFile = None,
        log_level: str = "notice",
        log_format: str = "text",
        keylog: LogFile = None,
        qlog: str | Path | None = None,
        **options: Unpack[BrokerOptions],
    ) -> None:
        super().__init__()
        self._wanted = {name: _each(which) for name, which in (("quic", quic), ("tcp", tcp), ("tls", tls), ("ws", ws), ("wss", wss))}
        self._paths = _each(unix)
        self._files = {"ca": cafile, "certificate": certfile, "key": keyfile, "passwords": password_file, "acl": acl_file}
        given: dict[str, Any] = {**options, **self._read_files()}
        if given.get("certificate") is None and given.get("key") is None:
            hosts = {_host(with_port(a, 0)) for which in self._wanted.values() for a in which} - set(names.split(","))
            made = identity_make("roamqtt", ",".join([names, *sorted(hosts)]))
            given.update(ca=made.ca_certificate, certificate=made.certificate, key=made.key)
        ca = given.get("ca") or b""
        self.ca: bytes = ca.encode() if isinstance(ca, str) else ca
        if store_sync not in _SYNCS:
            raise make_error(core.E_OPTION, text=f"store_sync: expected always, interval or off, got {store_sync!r}")
        self._store_path, self._store_sync = store, _SYNCS[store_sync]
        self._decide = decide if callable(decide) else None
        self._deciding: set[asyncio.Task[None]] = set()
        o = core.broker_options()
        o.decide = bool(decide)
        o.tls.wall_unix_s = core.wall_unix_s()
        self._keep = fill(o, given, BROKER, "broker")
        self._sinks = Sinks(o, log, log_level, log_format, keylog, qlog)
        wrong = core.broker_option_error(o)
        if wrong:
            raise make_error(core.E_OPTION, text=wrong)
        wrong = core.tls_config_error(o.tls)
        if wrong:
            raise make_error(core.E_CERTIFICATE, text=wrong)
        self._options = o
        self.listeners: list[Listener] = []

    # -- life ---------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the store and binds the listeners. Raises StoreError, or NetworkError when an address cannot be bound."""
        if self._driver is not None:
            raise make_error(core.E_STATE, text="this broker was started already")
        self._options.tls.wall_unix_s = core.wall_unix_s()
        self._driver = self._make_driver()
        self._driver.attach(self._on_event)
        try:
            for transport, addresses in self._wanted.items():
                for address in addresses:
                    await self.listen(transport, address)
            for path in self._paths:
                await self.listen_name("tcp", path)
        except BaseException:
            self._shut()
            raise

    async def close(self) -> None:
        """DISCONNECT 0x8B to all, flushes (at most 3 s), and ends. Safe to call twice."""
        driver = self._driver
        if driver is None or not driver.alive:
            return
        for task in self._deciding:
            task.cancel()
        with driver.locked() as now:
            core.broker_stop(driver.machine, now)
        for _ in range(300):
            with driver.locked():
                stats = core.broker_get_stats(driver.machine)
                if stats.connections == 0 and stats.store_pending_bytes == 0:
                    break
            await asyncio.sleep(0.01)
        self._shut()

    def _make_driver(self) -> Driver:
        sinks = self._sinks
        store = None if self._store_path is None else core.make_store(os.fspath(self._store_path), self._store_sync)
        if store is not None:
            self._options.store = store

        def free(machine: Any) -> None:
            core.broker_free(machine)
            if store is not None:
                core.store_free(store)
            sinks.close()

        try:
            return Driver(lambda now: core.make_broker(self._options, now), core.thread_add_broker, free)
        except BaseException:
            if store is not None:
                core.store_free(store)
            raise

    async def __aenter__(self) -> "Broker":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # -- listeners ----------------------------------------------------------------------------------------------------------

    async def listen(self, transport: str, local: str) -> Listener:
        """One more listener: "quic", "tcp", "tls", "ws" or "wss" on an address; without a port, or with 0, on a free one. Returns it with
        its true address. Raises NetworkError: cannot be bound, or ROAM_E_PERMISSION, beyond loopback while everybody may come in
        (``passwords``, ``decide`` or ``subject_as_user_name``, or say ``anonymous_beyond_loopback=True``)."""
        driver = self._running()
        with driver.locked() as now:
            number = core.broker_listen(driver.machine, now, self._number_of(transport), with_port(local, 0))
        return await self._bound(number, transport, None)

    async def listen_name(self, transport: str, name: str, local: str | None = None) -> Listener:
        """A listener that is no IP address: ``name`` is the path of a Unix socket (a stale file there is replaced; whoever may open it
        counts as local), or "fd:3", a socket already listening that the process was given (systemd), whose address ``local`` is.
        Raises as listen does; QUIC has no such listeners (ROAM_E_UNSUPPORTED)."""
        driver = self._running()
        with driver.locked() as now:
            number = core.broker_listen_name(driver.machine, now, self._number_of(transport), name, local)
        return await self._bound(number, transport, name)

    async def _bound(self, number: int, transport: str, name: str | None) -> Listener:
        event = await self._waiters.future(number)
        listener = Listener(number, transport, event.local, name)
        self.listeners.append(listener)
        return listener

    @staticmethod
    def _number_of(transport: str) -> int:
        if transport not in TRANSPORTS:
            raise make_error(core.E_ARGUMENT, text=f"listen: expected {' or '.join(TRANSPORTS)}, got {transport!r}")
        return TRANSPORTS[transport]

    @property
    def addresses(self) -> dict[str, str]:
        """The address of the first listener of each transport: ``{"quic": "127.0.0.1:40123", ...}``. All are in ``listeners``."""
        return {each.transport: each.local for each in reversed(self.listeners) if each.name is None}

    @property
    def url(self) -> str:
        """Where QUIC clients connect."""
        return f"mqtt-quic://{self.addresses['quic']}"

    @property
    def tcp_url(self) -> str:
        """Where TCP clients connect."""
        return f"mqtt://{self.addresses['tcp']}"

    @property
    def tls_url(self) -> str:
        """Where clients connect by TLS over TCP."""
        return f"mqtts://{self.addresses['tls']}"

    @property
    def ws_url(self) -> str:
        """Where WebSocket clients connect."""
        return f"ws://{self.addresses['ws']}{self._options.ws_path or '/mqtt'}"

    @property
    def wss_url(self) -> str:
        """Where clients connect by WebSocket over TLS."""
        return f"wss://{self.addresses['wss']}{self._options.ws_path or '/mqtt'}"

    # -- what can change while it runs ------------------------------------------------------------------------------------------

    def _read_files(self) -> dict[str, bytes]:
        found = {name: Path(path).read_bytes() for name, path in self._files.items() if path is not None}
        for name in ("passwords", "acl"):
            if name in found:
                _check_access(found[name], name == "acl", str(self._files[name]))
        return found

    def reload(self) -> None:
        """Reads the files of certificate, key, CA, passwords and access list again. Raises OSError, CertificateError or UsageError for
        one that cannot be read or is wrong; then nothing has changed."""
        found = self._read_files()
        if "certificate" in found or "key" in found:  # first, for only that can still be refused
            self.set_certificate(found.get("certificate"), found.get("key"), found.get("ca"))
        if "passwords" in found:
            self.set_passwords(found["passwords"])
        if "acl" in found:
            self.set_acl(found["acl"])

    def set_certificate(
        self,
        certificate: bytes | str | None,
        key: bytes | str | None,
        ca: bytes | str | None = None,
        more: bytes | str | None = None,
    ) -> None:
        """Other certificate, key, CA and ``more`` (PEM; None: as before) for new connections; those that are there keep theirs. Raises
        CertificateError that says which PEM is bad; the old ones stay then."""
        driver = self._running()
        tls, old = core.tls_config(), self._options.tls
        parts = [
            value.encode() if isinstance(value, str) else value if value is not None else before
            for value, before in ((ca, old.ca), (certificate, old.certificate), (key, old.key), (more, old.more))
        ]
        tls.ca, tls.certificate, tls.key, tls.more = parts
        tls.require_client_certificate, tls.request_client_certificate = old.require_client_certificate, old.request_client_certificate
        tls.wall_unix_s = core.wall_unix_s()
        with driver.locked():
            core.broker_set_certificate(driver.machine, tls)
        self._keep += parts
        old.ca, old.certificate, old.key, old.more = parts
        self.ca = parts[0]

    def set_passwords(self, passwords: bytes | str) -> None:
        """Replaces the passwords (a password file's contents): clients whose user is gone or has another hash are disconnected with
        0x87. UsageError: a wrong line, and nothing has changed; or the broker was made without passwords."""
        data = passwords.encode() if isinstance(passwords, str) else passwords
        _check_access(data, False, "passwords")
        driver = self._running()
        with driver.locked() as now:
            core.broker_set_passwords(driver.machine, now, data)

    def set_acl(self, acl: bytes | str) -> None:
        """Replaces the access list: it counts for every publish, delivery and SUBSCRIBE from now on. UsageError: a wrong line, and
        nothing has changed."""
        data = acl.encode() if isinstance(acl, str) else acl
        _check_access(data, True, "acl")
        driver = self._running()
        with driver.locked() as now:
            core.broker_set_acl(driver.machine, now, data)

    def reconfigure(self, **options: Unpack[BrokerOptions]) -> None:
        """Other values for what can change while it runs (``options.RECONFIGURABLE``), for what begins from now on. Raises UsageError that
        names the option and the remedy; nothing has changed then."""
        driver = self._running()
        o = self._options
        for name in options:
            if name in BROKER and name not in RECONFIGURABLE:
                raise make_error(core.E_OPTION, text=f"{name}: cannot change while the broker runs; {', '.join(sorted(RECONFIGURABLE))} can")
        before = {name: getattr(o, name) for name in options if name in RECONFIGURABLE}
        try:
            fill(o, options, BROKER, "broker")
            wrong = core.broker_option_error(o)
            if wrong:
                raise make_error(core.E_OPTION, text=wrong)
            with driver.locked():
                core.broker_reconfigure(driver.machine, o)
        except BaseException:
            for name, value in before.items():
                setattr(o, name, value)
            raise

    # -- clients ------------------------------------------------------------------------------------------------------------

    def admit(
        self, peer: int, reason: int = 0, *, data: bytes = b"", user_name: str | None = None, text: str | None = None
    ) -> None:
        """Answers an AuthRequest of that number, now or later. ``reason`` 0: come in, as ``user_name`` (None: as CONNECT says), ``data``
        goes out in CONNACK where there is a method; 0x18: another round, ``data`` goes out in AUTH; from 0x80 on: refused, ``text`` (at
        most 255 bytes) tells the client why. UsageError: nobody with that number waits any more (ROAM_E_NOT_FOUND: forget it), or a
        reason or text that cannot be (ROAM_E_ARGUMENT)."""
        driver = self._running()
        with driver.locked() as now:
            core.broker_admit(driver.machine, now, peer, reason, data, user_name, text)

    def publish(self, topic: str, payload: bytes | str = b"", *, qos: int = 0, retain: bool = False) -> None:
        """Publishes from within, as a client would. UsageError: topic or QoS."""
        driver = self._running()
        data = payload.encode() if isinstance(payload, str) else payload
        with driver.locked() as now:
            core.broker_publish(driver.machine, now, topic.encode(), data, qos, retain)

    def assign(self, client_id: str, topic_filter: str, *, qos: int = 1) -> None:
        """MQTT-next: subscribes a session to a filter on a flow of the broker's own, which it opens as soon as the client is there and
        speaks flows; the messages wait until then. It lasts as long as the session. UsageError: no session of that name
        (ROAM_E_NOT_FOUND), no such filter, or a bound (ROAM_E_LIMIT)."""
        driver = self._running()
        with driver.locked() as now:
            core.broker_assign(driver.machine, now, client_id, topic_filter, qos)

    def withdraw(self, client_id: str, topic_filter: str) -> None:
        """Takes an assigned filter back: the flow ends when what it has has been said. UsageError (ROAM_E_NOT_FOUND)."""
        driver = self._running()
        with driver.locked() as now:
            core.broker_withdraw(driver.machine, now, client_id, topic_filter)

    def kick(self, client_id: str, reason: int = 0x98) -> None:
        """Disconnects a client. UsageError (ROAM_E_NOT_FOUND): there is none of that name."""
        driver = self._running()
        with driver.locked() as now:
            core.broker_kick(driver.machine, now, client_id, reason)

    async def send_away(self, server_reference: str, *, reason: int = 0x9C, spread_ns: int = 0) -> int:
        """Sends everybody to another server ("host[:port]"), evenly spread over that time, by DISCONNECT with ``reason`` 0x9C (use
        another server) or 0x9D (server moved); who connects meanwhile is told the same. Returns how many were asked, when nobody is
        left (a Drained event tells the same). UsageError: another reason, no reference, or one is under way."""
        driver = self._running()
        if self._waiters.waiting("drained"):
            raise make_error(core.E_STATE, text="send_away: the one before is still under way")
        drained = self._waiters.future("drained")
        try:
            with driver.locked() as now:
                core.broker_send_away(driver.machine, now, reason, server_reference, spread_ns)
            event: Drained = await drained
            return event.count
        finally:
            drained.cancel()

    def clients(self) -> list[dict[str, Any]]:
        """Who is there, and whose session is: all of roam_peer_info under its names, such as client_id, connected, transport,
        ip_address (the current one), connect_address, moves, connects, queued, rtt_ns."""
        driver = self._running()
        found: list[dict[str, Any]] = core.broker_clients(driver.thread, driver.machine)
        return found

    def client(self, client_id: str) -> dict[str, Any]:
        """The entry of one client; KeyError when it was never seen."""
        for entry in self.clients():
            if entry["client_id"] == client_id:
                return entry
        raise KeyError(client_id)

    def history(self, client_id: str) -> list[AddressChange]:
        """The addresses a client had, oldest first, at most ``address_history_max``."""
        driver = self._running()
        with driver.locked():
            return [AddressChange(*change) for change in core.broker_history(driver.machine, client_id)]

    def stats(self) -> dict[str, Any]:
        """All of roam_broker_stats under its names: connections, sessions, moves, messages_in, auth_failures, ..."""
        driver = self._running()
        with driver.locked():
            return struct_dict(core.broker_get_stats(driver.machine))

    def snapshot(self) -> dict[str, Any]:
        """Everything at once: ``stats``, ``listeners``, and ``clients``, each with its ``history``."""
        clients = [{**entry, "history": self.history(entry["client_id"])} for entry in self.clients()]
        return {"stats": self.stats(), "listeners": list(self.listeners), "clients": clients}

    # -- the sink -----------------------------------------------------------------------------------------------------------

    def _on_event(self, kind: int, body: Any) -> None:
        if kind not in BROKER_EVENTS:
            return
        event: BrokerEvent = make_event(BROKER_EVENTS[kind], body)
        if kind == core.EV_LISTENING:
            if self._waiters.waiting(body["token"]):
                self._waiters.resolve(body["token"], event)
            else:  # listen was cancelled, too late
                self.listeners.append(Listener(body["token"], body["transport"], body["local"]))
        elif kind == core.EV_LISTEN_FAILED:
            self._waiters.fail(body["token"], event.error)  # type: ignore[union-attr, arg-type]
        elif kind == core.EV_DRAINED:
            self._waiters.resolve("drained", event)
        elif isinstance(event, AuthRequest):
            event._broker = self
            if self._decide is not None:
                self._ask(event)
                return
        self._tell(event)

    def _ask(self, request: AuthRequest) -> None:
        """The decide function's verdict, at once or when it has one. What waits is bounded by auth_waiting_max."""
        assert self._decide is not None
        try:
            answer = self._decide(request)
        except Exception as error:
            self._blame(error, request)
            return
        if not inspect.isawaitable(answer):
            self._settle(request, answer)
            return
        task = asyncio.ensure_future(self._settle_later(request, answer))
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)

    async def _settle_later(self, request: AuthRequest, answer: "Awaitable[Verdict]") -> None:
        try:
            verdict = await answer
        except Exception as error:
            self._blame(error, request)
        else:
            self._settle(request, verdict)

    def _settle(self, request: AuthRequest, verdict: Verdict) -> None:
        if not isinstance(verdict, Admission):
            verdict = Admission(reason=0 if verdict is True else _NOT_AUTHORIZED)
        try:
            request.admit(verdict.reason, data=verdict.data, user_name=verdict.user_name, text=verdict.text)
        except RoamqttError as error:
            if error.code not in (core.E_NOT_FOUND, core.E_CLOSED):  # it has gone meanwhile, or the broker has
                self._blame(error, request)

    def _blame(self, error: Exception, request: AuthRequest) -> None:
        """A function that failed lets nobody in; the loop's handler is told."""
        try:
            request.admit(_UNSPECIFIED)
        except RoamqttError:
            pass  # not there any more
        context = {"message": "roamqtt.Broker: decide failed; the client was refused", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
