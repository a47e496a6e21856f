"""Carries out what other services push to this server's connections, and answers them.

Whoever can write to this process's `{PID}:push` list can reach a client without a worker: the
frames are those of `gateway_layer.push.frames`. Memberships of groups live here, at the owner of
the connections; Redis only knows that this process has members.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway_interface.core.websocket import encode_message
from gateway_layer.base import ChannelLayer
from gateway_layer.codec import Message, pack
from gateway_layer.errors import ProtocolError
from gateway_layer.groups import ASSERT_EVERY_S, LINGER_S, Memberships, check_group
from gateway_layer.node import MALFORMED, Node
from gateway_layer.push.frames import (
    BAD,
    DEDUPLICATE_S,
    FRAMES,
    FULL,
    GONE,
    GROUP_ADD,
    GROUP_DISCARD,
    GROUP_LIST,
    GROUP_SEND,
    INFO,
    OK,
    PUSH,
    GroupAdd,
    GroupDiscard,
    GroupList,
    GroupSend,
    Info,
    Push,
    Reply,
)
from gateway_layer.wire import read_entry

_log = logging.getLogger("gateway.push")

_MAX_KEYS: Final = 100_000
"""Idempotency keys that are remembered; beyond it the oldest go before their 60 s."""

Answer = tuple[str, Any]
"""(status, payload) of one push."""


class Pushable(ABC):
    """A connection that can be pushed to."""

    __slots__ = ()

    connection: str

    @property
    @abstractmethod
    def frame_form(self) -> bool | None:
        """Which encoding `push_frame` wants (see `encode_message`); None: not open, use `push`."""

    @abstractmethod
    def push(self, event: Message) -> str:
        """Send an event, or hold it until the connection is open; returns a status."""

    @abstractmethod
    def push_frame(self, frame: bytes) -> bool:
        """Write a frame that was encoded for several connections; False: its buffer is full."""

    @abstractmethod
    def when_flushed(self, then: Callable[[str], None]) -> None:
        """Call `then` with a status when the kernel has taken all that was written so far."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """Return what is known of the connection, as `gateway_layer.push.ConnectionInfo`."""

    @abstractmethod
    def describe(self) -> str:
        """Return connection and address for a log line."""


class Pushes:
    """The owner's side of pushing.

    Attributes:
        received: Frames carried out so far.
        overflowed: Connections closed because they took less than was pushed.
        memberships: Groups of this process's connections.
    """

    def __init__(self, layer: ChannelLayer, node: Node) -> None:
        """Take over the layer's pushes."""
        self.received = 0
        self.overflowed = 0
        self.memberships: Final[Memberships[Pushable]] = Memberships()
        self._layer: Final = layer
        self._node: Final = node
        self._loop: Final = asyncio.get_running_loop()
        self._seen: dict[str, tuple[float, Answer]] = {}
        self._answers: dict[str, list[tuple[int, str, Any]]] = {}
        self._registered: set[str] = set()
        self._registering: dict[str, list[Callable[[bool], None]]] = {}
        self._handlers: Final[dict[int, Callable[[Any], None]]] = {
            PUSH: self._push,
            INFO: self._info,
            GROUP_ADD: self._group_add,
            GROUP_DISCARD: self._group_discard,
            GROUP_SEND: self._group_send,
            GROUP_LIST: self._group_list,
        }
        self._asserting: asyncio.TimerHandle | None = None
        layer.on_pushes = self._on_entries

    def close(self) -> None:
        """Assert no registrations any more, and take back those that are left."""
        if self._asserting is not None:
            self._asserting.cancel()
        for group in self._registered:
            self._layer.unregister_group(group)

    # Reading.

    def _on_entries(self, entries: Iterable[bytes]) -> None:
        for raw in entries:
            try:
                _version, sender, _link, frames = read_entry(raw)
            except ProtocolError as error:
                self._node.drop(str(error), "push")
                continue
            for raw_frame in frames:
                try:
                    # Nothing but these ops: a pusher cannot speak for a worker.
                    handle = self._handlers[raw_frame[1]]
                    frame = FRAMES[raw_frame[1]]._make(raw_frame)
                    check_reply(frame.reply)
                except MALFORMED as error:
                    self._node.drop(f"a push of {sender!r}: {type(error).__name__}", sender)
                    continue
                self.received += 1
                try:
                    handle(frame)
                except (TypeError, ValueError) as error:
                    self._answer(frame.reply, BAD, str(error))

    def _find(self, connection: str) -> Pushable | None:
        session = self._node.sessions.get(connection)
        return session if isinstance(session, Pushable) else None

    # One connection.

    def _push(self, frame: Push) -> None:
        if frame.key is not None and self._repeats(frame.key, frame.reply):
            return
        event = check_event(frame.event)
        client = self._find(frame.connection)
        status = GONE if client is None else client.push(event)
        if frame.key is not None:
            self._remember(frame.key, (status, None))
        if status is FULL:
            self._count_overflow(client, None)
        if status is OK and frame.confirm and client is not None:
            client.when_flushed(lambda flushed: self._answer(frame.reply, flushed, None))
        else:
            self._answer(frame.reply, status, None)

    def _info(self, frame: Info) -> None:
        client = self._find(frame.connection)
        if client is None:
            self._answer(frame.reply, GONE, None)
        else:
            info = client.info()
            info["groups"] = self.memberships.of(client)
            self._answer(frame.reply, OK, info)

    def _repeats(self, key: Any, reply: Reply) -> bool:
        """Answer a repetition as the first time was answered."""
        if not isinstance(key, str) or len(key) > 128:
            raise TypeError("an idempotency key is a str of at most 128 characters")
        now = self._loop.time()
        while self._seen and next(iter(self._seen.values()))[0] <= now:
            del self._seen[next(iter(self._seen))]
        seen = self._seen.get(key)
        if seen is None:
            return False
        self._answer(reply, *seen[1])
        return True

    def _remember(self, key: str, answer: Answer) -> None:
        if len(self._seen) >= _MAX_KEYS:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = (self._loop.time() + DEDUPLICATE_S, answer)

    # Groups.

    def _group_add(self, frame: GroupAdd) -> None:
        group = check_group(frame.group)
        client = self._find(frame.connection)
        if client is None:
            self._answer(frame.reply, GONE, None)
            return
        self.memberships.add(group, client)

        def registered(done: bool) -> None:
            text = None if done else "Redis did not take the registration; it is tried again"
            self._answer(frame.reply, OK if done else BAD, text)

        if group in self._registered:
            registered(True)
        else:
            self._register(group, registered)

    def _register(self, group: str, then: Callable[[bool], None]) -> None:
        """Have Redis know that this process has members; all who wait hear of one answer."""
        waiting = self._registering.get(group)
        if waiting is not None:
            waiting.append(then)
            return
        self._registering[group] = [then]

        def on_registered(done: bool) -> None:
            if done:
                self._registered.add(group)
            for one in self._registering.pop(group, ()):
                one(done)

        self._layer.register_group(group, on_registered)
        if self._asserting is None:
            self._asserting = self._loop.call_later(ASSERT_EVERY_S, self.assert_groups)

    def assert_groups(self) -> None:
        """Register all groups again: Redis may have lost them, or they may be about to expire."""
        self._registered.clear()
        if self._asserting is not None:
            self._asserting.cancel()
            self._asserting = None
        for group in self.memberships.names():
            self._register(group, _nothing)

    def _group_discard(self, frame: GroupDiscard) -> None:
        group = check_group(frame.group)
        client = self._find(frame.connection)
        if client is not None and self.memberships.discard(group, client):
            self._loop.call_later(LINGER_S, self._maybe_unregister, group)
        self._answer(frame.reply, OK, None)

    def left(self, client: Pushable) -> None:
        """A connection is over: it leaves all its groups."""
        for group in self.memberships.leave_all(client):
            self._loop.call_later(LINGER_S, self._maybe_unregister, group)

    def _maybe_unregister(self, group: str) -> None:
        if not self.memberships.members(group) and group not in self._registering:
            self._registered.discard(group)
            self._layer.unregister_group(group)

    def _group_send(self, frame: GroupSend) -> None:
        if frame.key is not None and self._repeats(frame.key, frame.reply):
            return
        group = check_group(frame.group)
        sent = self._send_to_members(group, check_event(frame.event), frozenset(frame.exclude))
        if not self.memberships.members(group):
            # Somebody still thinks that there are members here.
            self._maybe_unregister(group)
        if frame.key is not None:
            self._remember(frame.key, (OK, sent))
        self._answer(frame.reply, OK, sent)

    def _send_to_members(self, group: str, event: Message, exclude: frozenset[str]) -> int:
        """Write an event to all members; encoded once for each form that they negotiated."""
        sent = 0
        full: list[Pushable] = []
        frames: dict[bool, bytes] = {}
        payload = event.get("text") if event["type"] == "websocket.send" else None
        if payload is None:
            payload = event.get("bytes")
        for client in list(self.memberships.members(group)):
            if exclude and client.connection in exclude:
                continue
            form = client.frame_form
            if form is None or payload is None:
                taken = client.push(event)
                sent += taken is OK
                if taken is FULL:
                    full.append(client)
                continue
            frame = frames.get(form)
            if frame is None:
                frame = frames[form] = encode_message(payload, form)
            if client.push_frame(frame):
                sent += 1
            else:
                full.append(client)
        for client in full:
            self._count_overflow(client, group)
        return sent

    def _group_list(self, frame: GroupList) -> None:
        members = self.memberships.members(check_group(frame.group))
        self._answer(frame.reply, OK, [client.connection for client in members])

    def _count_overflow(self, client: Pushable | None, group: str | None) -> None:
        self.overflowed += 1
        if client is not None:
            _log.warning(
                "closed with 1013, it takes less than is pushed: %s group=%s",
                client.describe(),
                group,
            )

    # Answers.

    def _answer(self, reply: Reply, status: str, payload: Any) -> None:
        """Answer at the end of this turn, all answers for one pusher in one entry."""
        if reply is None:
            return
        reply_id, number = reply
        if not self._answers:
            self._loop.call_soon(self._flush)
        self._answers.setdefault(reply_id, []).append((number, status, payload))

    def _flush(self) -> None:
        answers, self._answers = self._answers, {}
        for reply_id, entries in answers.items():
            self._layer.answer(reply_id, pack(entries))
        self._layer.flush()


