"""The core's own I/O thread and the one place that touches an event loop.

Each object (client, broker, NAT) runs on a thread of the core's, so that a busy interpreter never stops acknowledgements,
keep-alives or path validation. Its events wait in a bounded ring; an eventfd tells the loop; they are drained in batches."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Iterator, Protocol, TypeVar

from . import core
from .errors import make_error

BATCH = 512
_Event = TypeVar("_Event")
_alive: "weakref.WeakSet[Driver]" = weakref.WeakSet()


LEVELS = {
    "error": core.LOG_ERROR, "warning": core.LOG_WARNING, "notice": core.LOG_NOTICE, "info": core.LOG_INFO, "debug": core.LOG_DEBUG,
}  # fmt: skip
TRANSPORTS = {core.transport_name(number): number for number in range(1, 16) if core.transport_name(number) != "?"}


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


LogFile = _HasFileno | int | None


class Sinks:
    """Where the core's lines go: copies of the descriptors, which live as long as the object that writes to them. They are written on
    the core's thread, so a pipe that nobody reads holds it up."""

    def __init__(self, o: Any, log: LogFile, log_level: str, log_format: str, keylog: LogFile, qlog: str | Path | None) -> None:
        self._fds: list[int] = []
        if log_level not in LEVELS:
            raise make_error(core.E_OPTION, text=f"log_level: expected {' or '.join(LEVELS)}, got {log_level!r}")
        if log_format not in ("text", "json"):
            raise make_error(core.E_OPTION, text=f"log_format: expected text or json, got {log_format!r}")
        numbers = [self._copy(log), self._copy(keylog), self._folder(qlog)]
        set_sinks = core.client_sinks if isinstance(o, core.client_options) else core.broker_sinks
        set_sinks(o, numbers[0], LEVELS[log_level], log_format == "json", *numbers[1:])

    def _copy(self, file: LogFile) -> int:
        if file is None:
            return -1
        fd = os.dup(file if isinstance(file, int) else file.fileno())
        self._fds.append(fd)
        return fd

    def _folder(self, path: str | Path | None) -> int:
        if path is None:
            return -1
        os.makedirs(path, mode=0o700, exist_ok=True)
        self._fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        return self._fds[-1]

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    __del__ = close


def struct_dict(struct: Any) -> dict[str, Any]:
    """Every member of one of the core's structs, by its name; ``transport`` as a word."""
    found = {name: getattr(struct, name) for name, kind in vars(type(struct)).items() if isinstance(kind, property) and name != "thisown"}
    if "transport" in found:
        found["transport"] = core.transport_name(found["transport"])
    return found


def _stop(thread: Any, machine: Any, free: Callable[[Any], None]) -> None:
    core.thread_free(thread)
    free(machine)


