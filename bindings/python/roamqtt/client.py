"""The asyncio client. One object lives through disconnects, reconnects and migrations."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

from . import core
from ._io import Driver, Inbox, Waiters
from .errors import Blocked, RoamqttError, make_error
from .types import (
    Connected,
    Disconnected,
    EarlyData,
    Event,
    Message,
    PathFailed,
    PathMigrated,
    PathProbing,
    encode_properties,
    reason_text,
)

_LANES = ("one", "per-topic", "per-qos", "split", "per-message")
_NS = 1_000_000_000
_FAILED = 0x80
_CONGESTION = {"cubic": core.CONGESTION_CUBIC, "reno": core.CONGESTION_RENO, "bbr": core.CONGESTION_BBR}


def _read(path: str | Path | None, data: bytes | None) -> bytes:
    if path is not None:
        return Path(path).read_bytes()
    return data or b""


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
    """A client of one server.

    ``url``: ``mqtt-quic://host[:14567]`` or ``mqtt://host[:1883]``. Certificates are verified against ``cafile``/``cadata`` or, without
    them, the system's; ``insecure=True`` turns that off by name. Times are in seconds. With ``auth_method="SCRAM-SHA-256"`` the
    password does not travel, and the server proves that it knows it too. ``state_file`` keeps QUIC's tickets between runs (mode 0600),
    so that the next one connects within its first flight; ``early_data=False`` turns that off.

    >>> async with roamqtt.Client("mqtt-quic://broker.example") as client:
    ...     await client.subscribe("sensors/#", qos=1)
    ...     async for message in client.messages():
    ...         print(message.topic, message.payload)
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str | None = None,
        username: str | None = None,
        password: bytes | str | None = None,
        version: int = 5,
        clean_start: bool = True,
        session_expiry: int = 0,
        keep_alive: int = 60,
        will_topic: str | None = None,
        will_payload: bytes = b"",
        will_qos: int = 0,
        will_retain: bool = False,
        will_delay: int = 0,
        will_properties: dict[str, Any] | None = None,
        user_properties: list[tuple[str, str]] | None = None,
        request_response_information: bool = False,
        cafile: str | Path | None = None,
        cadata: bytes | None = None,
        certfile: str | Path | None = None,
        keyfile: str | Path | None = None,
        insecure: bool = False,
        server_name: str | None = None,
        local_address: str | None = None,
        interface: str | None = None,
        reconnect: bool = True,
        reconnect_min: float = 0.2,
        reconnect_max: float = 30.0,
        connect_timeout: float = 10.0,
        idle_timeout: float = 60.0,
        ping_interval: float = 15.0,
        offline_queue: bool = True,
        receive_maximum: int = 1024,
        send_window_max: int = 1024,
        topic_alias_maximum: int = 16,
        maximum_packet_size: int = 1 << 20,
        queue_messages_max: int = 10000,
        queue_bytes_max: int = 16 << 20,
        subscriptions_max: int = 1024,
        payload_format_check: bool = False,
        ack: str = "auto",
        inbox_max: int = 65536,
        lanes: str = "one",
        lanes_max: int = 32,
        flows: bool = False,
        datagram_filter: str | None = None,
        auth_method: str | None = None,
        auth_data: bytes = b"",
        state_file: str | Path | None = None,
        early_data: bool = True,
        congestion: str = "cubic",
        server_flows_max: int = 16,
    ) -> None:
        if lanes not in _LANES:
            raise make_error(core.E_OPTION, text=f"lanes: expected one of {', '.join(_LANES)}, got {lanes!r}")
        if ack not in ("auto", "manual"):
            raise make_error(core.E_OPTION, text=f"ack: expected 'auto' or 'manual', got {ack!r}")
        self.url = url
        self._ack_auto = ack == "auto"
        self._inbox_max = inbox_max
        tls = [_read(cafile, cadata), _read(certfile, None), _read(keyfile, None)]
        secret = password.encode() if isinstance(password, str) else (password or b"")
        more = encode_properties(user_properties=user_properties)
        will_more = encode_properties(**will_properties) if will_properties else b""
        strings = (url, client_id, username, secret, will_topic, will_payload, server_name, interface, auth_method, datagram_filter)
        self._keep = (*strings, auth_data, more, will_more, *tls)
        o = core.client_options()
        o.url, o.client_id, o.user_name, o.password = url, client_id, username, secret
        o.version, o.clean_start, o.session_expiry_s, o.keep_alive_s = version, clean_start, session_expiry, keep_alive
        o.will_topic, o.will_payload, o.will_qos, o.will_retain = will_topic, will_payload, will_qos, will_retain
        o.will_delay_s, o.will_props, o.connect_props = will_delay, will_more, more
        o.request_response_information, o.payload_format_check = request_response_information, payload_format_check
        o.send_window_max, o.topic_alias_maximum, o.maximum_packet_size = send_window_max, topic_alias_maximum, maximum_packet_size
        o.queue_messages_max, o.queue_bytes_max, o.subscriptions_max = queue_messages_max, queue_bytes_max, subscriptions_max
        o.tls.ca, o.tls.certificate, o.tls.key = tls
        o.tls.insecure, o.tls.wall_unix_s = insecure, core.wall_unix_s()
        o.server_name, o.local, o.interface = server_name, local_address, interface
        o.reconnect, o.offline_queue, o.manual_ack = reconnect, offline_queue, True
        o.reconnect_min_ns, o.reconnect_max_ns = int(reconnect_min * _NS), int(reconnect_max * _NS)
        o.connect_timeout_ns, o.idle_timeout_ns = int(connect_timeout * _NS), int(idle_timeout * _NS)
        o.ping_ns, o.receive_maximum = int(ping_interval * _NS), receive_maximum
        o.lanes, o.lanes_max, o.flows, o.datagram_filter = _LANES.index(lanes), lanes_max, flows, datagram_filter
        o.auth_method, o.auth_data, o.server_flows_max = auth_method, auth_data, server_flows_max
        if congestion not in _CONGESTION:
            raise make_error(core.E_OPTION, text=f"congestion: expected cubic, reno or bbr, got {congestion!r}")
        self._state_file = Path(state_file) if state_file is not None else None
        state = self._state_file.read_bytes() if self._state_file is not None and self._state_file.exists() else b""
        self._keep += (state,)
        o.state, o.tell_state, o.early_data = state, self._state_file is not None, early_data
        o.congestion = _CONGESTION[congestion]
        wrong = core.client_option_error(o)
        if wrong:
            raise make_error(core.E_OPTION, text=wrong)
        self._options = o
        self._driver: Driver | None = None
        self._waiters = Waiters()
        self._streams: list[Subscription] = []
        self._inbox = Inbox(inbox_max)
        self._current: list[Message] = []
        self._watchers: list[Inbox] = []
        self._room = asyncio.Event()  # set when a publish that found the queue full may try again
        self.connected = False
        self.last_error: Exception | None = None

    # -- life ---------------------------------------------------------------------------------------------------------------

    async def connect(self) -> Connected:
        """Returns when the server has accepted us. Raises the cause of the first failed attempt, and closes."""
        if self._driver is not None:
            raise make_error(core.E_STATE, text="connect: this client was started already")
        self._driver = Driver(lambda now: core.make_client(self._options), core.thread_add_client, core.client_free)
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
        """Sends what is queued (at most 3 s), DISCONNECT, and ends. Safe to call twice."""
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
        self, topic: str, payload: bytes | str = b"", *, qos: int = 0, retain: bool = False, properties: bytes = b"",
        safe_to_repeat: bool = False,
    ) -> int:
        """Hands a message to the core and returns its token. Raises Blocked when the queue is full."""
        driver = self._running()
        data = payload.encode() if isinstance(payload, str) else payload
        token: int = core.publish(driver.thread, driver.machine, topic.encode(), data, properties, qos, retain, safe_to_repeat)
        return token

    async def publish(
        self, topic: str, payload: bytes | str = b"", *, qos: int = 0, retain: bool = False, safe_to_repeat: bool = False,
        **properties: Any,
    ) -> int:
        """Publishes; for QoS 1 and 2 returns when the server has it. Returns the reason code (0, or 0x10: nobody subscribed) and
        raises Refused for others. ``properties``: those of :func:`roamqtt.encode_properties`. Waits while the queue is full.
        ``safe_to_repeat``: may leave in QUIC's early data when the connection is resumed, which an attacker can play again elsewhere."""
        props = encode_properties(**properties) if properties else b""
        while True:
            self._room.clear()
            try:
                token = self.publish_nowait(topic, payload, qos=qos, retain=retain, properties=props, safe_to_repeat=safe_to_repeat)
                break
            except Blocked:
                await self._room.wait()
        if qos == 0:
            return 0
        reason = (await self._answer(token, core.EV_PUBLISHED))[2]
        if reason >= _FAILED:
            raise make_error(core.E_REFUSED, text=f"publish to {topic}: {reason_text(reason)} (0x{reason:02x})", reason=reason)
        return int(reason)

    def subscribe(
        self,
        topic_filter: str,
        *,
        qos: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        subscription_identifier: int = 0,
    ) -> Subscription:
        """``await`` it, or ``async with`` it for a stream of its own. Made again by itself when a server lost the session."""
        how = dict(
            qos=qos, no_local=no_local, retain_as_published=retain_as_published, retain_handling=retain_handling,
            identifier=subscription_identifier,
        )  # fmt: skip
        return Subscription(self, topic_filter, how)

    async def _subscribe(self, topic_filter: bytes, how: dict[str, Any]) -> int:
        d = self._running()
        token = core.subscribe(
            d.thread, d.machine, topic_filter, how["qos"], how["no_local"], how["retain_as_published"], how["retain_handling"], False,
            how["identifier"],
        )  # fmt: skip
        code: int = (await self._answer(token, core.EV_SUBSCRIBED))[3][0]
        if code >= _FAILED:
            raise make_error(
                core.E_REFUSED, text=f"subscribe to {topic_filter.decode()}: {reason_text(code)} (0x{code:02x})", reason=code
            )
        return code

    async def unsubscribe(self, topic_filter: str) -> int:
        """Returns the reason code (0, or 0x11: there was no such subscription) and raises Refused for others."""
        d = self._running()
        token = core.subscribe(d.thread, d.machine, topic_filter.encode(), 0, False, False, 0, True, 0)
        codes: bytes = (await self._answer(token, core.EV_UNSUBSCRIBED))[3]
        return codes[0] if codes else 0  # 3.1.1 has no codes

    async def _answer(self, token: int, kind: int) -> tuple[Any, ...]:
        # No race: events are handed out by the loop, and it has not run since the command.
        body: tuple[Any, ...] = await self._waiters.future(token)
        if body[1] < 0:
            raise make_error(body[1], reason=body[2])
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

    async def events(self) -> AsyncIterator[Event]:
        """The connection's life from now on: Connected, Disconnected, PathProbing, PathMigrated, PathFailed. Ends with close()."""
        inbox = Inbox(1024)
        self._watchers.append(inbox)
        try:
            while await inbox.wait():
                yield inbox.items.popleft()
        finally:
            self._watchers.remove(inbox)

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
        self, local_address: str | None = None, *, interface: str | None = None, immediate: bool = False, timeout: float = 10.0
    ) -> PathMigrated:
        """Moves the connection to another local address or interface while it runs. ``immediate``: the old network is dead or dying.
        Raises PathError when the new path does not work (the connection stays), Timeout, or UsageError on TCP."""
        driver = self._running()
        if self._waiters.waiting("path"):
            raise make_error(core.E_STATE, text="migrate: the migration before this one is still under way")
        moved = self._waiters.future("path")
        try:
            with driver.locked() as now:
                core.client_migrate(driver.machine, now, local_address, interface, immediate)
            result: PathMigrated = await asyncio.wait_for(moved, timeout)
            return result
        except asyncio.TimeoutError:
            raise make_error(core.E_TIMEOUT, text=f"migrate to {local_address or interface}: no answer in {timeout} s") from None
        finally:
            moved.cancel()

    def hint(self) -> None:
        """The network may have changed: send something at once, so that the server learns the new address."""
        driver = self._running()
        with driver.locked() as now:
            core.client_hint(driver.machine, now)

    def stats(self) -> dict[str, Any]:
        """Where the connection runs and how: local, remote, transport, rtt (s), migrations, messages_in, ..."""
        driver = self._running()
        with driver.locked():
            s = core.client_get_stats(driver.machine)
            return dict(
                local=s.local, remote=s.remote, transport=core.transport_name(s.transport), rtt=s.rtt_ns / _NS,
                cwnd_bytes=s.cwnd_bytes, bytes_in=s.bytes_in, bytes_out=s.bytes_out, messages_in=s.messages_in,
                messages_out=s.messages_out, dropped=s.dropped, connects=s.connects, migrations=s.migrations,
                migrations_failed=s.migrations_failed, inflight=s.inflight, queued=s.queued,
                resumed=s.resumed, early_accepted=s.early_accepted, early_rejected=s.early_rejected,
                key_updates=s.key_updates, min_rtt=s.min_rtt_ns / _NS, udp_in=s.udp_in,
                udp_out=s.udp_out, handshake_bytes_in=s.handshake_bytes_in,
                handshake_bytes_out=s.handshake_bytes_out, stream_bytes_out=s.stream_bytes_out, packets_lost=s.packets_lost,
            )  # fmt: skip

    @property
    def response_information(self) -> str | None:
        """What the server answered to request_response_information."""
        driver = self._running()
        with driver.locked():
            text: str | None = core.client_response_information(driver.machine)
            return text

    @property
    def client_id(self) -> str:
        driver = self._running()
        with driver.locked():
            return str(core.client_id(driver.machine))

    # -- the sink -----------------------------------------------------------------------------------------------------------

    def _on_event(self, kind: int, body: tuple[Any, ...]) -> None:
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, body)

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

    def _on_answer(self, body: tuple[Any, ...]) -> None:
        self._waiters.resolve(body[0], body)

    def _on_connected(self, body: tuple[Any, ...]) -> None:
        self.connected = True
        event = Connected(body[3], body[4], core.transport_name(body[5]), body[6], body[7])
        self._waiters.resolve("connected", event)
        self._tell(event)

    def _on_disconnected(self, body: tuple[Any, ...]) -> None:
        self.connected = False
        error = make_error(body[0], text=body[2], reason=body[1]) if body[0] < 0 else None
        self.last_error = error
        if error is not None:
            self._waiters.fail("connected", error)
        self._tell(Disconnected(error, body[1], body[8] / _NS if body[8] else None))

    def _on_closed(self, body: tuple[Any, ...]) -> None:
        self.connected = False
        error = make_error(body[0], text=body[2], reason=body[1]) if body[0] < 0 else None
        self.last_error = error or self.last_error
        self._waiters.resolve("closed", None)
        self._waiters.fail_all(error or make_error(core.E_CLOSED))
        self._room.set()
        for inbox in [self._inbox, *(s._inbox for s in self._streams)]:
            inbox.close(error)
        for inbox in self._watchers:
            inbox.close()

    def _on_probing(self, body: tuple[Any, ...]) -> None:
        self._tell(PathProbing(body[2], body[3]))

    def _on_migrated(self, body: tuple[Any, ...]) -> None:
        event = PathMigrated(body[4], body[2], body[6] / _NS)
        self._waiters.resolve("path", event)
        self._tell(event)

    def _on_path_failed(self, body: tuple[Any, ...]) -> None:
        error = make_error(body[0] or core.E_PATH, text=body[1])
        self._waiters.fail("path", error)
        self._tell(PathFailed(body[2], error))

    def _on_early(self, body: tuple[Any, ...]) -> None:
        self._tell(EarlyData(body[0] == 0))

    def _on_state(self, body: tuple[Any, ...]) -> None:
        driver = self._driver
        if self._state_file is None or driver is None or not driver.alive:
            return
        with driver.locked():
            state: bytes = core.client_saved(driver.machine)
        if state:
            _write_private(self._state_file, state)

    def _on_writable(self, body: tuple[Any, ...]) -> None:
        self._room.set()

    def _tell(self, event: Event) -> None:
        for inbox in self._watchers:
            if len(inbox.items) < inbox.limit:
                inbox.put(event)


_HANDLERS = {
    core.EV_MESSAGE: Client._on_message,
    core.EV_PUBLISHED: Client._on_answer,
    core.EV_SUBSCRIBED: Client._on_answer,
    core.EV_UNSUBSCRIBED: Client._on_answer,
    core.EV_CONNECTED: Client._on_connected,
    core.EV_DISCONNECTED: Client._on_disconnected,
    core.EV_CLOSED: Client._on_closed,
    core.EV_WRITABLE: Client._on_writable,
    core.EV_PATH_PROBING: Client._on_probing,
    core.EV_EARLY_DATA: Client._on_early,
    core.EV_STATE: Client._on_state,
    core.EV_PATH_MIGRATED: Client._on_migrated,
    core.EV_PATH_FAILED: Client._on_path_failed,
}
