"""What a broker and a NAT share: a driver, event streams, addresses."""

from __future__ import annotations

from typing import Generic, TypeVar

from . import core
from ._io import Driver, Events, Waiters, Watcher
from .errors import make_error

_Event = TypeVar("_Event")


def with_port(address: str, port: int) -> str:
    """ "127.0.0.1" -> "127.0.0.1:port"; an address that has a port stays."""
    if address.startswith("[") or address.count(":") == 1:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Served(Generic[_Event]):
    """What a broker and a NAT share: a driver, event streams, `async with`."""

    def __init__(self) -> None:
        self._driver: Driver | None = None
        self._waiters = Waiters()
        self._watchers: list[Watcher] = []

    def _running(self) -> Driver:
        if self._driver is None or not self._driver.alive:
            raise make_error(core.E_CLOSED, text=f"the {type(self).__name__} is not running: use `async with` or start()")
        return self._driver

    def events(self) -> Events[_Event]:
        """What happens from this call on, as the small classes of roamqtt.types. Ends with close(). At most 4096 wait for each reader;
        later ones are dropped and counted (``dropped``)."""
        return Events(self._watchers, Watcher(), self._driver is not None and not self._driver.alive)

    def _tell(self, event: _Event) -> None:
        for inbox in self._watchers:
            if len(inbox.items) < inbox.limit:
                inbox.put(event)
            else:
                inbox.dropped += 1

    def _shut(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._waiters.fail_all(make_error(core.E_CLOSED))
        for inbox in self._watchers:
            inbox.close()
