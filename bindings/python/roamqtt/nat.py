"""A NAT that rebinds on command, on the core's own thread."""

from __future__ import annotations

import asyncio
from typing import Any, Unpack

from . import core
from ._io import Driver, struct_dict
from ._served import Served, with_port
from .errors import make_error
from .options import NAT, NatOptions, fill
from .types import NAT_EVENTS, NatEvent, make_event


class Nat(Served[NatEvent]):
    """A NAT in user space between clients and one server, without root: UDP and TCP, with delay, loss and rate.

    ``server``: "127.0.0.1:14567"; ``address``: the public address the server sees ("127.0.10.200"); clients connect to ``nat.inside``. Other
    options are keywords under their C names (:class:`roamqtt.NatOptions`; roam_relay_options in ``roamqtt/hop.h``). Raises UsageError that
    names the option.
    """

    def __init__(
        self, server: str, address: str = "127.0.10.200", *, inside: str = "127.0.0.1:0", **options: Unpack[NatOptions]
    ) -> None:
        super().__init__()
        o = core.relay_options()
        o.server, o.address, o.inside = server, address, with_port(inside, 0)
        fill(o, options, NAT, "NAT")
        self._options = o

    async def start(self) -> None:
        """Binds both sides; raises NetworkError when an address cannot be bound."""
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
        """Ends at once: what was on its way is lost. Safe to call twice."""
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

    def set_delay(self, delay_ns: int, jitter_ns: int = 0) -> None:
        """One way; jitter is added on top, up to so much."""
        driver = self._running()
        with driver.locked():
            core.relay_set_delay(driver.machine, delay_ns, jitter_ns)

    def set_loss(self, loss_ppm: int) -> None:
        """10_000 is one datagram in a hundred. TCP bytes are not lost by a relay."""
        driver = self._running()
        with driver.locked():
            core.relay_set_loss(driver.machine, loss_ppm)

    def set_rate(self, rate_bytes_s: int) -> None:
        """Each way; 0: no limit."""
        driver = self._running()
        with driver.locked():
            core.relay_set_rate(driver.machine, rate_bytes_s)

    def set_down(self, down: bool) -> None:
        """True: nothing passes."""
        driver = self._running()
        with driver.locked():
            core.relay_set_down(driver.machine, down)

    def stats(self) -> dict[str, Any]:
        """All of roam_relay_stats under its names: udp_mappings, rebinds, resets, ...; datagrams, bytes and lost are (out, in)."""
        driver = self._running()
        with driver.locked():
            return struct_dict(core.relay_get_stats(driver.machine))

    def _on_event(self, kind: int, body: Any) -> None:
        if kind in NAT_EVENTS:
            self._tell(make_event(NAT_EVENTS[kind], body))