def check_reply(reply: Any) -> None:
    """Raise ProtocolError unless a push says where its answer goes, or that it wants none."""
    if reply is None:
        return
    if reply.__class__ is not tuple or len(reply) != 2:
        raise ProtocolError("a push whose reply is not [id, number]")
    if reply[0].__class__ is not str or reply[1].__class__ is not int or len(reply[0]) > 64:
        raise ProtocolError("a push whose reply is not [id, number]")


def check_event(event: Any) -> Message:
    """Return what may be pushed to a WebSocket.

    Raises:
        TypeError, ValueError: It is no `websocket.send` or `websocket.close`, or a broken one.
    """
    if event.__class__ is not dict:
        raise TypeError("a push needs an event")
    kind = event.get("type")
    if kind == "websocket.send":
        text, data = event.get("text"), event.get("bytes")
        if (text.__class__ is str) is (data.__class__ is bytes):
            raise TypeError("websocket.send needs one of text: str and bytes: bytes")
    elif kind == "websocket.close":
        code, reason = event.get("code", 1000), event.get("reason") or ""
        if code.__class__ is not int or not (1000 <= code <= 4999):
            raise ValueError(f"close code {code!r}: 1000 to 4999")
        if reason.__class__ is not str or len(reason.encode()) > 123:
            raise ValueError("a close reason is a str of at most 123 bytes")
    else:
        raise ValueError(f"event {kind!r}: websocket.send or websocket.close can be pushed")
    return dict(event)


def _nothing(_done: bool) -> None:
    return None
