"""The asyncio client. One object lives through disconnects, reconnects and migrations."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any, Unpack

from . import core
from ._io import Driver, Events, Inbox, LogFile, Sinks, Waiters, Watcher, struct_dict
from .errors import Blocked, RoamqttError, make_error
from .options import CLIENT, ClientOptions, fill
from .types import (
    CLIENT_EVENTS,
    Connected,
    Event,
    Message,
    PathMigrated,
    Published,
    encode_properties,
    make_event,
    reason_text,
)

_FAILED = 0x80
_STATES = {getattr(core, f"CLIENT_{word.upper()}"): word for word in ("new", "connecting", "connected", "waiting", "closing", "closed")}
LANE_CONTROL: int = core.LANE_CONTROL
"""The control stream by name, for ``lane=``."""


def _write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, for our eyes only."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


class Subscription:
    """What ``client.subscribe(...)`` gives. Await it for the plain subscription, or use it as ``async with`` for a stream of its
    own messages: ``async with client.subscribe("a/#") as sub: async for message in sub: ...``."""

    def __init__(self, client: "Client", topic_filter: str, how: dict[str, Any]) -> None:
        self._client = client
        self.filter = topic_filter
        self._how = how
        self._bytes = topic_filter.encode()
        # "$share/group/filter" receives what "filter" matches.
        self._match = self._bytes.split(b"/", 2)[2] if self._bytes.startswith(b"$share/") else self._bytes
        self._inbox = Inbox(client._inbox_max)
        self._current: list[Message] = []
        self.granted: int | None = None
        self._open = False

    def __await__(self) -> Generator[Any, None, "Subscription"]:
        return self._subscribe().__await__()

    async def _subscribe(self) -> "Subscription":
        self.granted = await self._client._subscribe(self._bytes, self._how)
        return self

    async def __aenter__(self) -> "Subscription":
        self._client._streams.append(self)
        self._open = True
        try:
            await self._subscribe()
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._settle()
        self._leave()
        if self._client.connected:
            try:
                await asyncio.wait_for(self._client.unsubscribe(self.filter), 5)
            except (RoamqttError, asyncio.TimeoutError):
                pass  # leaving must not depend on a server that does not answer

    def _leave(self) -> None:
        if self._open:
            self._open = False
            self._client._streams.remove(self)
            self._inbox.close()

    def _settle(self) -> None:
        """The messages handed out last are done with."""
        self._client._settle(self._current)

    @property
    def dropped(self) -> int:
        """QoS 0 messages dropped because nobody took them in time."""
        return self._inbox.dropped

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message:
        self._settle()
        if not self._inbox.items and not await self._inbox.wait():
            raise StopAsyncIteration
        message: Message = self._inbox.items.popleft()
        self._current.append(message)
        return message

    async def batch(self, max: int = 512, timeout: float | None = None) -> list[Message]:
        """At least one and at most max messages, or [] after timeout seconds. The last batch is acknowledged by the next call."""
        self._settle()
        if not self._inbox.items:
            try:
                if not await asyncio.wait_for(self._inbox.wait(), timeout):
                    return []
            except asyncio.TimeoutError:
                return []
        take = self._inbox.items.popleft
        found = [take() for _ in range(min(max, len(self._inbox.items)))]
        self._current.extend(found)
        return found


class Client:
    """A client of one server, which lives through disconnects, reconnects and migrations until ``close()`` or a refusal that would only
    be repeated.

    ``url``: ``mqtt-quic://host[:14567]``, ``mqtts://host[:8883]``, ``mqtt://host[:1883]``, ``wss://host[:443][/path]``,
    ``ws://host[:80][/path]``. All other options are keywords under their C names (:class:`roamqtt.ClientOptions`; what each means, its unit
    and its default: ``roamqtt/client.h``). Beside them the package has its own:

    - ``cafile``, ``certfile``, ``keyfile``: files to read ``ca``, ``certificate`` and ``key`` from. A server's certificate is verified
      against ``ca`` or, without it, the system's; ``insecure=True`` turns that off by name.
    - ``state_file``: QUIC's tickets are kept there between runs (mode 0600), so that the next run's CONNECT leaves in its first
      flight. Whoever has the file can resume our connections.
    - ``user_properties`` of CONNECT; ``will_properties``, those of :func:`roamqtt.encode_properties`.
    - ``inbox_max``: messages that may wait in each stream; beyond it QoS 0 drops the oldest, counted.
    - ``log``, ``log_level``: lines about the client are written to that file (an object with ``fileno()``, or a number), by the core's own
      thread; ``log_format="json"``: as JSON objects with the fields that docs/guide/logs.md lists. ``keylog``: likewise QUIC's secrets, for tshark; whoever has them can read everything. ``qlog``: a folder, made when it is
      not there, for a qlog of each QUIC connection, for qvis.

    Raises UsageError that names the option and the remedy, CertificateError that says which PEM is bad, OSError for a file that cannot
    be read. Its methods are for the thread of the event loop that connect() was awaited in.

    >>> async with roamqtt.Client("mqtt-quic://broker.example") as client:
    ...     await client.subscribe("sensors/#", qos=1)
    ...     async for message in client.messages():
    ...         print(message.topic, message.payload)
    """

    def __init__(
        self,
        url: str,
        *,
        cafile: str | Path | None = None,
        certfile: str | Path | None = None,
        keyfile: str | Path | None = None,
        state_file: str | Path | None = None,
        user_properties: list[tuple[str, str]] | None = None,
        will_properties: dict[str, Any] | None = None,
        inbox_max: int = 65536,
        log: LogFile = None,
        log_level: str = "notice",
        log_format: str = "text",
        keylog: LogFile = None,
        qlog: str | Path | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        given: dict[str, Any] = dict(options)
        for name, path in (("ca", cafile), ("certificate", certfile), ("key", keyfile)):
            if path is not None:
                given[name] = Path(path).read_bytes()
        self._state_file = Path(state_file) if state_file is not None else None
        if self._state_file is not None:
            given["tell_state"] = True
            if self._state_file.exists():
                given["state"] = self._state_file.read_bytes()
        if user_properties:
            given["connect_props"] = (given.get("connect_props") or b"") + encode_properties(user_properties=user_properties)
        if will_properties:
            given["will_props"] = (given.get("will_props") or b"") + encode_properties(**will_properties)
        self.url = url
        self._ack_auto = not given.pop("manual_ack", False)
        self._inbox_max = inbox_max
        o = core.client_options()
        o.url = url
        o.tls.wall_unix_s = core.wall_unix_s()
        self._keep: list[Any] = [url, *fill(o, given, CLIENT, "client")]
        self._sinks = Sinks(o, log, log_level, log_format, keylog, qlog)
        o.manual_ack = True  # the package itself says when a message has been looked at
        wrong = core.client_option_error(o)
        if wrong:
            raise make_error(core.E_OPTION, text=wrong)
        wrong = core.tls_config_error(o.tls)
        if wrong:
            raise make_error(core.E_CERTIFICATE, text=wrong)
        self._options = o
        self._driver: Driver | None = None
        self._waiters = Waiters()
        self._inbox = Inbox(inbox_max)
        self._current: list[Message] = []
        self._streams: list[Subscription] = []
        self._watchers: list[Watcher] = []
        self._room = asyncio.Event()
        self._moving_to: str | None = None
        self.connected = False
        self.last_error: Exception | None = None

    # -- life ---------------------------------------------------------------------------------------------------------------

    async def connect(self) -> Connected:
        """Returns when the server has accepted us. Raises the cause of the first failed attempt, and closes: Refused (``reason``: other
        credentials, another server), CertificateError, another NetworkError or Timeout (later, or ``fallback``), ProtocolError (that is
        no MQTT server), UsageError (started already). Later failures are not raised: the client reconnects, and events tell."""
        if self._driver is not None:
            raise make_error(core.E_STATE, text="connect: this client was started already")
        sinks = self._sinks

        def free(machine: Any) -> None:
            core.client_free(machine)
            sinks.close()

        self._options.tls.wall_unix_s = core.wall_unix_s()
        self._driver = Driver(lambda now: core.make_client(self._options), core.thread_add_client, free)
        self._driver.attach(self._on_event)
        up = self._waiters.future("connected")
        try:
            with self._driver.locked() as now:
                core.client_start(self._driver.machine, now)
            result: Connected = await up
            return result
        except BaseException:
            self._shut()
            raise

    async def close(self, reason: int = 0) -> None:
        """Sends what is queued (at most 3 s), DISCONNECT with that reason (0x04: publish the will), and ends. Calls that wait in other
        tasks raise Closed; messages that were handed out are acknowledged (without ``manual_ack``). Safe to call twice."""
        driver = self._driver
        if driver is None or not driver.alive:
            return
        try:
            down = self._waiters.future("closed")
            self._settle(self._current)
            for stream in self._streams:
                stream._settle()
            with driver.locked() as now:
                core.client_close(driver.machine, now, reason)
            await asyncio.wait_for(down, 5)
        except (RoamqttError, asyncio.TimeoutError):
            pass
        finally:
            self._shut()

    async def __aenter__(self) -> "Client":
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _shut(self) -> None:
        self.connected = False
        self._room.set()
        if self._driver is not None:
            self._driver.close()
        self._waiters.fail_all(make_error(core.E_CLOSED))
        for inbox in [self._inbox, *self._watchers, *(s._inbox for s in self._streams)]:
            inbox.close()

    def _running(self) -> Driver:
        if self._driver is None or not self._driver.alive:
            raise make_error(core.E_CLOSED, text="the client is not connected: use `async with` or connect()")
        return self._driver

    # -- publish and subscribe ----------------------------------------------------------------------------------------------

    def publish_nowait(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        safe_to_repeat: bool = False,
        datagram: bool = False,
        lane: int = 0,
    ) -> int:
        """Hands a message to the core, which copies it, and returns its token; the arguments are publish's. For QoS 1 and 2
        ``events(published=True)`` tells the result by that token. Raises Blocked when the queue is full (a Writable event says when to
        try again), UsageError otherwise: topic, QoS, size, or no connection and ``offline_queue=False``."""
        driver = self._running()
        data = payload.encode() if isinstance(payload, str) else payload
        token: int = core.publish(
            driver.thread, driver.machine, topic.encode(), data, properties, qos, retain, safe_to_repeat, datagram, lane
        )
        return token

    async def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        safe_to_repeat: bool = False,
        datagram: bool = False,
        lane: int = 0,
        **properties: Any,
    ) -> int:
        """Publishes; for QoS 1 and 2 returns when the server has it. Returns the reason code (0, or 0x10: nobody subscribed) and
        raises Refused for others, Timeout for a message that expired in the queue. Waits while the queue is full.

        ``properties``: those of :func:`roamqtt.encode_properties`. ``safe_to_repeat``: may leave in QUIC's early data when the connection
        is resumed, which an attacker can play again elsewhere. ``datagram``: QoS 0, in a QUIC datagram if the server takes it and it
        fits, else as without. ``lane``: 0, as ``lanes`` says; LANE_CONTROL; else the data stream of that number, which is yours: in
        order within it, not with others. QoS 2 on a stream that is lost raises NetworkError (ROAM_E_LOST): it may or may not have
        arrived."""
        props = encode_properties(**properties) if properties else b""
        while True:
            self._room.clear()
            try:
                token = self.publish_nowait(
                    topic, payload, qos=qos, retain=retain, properties=props, safe_to_repeat=safe_to_repeat, datagram=datagram,
                    lane=lane,
                )  # fmt: skip
                break
            except Blocked:
                await self._room.wait()
        if qos == 0:
            return 0
        reason: int = (await self._answer(token, f"publish to {topic}"))[2]
        return reason

    def subscribe(
        self,
        topic_filter: str,
        *,
        qos: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        identifier: int = 0,
        datagram: bool = False,
        lane: int = 0,
    ) -> Subscription:
        """``await`` it, or ``async with`` it for a stream of its own. Made again by itself when a server lost the session.

        ``identifier``: Subscription Identifier, 0 for none. ``lane``: as in publish; deliveries come on the lane of the subscription, in
        its order. ``datagram``: QoS 0 deliveries may come in datagrams, from servers that know how.
        Awaiting raises Refused with the server's ``reason``; UsageError: not a topic filter, or ROAM_E_LIMIT (subscriptions_max)."""
        how = dict(
            qos=qos, no_local=no_local, retain_as_published=retain_as_published, retain_handling=retain_handling,
            identifier=identifier, datagram=datagram, lane=lane,
        )  # fmt: skip
        return Subscription(self, topic_filter, how)

    async def _subscribe(self, topic_filter: bytes, how: dict[str, Any]) -> int:
        d = self._running()
        token = core.subscribe(
            d.thread, d.machine, topic_filter, how["qos"], how["no_local"], how["retain_as_published"], how["retain_handling"], False,
            how["identifier"], how["datagram"], how["lane"],
        )  # fmt: skip
        code: int = (await self._answer(token, f"subscribe to {topic_filter.decode()}"))[3][0]
        return code

    async def unsubscribe(self, topic_filter: str) -> int:
        """Returns the reason code (0, or 0x11: there was no such subscription) and raises Refused for others."""
        d = self._running()
        token = core.subscribe(d.thread, d.machine, topic_filter.encode(), 0, False, False, 0, True, 0, False, 0)
        codes: bytes = (await self._answer(token, f"unsubscribe from {topic_filter}"))[3]
        return codes[0] if codes else 0  # 3.1.1 has no codes

    def lane_weight(self, lane: int, weight: int) -> None:
        """Lanes that have something to send at once share the packets by weight, 1 to 256, 16 at first; the control stream goes before
        all. UsageError: no such weight, LANE_CONTROL or 0, or no lane is to be had (ROAM_E_LIMIT)."""
        driver = self._running()
        with driver.locked() as now:
            core.client_lane_weight(driver.machine, now, lane, weight)

    async def _answer(self, token: int, what: str) -> tuple[Any, ...]:
        # No race: events are handed out by the loop, and it has not run since the command.
        body: tuple[Any, ...] = await self._waiters.future(token)
        _token, rc, reason, codes, _props = body
        reason = codes[0] if codes else reason
        if rc == core.E_REFUSED or rc == 0 and reason >= _FAILED:
            raise make_error(core.E_REFUSED, text=f"{what}: {reason_text(reason)} (0x{reason:02x})", reason=reason)
        if rc < 0:
            raise make_error(rc, text=f"{what}: {core.strerror(rc)}", reason=reason)
        return body

    # -- messages and events ------------------------------------------------------------------------------------------------

    async def messages(self) -> AsyncIterator[Message]:
        """Messages that no stream (``async with client.subscribe``) takes. Goes on over reconnects; ends with close(), raises on a fatal
        refusal. With ack="auto" a message is acknowledged when the next one is asked for."""
        while True:
            self._settle(self._current)
            if not self._inbox.items and not await self._inbox.wait():
                return
            message: Message = self._inbox.items.popleft()
            self._current.append(message)
            yield message

    def events(self, *, published: bool = False) -> Events[Event]:
        """The connection's life from this call on: the classes of roamqtt.types, from Connected to Transport. With ``published`` also
        the results of publish_nowait. Ends with close(). At most 4096 wait for each reader; further ones are dropped and counted
        (``dropped``), those of messages first."""
        return Events(self._watchers, Watcher(published), self._driver is not None and not self._driver.alive)

    def _settle(self, done: list[Message]) -> None:
        if done:
            if self._ack_auto:
                self._ack([message for message in done if not message._acked])
            done.clear()

    def _ack(self, messages: list[Message]) -> None:
        driver = self._driver
        if not messages or driver is None or not driver.alive:
            return
        numbers: list[int] = []
        for message in messages:
            message._acked = True
            numbers += (message._lane, message._packet_id)
        core.acknowledge(driver.thread, driver.machine, numbers)

    # -- moving -------------------------------------------------------------------------------------------------------------

    async def migrate(
        self, local: str | None = None, *, interface: str | None = None, how: str = "probe", timeout: float = 10.0
    ) -> PathMigrated | None:
        """Moves the connection to another local address (its port may be left out) or interface while it runs.

        ``how``: "probe", both networks are alive, the new path is validated first and nothing is interrupted; "immediate", the old one
        is dead or dying. Returns the PathMigrated event with old and new path, ``validation_ns`` and ``gap_ns``; None when there was no
        connection to move: then the next one begins there.
        Raises PathError or another NetworkError when the new path does not work (the connection stays where it was) or the
        connection ended meanwhile, Timeout, UsageError on TCP (ROAM_E_UNSUPPORTED) or while a migration is under way."""
        if how not in ("probe", "immediate"):
            raise make_error(core.E_ARGUMENT, text=f"migrate: how: expected 'probe' or 'immediate', got {how!r}")
        driver = self._running()
        if self._waiters.waiting("path"):
            raise make_error(core.E_STATE, text="migrate: the migration before this one is still under way")
        if not self.connected:
            with driver.locked() as now:
                core.client_migrate(driver.machine, now, local, interface, how == "immediate")
            return None
        moved = self._waiters.future("path")
        self._moving_to = local
        try:
            with driver.locked() as now:
                core.client_migrate(driver.machine, now, local, interface, how == "immediate")
            result: PathMigrated = await asyncio.wait_for(moved, timeout)
            return result
        except asyncio.TimeoutError:
            raise make_error(core.E_TIMEOUT, text=f"migrate to {local or interface}: no answer in {timeout} s") from None
        finally:
            moved.cancel()

    def hint(self) -> None:
        """The application says that the network may have changed: something goes out at once, so that the server learns the new
        address."""
        driver = self._running()
        with driver.locked() as now:
            core.client_hint(driver.machine, now)

    # -- authentication, state, figures ---------------------------------------------------------------------------------------

    def auth(self, data: bytes) -> None:
        """Answers an Auth event with reason 0x18. UsageError: nothing was asked (any more)."""
        driver = self._running()
        with driver.locked() as now:
            core.client_auth(driver.machine, now, data)

    def reauthenticate(self, data: bytes = b"") -> None:
        """Authenticates anew while connected, as ``auth_method`` says; an Auth event with reason 0 follows, or more rounds, or the
        server ends the connection. UsageError: not connected, no ``auth_method``, or one is under way."""
        driver = self._running()
        with driver.locked() as now:
            core.client_reauthenticate(driver.machine, now, data)

    def saved(self) -> bytes:
        """What to keep between runs, for the option ``state``: tickets, address tokens and round-trip times, no message, no password.
        Whoever has it can resume our connections. Empty: nothing yet."""
        driver = self._running()
        with driver.locked():
            state: bytes = core.client_saved(driver.machine)
            return state

    def get_state(self) -> str:
        """ "new", "connecting", "connected", "waiting" (for the next attempt), "closing" or "closed"."""
        if self._driver is None:
            return "new"
        if not self._driver.alive:
            return "closed"
        with self._driver.locked():
            return _STATES[core.client_get_state(self._driver.machine)]

    def stats(self) -> dict[str, Any]:
        """All of roam_client_stats under its names: local, remote, transport, rtt_ns, migrations, early_accepted, ..."""
        driver = self._running()
        with driver.locked():
            return struct_dict(core.client_get_stats(driver.machine))

    @property
    def response_information(self) -> str | None:
        """What the server answered to request_response_information."""
        driver = self._running()
        with driver.locked():
            text: str | None = core.client_response_information(driver.machine)
            return text

    @property
    def client_id(self) -> str:
        """The one in force, also when the server assigned it."""
        driver = self._running()
        with driver.locked():
            return str(core.client_id(driver.machine))

    # -- the sink -----------------------------------------------------------------------------------------------------------

    def _on_event(self, kind: int, body: Any) -> None:
        if kind == core.EV_MESSAGE:
            self._on_message(body)
        elif kind in (core.EV_PUBLISHED, core.EV_SUBSCRIBED, core.EV_UNSUBSCRIBED):
            self._on_answer(kind, body)
        elif kind in CLIENT_EVENTS:
            event: Event = make_event(CLIENT_EVENTS[kind], body)
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, event, body)
            self._tell(event)
            if kind == core.EV_CLOSED:
                for inbox in self._watchers:
                    inbox.close()

    def _on_message(self, body: tuple[Any, ...]) -> None:
        message = Message(self, body)
        topic = message.topic.encode()
        takers = [s._inbox for s in self._streams if core.topic_matches(s._match, topic)]
        inbox = takers[0] if takers else self._inbox
        if message.qos == 0 and len(inbox.items) >= inbox.limit:
            inbox.items.popleft()
            inbox.dropped += 1
        inbox.put(message)
        for other in takers[1:]:
            other.put(Message(None, body))

    def _on_answer(self, kind: int, body: tuple[Any, ...]) -> None:
        if self._waiters.waiting(body[0]):
            self._waiters.resolve(body[0], body)
        elif kind == core.EV_PUBLISHED and self._watchers:
            token, rc, reason = body[:3]
            said = f"publish: {reason_text(reason)} (0x{reason:02x})" if reason >= _FAILED else None
            error = make_error(rc, text=said, reason=reason) if rc < 0 else None
            for inbox in self._watchers:
                if inbox.published and len(inbox.items) < inbox.limit // 2:
                    inbox.put(Published(token=token, error=error, reason=reason))

    def _on_connected(self, event: Any, _body: dict[str, Any]) -> None:
        self.connected = True
        self._waiters.resolve("connected", event)

    def _on_disconnected(self, event: Any, _body: dict[str, Any]) -> None:
        self.connected = False
        self.last_error = event.error
        if event.error is not None:
            self._waiters.fail("connected", event.error)
        self._waiters.fail("path", event.error or make_error(core.E_LOST, text="migrate: the connection ended"))

    def _on_closed(self, event: Any, _body: dict[str, Any]) -> None:
        self.connected = False
        self.last_error = event.error or self.last_error
        self._waiters.resolve("closed", None)
        self._waiters.fail_all(event.error or make_error(core.E_CLOSED))
        self._room.set()
        for inbox in [self._inbox, *(s._inbox for s in self._streams)]:
            inbox.close(event.error)

    def _on_migrated(self, event: Any, _body: dict[str, Any]) -> None:
        if _same_place(self._moving_to, event.local):
            self._waiters.resolve("path", event)

    def _on_path_failed(self, event: Any, _body: dict[str, Any]) -> None:
        if _same_place(self._moving_to, event.local):
            self._waiters.fail("path", event.error)

    def _on_state(self, _event: Any, _body: dict[str, Any]) -> None:
        if self._state_file is None or self._driver is None or not self._driver.alive:
            return
        state = self.saved()
        if state:
            _write_private(self._state_file, state)

    def _on_writable(self, _event: Any, _body: dict[str, Any]) -> None:
        self._room.set()

    def _tell(self, event: Event) -> None:
        for inbox in self._watchers:
            if len(inbox.items) < inbox.limit:
                inbox.put(event)
            else:
                inbox.dropped += 1


def _same_place(wanted: str | None, got: str) -> bool:
    """Is this the move that was asked for? The client moves by itself, too. A port that was not given is any."""
    if wanted is None:
        return True  # an interface: its address is not known here
    host = got[1 : got.index("]")] if got.startswith("[") else got.rsplit(":", 1)[0] if got.count(":") == 1 else got
    return wanted in (got, host) or wanted.strip("[]") == host or wanted.startswith((host + ":", f"[{host}]:"))


_HANDLERS = {
    core.EV_CONNECTED: Client._on_connected,
    core.EV_DISCONNECTED: Client._on_disconnected,
    core.EV_CLOSED: Client._on_closed,
    core.EV_WRITABLE: Client._on_writable,
    core.EV_STATE: Client._on_state,
    core.EV_PATH_MIGRATED: Client._on_migrated,
    core.EV_PATH_FAILED: Client._on_path_failed,
}
