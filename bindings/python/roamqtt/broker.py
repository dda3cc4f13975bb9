"""An embedded broker on the core's own thread, and a NAT that rebinds on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from . import core
from ._io import Driver, Inbox, Waiters
from .errors import RoamqttError, make_error
from .types import PeerConnected, PeerDisconnected, PeerMoved, PeerRefused, Rebound, Reset, StoreFailed, StoreRecovered

_NS = 1_000_000_000
_NAMES = "localhost,127.0.0.1,::1"
_SYNCS = {"always": core.STORE_SYNC_ALWAYS, "interval": core.STORE_SYNC_INTERVAL, "off": core.STORE_SYNC_OFF}


def _with_port(address: str, port: int) -> str:
    """ "127.0.0.1" -> "127.0.0.1:port"; an address that has a port stays."""
    if address.startswith("[") or address.count(":") == 1:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _host(address: str) -> str:
    return address[1 : address.index("]")] if address.startswith("[") else address.rsplit(":", 1)[0]


class _Served:
    """What a broker and a NAT share: a driver, event streams, `async with`."""

    def __init__(self) -> None:
        self._driver: Driver | None = None
        self._waiters = Waiters()
        self._watchers: list[Inbox] = []

    def _running(self) -> Driver:
        if self._driver is None or not self._driver.alive:
            raise make_error(core.E_CLOSED, text=f"the {type(self).__name__} is not running: use `async with` or start()")
        return self._driver

    async def events(self) -> AsyncIterator[Any]:
        """What happens from now on, as the small classes of roamqtt.types. Ends with close()."""
        inbox = Inbox(4096)
        self._watchers.append(inbox)
        try:
            while await inbox.wait():
                yield inbox.items.popleft()
        finally:
            self._watchers.remove(inbox)

    def _tell(self, event: Any) -> None:
        for inbox in self._watchers:
            if len(inbox.items) < inbox.limit:
                inbox.put(event)

    def _shut(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._waiters.fail_all(make_error(core.E_CLOSED))
        for inbox in self._watchers:
            inbox.close()


class Broker(_Served):
    """A broker with QUIC and TCP listeners. Without a certificate it makes a throw-away CA: give ``broker.ca`` to clients as ``cadata``.
    ``limits``: receive_maximum, topic_alias_maximum, maximum_packet_size, server_keep_alive, maximum_qos, retain_available,
    queue_messages_max and the others of docs/guide/limits.md, by the same names.

    ``store``: a file in which sessions, messages and wills outlive the process; ``store_sync``: "always" (each commit is forced onto
    the disk), "interval" (once a second) or "off".

    >>> async with roamqtt.Broker() as broker:
    ...     async with roamqtt.Client(broker.url, cadata=broker.ca) as client: ...
    """

    def __init__(
        self,
        *,
        quic: str | None = "127.0.0.1:0",
        tcp: str | None = "127.0.0.1:0",
        ca: bytes | None = None,
        certificate: bytes | None = None,
        key: bytes | None = None,
        names: str = _NAMES,
        allow_anonymous: bool = False,
        store: str | None = None,
        store_sync: str = "always",
        **limits: Any,
    ) -> None:
        super().__init__()
        self._addresses = {core.TRANSPORT_QUIC: quic, core.TRANSPORT_TCP: tcp}
        if certificate is None or key is None:
            extra = {_host(a) for a in (quic, tcp) if a} - set(names.split(","))
            identity = core.make_identity("roamqtt", ",".join([names, *sorted(extra)]), 30)
            ca, certificate, key = identity[0], identity[2], identity[3]
        self.ca = ca or b""
        o = core.broker_options()
        o.tls.ca, o.tls.certificate, o.tls.key = self.ca, certificate, key
        o.tls.wall_unix_s = core.wall_unix_s()
        o.anonymous_beyond_loopback = allow_anonymous
        if store_sync not in _SYNCS:
            raise make_error(core.E_OPTION, text=f"store_sync: expected always, interval or off, got {store_sync!r}")
        self._store_path, self._store_sync = store, _SYNCS[store_sync]
        self._keep = (self.ca, certificate, key, *limits.values())
        for name, value in limits.items():
            if not hasattr(o, name):
                raise make_error(core.E_OPTION, text=f"{name}: no such option of a broker")
            setattr(o, name, value)
        wrong = core.broker_option_error(o)
        if wrong:
            raise make_error(core.E_OPTION, text=wrong)
        self._options = o
        self.addresses: dict[str, str] = {}

    async def start(self) -> None:
        """Binds the listeners; raises NetworkError when one cannot be bound."""
        if self._driver is not None:
            raise make_error(core.E_STATE, text="this broker was started already")
        self._driver = self._make_driver()
        self._driver.attach(self._on_event)
        try:
            for transport, address in self._addresses.items():
                if address is None:
                    continue
                with self._driver.locked() as now:
                    number = core.broker_listen(self._driver.machine, now, transport, _with_port(address, 0))
                self.addresses[core.transport_name(transport)] = await self._waiters.future(number)
        except BaseException:
            self._shut()
            raise

    async def close(self) -> None:
        """DISCONNECT to all, then ends."""
        driver = self._driver
        if driver is None or not driver.alive:
            return
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
        if self._store_path is None:
            return Driver(lambda now: core.make_broker(self._options, now), core.thread_add_broker, core.broker_free)
        store = core.make_store(self._store_path, self._store_sync)
        self._options.store = store

        def free(machine: Any) -> None:
            core.broker_free(machine)
            core.store_free(store)

        try:
            return Driver(lambda now: core.make_broker(self._options, now), core.thread_add_broker, free)
        except BaseException:
            core.store_free(store)
            raise

    async def __aenter__(self) -> "Broker":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """Where QUIC clients connect."""
        return f"mqtt-quic://{self.addresses['quic']}"

    @property
    def tcp_url(self) -> str:
        """Where TCP clients connect."""
        return f"mqtt://{self.addresses['tcp']}"

    def clients(self) -> list[dict[str, Any]]:
        """Who is there: client_id, connected, transport, address (the current one), connect_address, moves, connects, ..."""
        driver = self._running()
        with driver.locked():
            found: list[dict[str, Any]] = core.broker_clients(driver.machine)
            return found

    def client(self, client_id: str) -> dict[str, Any]:
        """The entry of one client; KeyError when it was never seen."""
        for entry in self.clients():
            if entry["client_id"] == client_id:
                return entry
        raise KeyError(client_id)

    def history(self, client_id: str) -> list[str]:
        """The addresses a client had, oldest first."""
        driver = self._running()
        with driver.locked():
            return [address for _at, address, _by in core.broker_history(driver.machine, client_id)]

    def kick(self, client_id: str, reason: int = 0x98) -> None:
        driver = self._running()
        with driver.locked() as now:
            core.broker_kick(driver.machine, now, client_id, reason)

    def _on_event(self, kind: int, body: tuple[Any, ...]) -> None:
        if kind == core.EV_LISTENING:
            self._waiters.resolve(body[10], body[3])
        elif kind == core.EV_LISTEN_FAILED:
            self._waiters.fail(body[10], make_error(body[0], text=body[2]))
        elif kind == core.EV_STORE_FAILED:
            self._tell(StoreFailed(make_error(body[0], text=body[2])))
        elif kind == core.EV_STORE_RECOVERED:
            self._tell(StoreRecovered())
        elif kind == core.EV_PEER_CONNECTED:
            self._tell(PeerConnected(body[9], body[4], core.transport_name(body[5])))
        elif kind == core.EV_PEER_DISCONNECTED:
            self._tell(PeerDisconnected(body[9], body[4], body[1]))
        elif kind == core.EV_PEER_MOVED:
            self._tell(PeerMoved(body[7], body[5], body[3]))
        elif kind == core.EV_PEER_REFUSED:
            error: RoamqttError | None = make_error(body[0], text=body[2], reason=body[1]) if body[0] < 0 else None
            self._tell(PeerRefused(body[4], error, body[1]))


class Nat(_Served):
    """A NAT in user space between clients and one server, without root: UDP and TCP, with delay, loss and rate.

    ``server``: "127.0.0.1:14567"; ``address``: the public address the server sees ("127.0.10.200"). Clients connect to ``nat.inside``.
    """

    def __init__(
        self,
        server: str,
        address: str = "127.0.10.200",
        *,
        inside: str = "127.0.0.1:0",
        delay: float = 0.0,
        jitter: float = 0.0,
        loss: float = 0.0,
        rate: int = 0,
        udp: bool = True,
        tcp: bool = True,
    ) -> None:
        super().__init__()
        o = core.relay_options()
        o.server, o.address, o.inside = server, address, _with_port(inside, 0)
        o.delay_ns, o.jitter_ns, o.loss_ppm = int(delay * _NS), int(jitter * _NS), int(loss * 1_000_000)
        o.rate_bytes_s, o.udp, o.tcp = rate, udp, tcp
        self._options = o

    async def start(self) -> None:
        if self._driver is not None:
            raise make_error(core.E_STATE, text="this Nat was started already")
        self._driver = Driver(lambda now: core.make_relay(self._options), core.thread_add_relay, core.relay_free)
        self._driver.attach(self._on_event)
        for _ in range(500):
            if not self.inside.endswith(":0"):
                return
            await asyncio.sleep(0.01)
        self._shut()
        raise make_error(core.E_ADDRESS_IN_USE, text=f"the NAT could not bind {self._options.inside}")

    async def close(self) -> None:
        self._shut()

    async def __aenter__(self) -> "Nat":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def inside(self) -> str:
        """Where clients connect: "127.0.0.1:40123"."""
        driver = self._running()
        with driver.locked():
            address = str(core.relay_inside(driver.machine))
        return address if address.count(":") else address + ":0"

    @property
    def address(self) -> str:
        """The public address now."""
        driver = self._running()
        with driver.locked():
            return str(core.relay_address(driver.machine))

    def rebind(self, address: str) -> None:
        """Forget all mappings and take another public address."""
        driver = self._running()
        with driver.locked() as now:
            core.relay_rebind(driver.machine, now, address)

    def set_delay(self, delay: float, jitter: float = 0.0) -> None:
        driver = self._running()
        with driver.locked():
            core.relay_set_delay(driver.machine, int(delay * _NS), int(jitter * _NS))

    def set_loss(self, loss: float) -> None:
        """0.01 is one datagram in a hundred. TCP bytes are not lost by a relay."""
        driver = self._running()
        with driver.locked():
            core.relay_set_loss(driver.machine, int(loss * 1_000_000))

    def set_rate(self, bytes_per_second: int) -> None:
        driver = self._running()
        with driver.locked():
            core.relay_set_rate(driver.machine, bytes_per_second)

    def set_down(self, down: bool) -> None:
        """True: nothing passes."""
        driver = self._running()
        with driver.locked():
            core.relay_set_down(driver.machine, down)

    def stats(self) -> dict[str, int]:
        driver = self._running()
        with driver.locked():
            s = core.relay_get_stats(driver.machine)
            return dict(
                udp_mappings=s.udp_mappings, tcp_mappings=s.tcp_mappings, rebinds=s.rebinds, resets=s.resets, hanging=s.hanging
            )

    def _on_event(self, kind: int, body: tuple[Any, ...]) -> None:
        if kind == core.EV_NAT_REBOUND:
            self._tell(Rebound(body[4], body[2]))
        elif kind == core.EV_NAT_RESET:
            self._tell(Reset(body[3]))