class Driver:
    """One machine of the core on its own thread, its events handed to ``sink`` inside an asyncio loop."""

    def __init__(self, make: Callable[[int], Any], add: Callable[..., None], free: Callable[[Any], None]) -> None:
        thread = core.thread_new(core.thread_options())
        if thread is None:
            raise make_error(core.E_IO, text="the I/O thread could not be started")
        try:
            now = core.thread_lock(thread)
            try:
                machine = make(now)
            finally:
                core.thread_unlock(thread)
        except BaseException:
            core.thread_free(thread)
            raise
        self.thread = thread
        self.machine = machine
        self._finalizer = weakref.finalize(self, _stop, thread, machine, free)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sink: Callable[[int, Any], None] | None = None
        self._fd = core.thread_fd(thread)
        with self.locked():
            add(thread, machine, 0)
        _alive.add(self)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Every call on the machine stands inside; gives the core's now."""
        if not self._finalizer.alive:
            raise make_error(core.E_CLOSED)
        now = core.thread_lock(self.thread)
        try:
            yield now
        finally:
            core.thread_unlock(self.thread)

    @property
    def alive(self) -> bool:
        return self._finalizer.alive

    def attach(self, sink: Callable[[int, Any], None]) -> None:
        """Deliver events to sink(kind, body) in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._loop.add_reader(self._fd, self._readable)
        self._loop.call_soon(self._drain)

    def detach(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        self._loop = None
        self._sink = None

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            pass
        self._drain()

    def _drain(self) -> None:
        if self._sink is None or self._loop is None or not self._finalizer.alive:
            return
        events = core.thread_drain(self.thread, BATCH)
        # One more turn before the rest, so that other tasks live; it also covers an event that came after the last take.
        if events:
            self._loop.call_soon(self._drain)
        for _tag, kind, body in events:
            if self._sink is None:
                break
            try:
                self._sink(kind, body)
            except Exception as error:  # such as a state file that cannot be written: the events behind it are still due
                message = f"roamqtt: {core.event_name(kind)} could not be dealt with"
                self._loop.call_exception_handler({"message": message, "exception": error})

    def close(self) -> None:
        """Joins the thread and frees the machine. Safe to call twice."""
        self.detach()
        self._finalizer()

    def forget(self) -> None:
        """After fork: the thread does not exist in this process."""
        self._finalizer.detach()
        self._sink = None


def _after_fork_in_child() -> None:
    for driver in list(_alive):
        driver.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Waiters:
    """Futures by key, resolved or failed from the sink."""

    def __init__(self) -> None:
        self._futures: dict[Any, asyncio.Future[Any]] = {}

    def future(self, key: Any) -> "asyncio.Future[Any]":
        future = asyncio.get_running_loop().create_future()
        self._futures[key] = future
        future.add_done_callback(lambda _: self._futures.pop(key, None))
        return future

    def waiting(self, key: Any) -> bool:
        return key in self._futures

    def resolve(self, key: Any, value: Any) -> None:
        future = self._futures.get(key)
        if future is not None and not future.done():
            future.set_result(value)

    def fail(self, key: Any, error: BaseException) -> None:
        future = self._futures.get(key)
        if future is not None and not future.done():
            future.set_exception(error)

    def fail_all(self, error: BaseException) -> None:
        for key in list(self._futures):
            self.fail(key, error)


class Inbox:
    """A bounded deque with one kind of waiter: what arrived and was not looked at yet. Ends when closed."""

    def __init__(self, limit: int) -> None:
        self.items: deque[Any] = deque()
        self.limit = limit
        self.dropped = 0
        self.error: BaseException | None = None
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        self.items.append(item)
        self._wake()

    def close(self, error: BaseException | None = None) -> None:
        self.closed = True
        self.error = self.error or error
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> bool:
        """True when something is there; False at the end. Raises what the inbox was closed with."""
        while not self.items:
            if self.error is not None:
                raise self.error
            if self.closed:
                return False
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        return True


class Watcher(Inbox):
    """What one reader of events() has not looked at yet. ``published``: it wants the results of publish_nowait, too."""

    def __init__(self, published: bool = False) -> None:
        super().__init__(4096)
        self.published = published


class Events(Generic[_Event]):
    """``async for event in x.events()``: everything from the call on, until the end of x or ``aclose()``, or until nobody holds it."""

    def __init__(self, watchers: "list[Watcher]", watcher: Watcher, over: bool) -> None:
        self._watchers = watchers
        self._watcher = watcher
        watchers.append(watcher)
        if over:
            watcher.close()

    def __aiter__(self) -> "Events[_Event]":
        return self

    async def __anext__(self) -> _Event:
        if not await self._watcher.wait():
            raise StopAsyncIteration
        event: _Event = self._watcher.items.popleft()
        return event

    @property
    def dropped(self) -> int:
        """Events dropped because nobody took them in time: at most 4096 wait."""
        return self._watcher.dropped

    async def aclose(self) -> None:
        """No more events are kept for this reader."""
        self._leave()
        self._watcher.close()

    def _leave(self) -> None:
        if self._watcher in self._watchers:
            self._watchers.remove(self._watcher)

    __del__ = _leave
