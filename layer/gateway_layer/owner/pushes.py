"""Carries out what other services push to this server's connections, and answers them.

Whoever can write to this process's `{PID}:push` list can reach a client without a worker: the
frames are those of `gateway_layer.push.frames`. Memberships of groups live here, at the owner of
the connections; Redis only knows that this process has members.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from gateway_layer.base import ChannelLayer
from gateway_layer.codec import Message, pack
from gateway_layer.errors import MessageTooLarge, ProtocolError
from gateway_layer.groups import ASSERT_EVERY_S, LINGER_S, Memberships, check_group
from gateway_layer.node import MALFORMED, Node
from gateway_layer.owner.pushable import Pushable
from gateway_layer.push.events import check_event, check_key
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
from gateway_layer.redis.keys import REPLY_TTL_S
from gateway_layer.wire import read_entry

_log = logging.getLogger("gateway.push")

_MAX_KEYS: Final = 100_000
"""Idempotency keys that are remembered; beyond it the oldest go before their 60 s."""

_REGISTER_AGAIN_S: Final = 1.0
"""A registration that Redis refused is tried again after so long."""

_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.002, 0.05
"""How often the buffers of clients with confirmed pushes are looked at; slower ones less often."""

_REPLY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Answer = tuple[str, Any]
"""(status, payload) of one push."""

Registered = Callable[[bool], None]


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
        self._seen: OrderedDict[tuple[str, str], tuple[float, Answer]] = OrderedDict()
        self._unconfirmed: dict[Pushable, list[tuple[float, Reply]]] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._answers: dict[str, list[tuple[int, str, Any]]] = {}
        self._registered: set[str] = set()
        self._registering: dict[str, list[Registered]] = {}
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
        for timer in (self._asserting, self._looking):
            if timer is not None:
                timer.cancel()
        for group in {*self._registered, *self._registering}:
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
                    reason = f"a push of {sender!r}: {type(error).__name__}: {error}"
                    self._node.drop(reason, sender)
                    continue
                self.received += 1
                try:
                    handle(frame)
                except (TypeError, ValueError, MessageTooLarge) as error:
                    self._answer(frame.reply, BAD, str(error))
                except Exception:  # a fault of ours, which harms no other push of this entry
                    _log.exception("a push of %r failed", sender[:64])
                    self._answer(frame.reply, BAD, "the interface server could not carry it out")

    def _find(self, connection: str) -> Pushable | None:
        session: object = self._node.sessions.get(connection)
        return session if isinstance(session, Pushable) else None

    # One connection.

    def _push(self, frame: Push) -> None:
        event, key = check_event(frame.event), check_key(frame.key)
        client = self._find(frame.connection)
        if client is None:
            self._answer(frame.reply, GONE, None)
            return
        # A key is its connection's: the same word may be used for many.
        seen = key and self._remembered(frame.connection, key)
        if seen:
            status = seen[0]
        else:
            status = client.push(event)
            if key:
                self._remember(frame.connection, key, (status, None))
            if status is FULL:
                self._count_overflow(client, None)
        if status is OK and frame.confirm:
            self._confirm(client, frame.reply)
        else:
            self._answer(frame.reply, status, None)

    def _confirm(self, client: Pushable, reply: Reply) -> None:
        """Answer when the client's kernel buffer took everything; nobody waits beyond 30 s."""
        waiting = self._unconfirmed.setdefault(client, [])
        waiting.append((self._loop.time() + REPLY_TTL_S, reply))
        if self._looking is None:
            self._looking = self._loop.call_later(0, self._look, _FIRST_LOOK_S)

    def _look(self, next_look_s: float) -> None:
        """Look at all buffers with one timer: some may stay full for long."""
        now = self._loop.time()
        for client, waiting in list(self._unconfirmed.items()):
            status = client.flushed()
            if status is not None:
                for _until, reply in waiting:
                    self._answer(reply, status, None)
                next_look_s = _FIRST_LOOK_S
            if status is not None or waiting[-1][0] <= now:
                del self._unconfirmed[client]
            elif waiting[0][0] <= now:
                self._unconfirmed[client] = [one for one in waiting if one[0] > now]
        self._looking = None
        if self._unconfirmed:
            later_s = min(next_look_s * 2, _LONGEST_LOOK_S)
            self._looking = self._loop.call_later(next_look_s, self._look, later_s)

    def _info(self, frame: Info) -> None:
        client = self._find(frame.connection)
        if client is None:
            self._answer(frame.reply, GONE, None)
        else:
            info = client.info()
            info["groups"] = self.memberships.of(client)
            self._answer(frame.reply, OK, info)

    def _remembered(self, where: str, key: str) -> Answer | None:
        """Return what a push with this key was answered within the last 60 s."""
        now = self._loop.time()
        while self._seen and next(iter(self._seen.values()))[0] <= now:
            self._seen.popitem(last=False)
        seen = self._seen.get((where, key))
        return seen and seen[1]

    def _remember(self, where: str, key: str, answer: Answer) -> None:
        if len(self._seen) >= _MAX_KEYS:
            self._seen.popitem(last=False)
        self._seen[where, key] = (self._loop.time() + DEDUPLICATE_S, answer)

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

    def _register(self, group: str, then: Registered | None = None) -> None:
        """Have Redis know that this process has members; all who wait hear of one answer."""
        waiting = self._registering.get(group)
        if waiting is not None:
            if then is not None:
                waiting.append(then)
            return
        self._registering[group] = [] if then is None else [then]

        def on_registered(done: bool) -> None:
            waiting = self._registering.pop(group, ())
            if done:
                self._registered.add(group)
                # Perhaps all have left meanwhile.
                self._loop.call_later(LINGER_S, self._maybe_unregister, group)
            else:
                self._loop.call_later(_REGISTER_AGAIN_S, self._maybe_register, group)
            for one in waiting:
                one(done)

        self._layer.register_group(group, on_registered)
        if self._asserting is None:
            self._asserting = self._loop.call_later(ASSERT_EVERY_S, self.assert_groups)

    def _maybe_register(self, group: str) -> None:
        missing = group not in self._registered and self.memberships.members(group)
        # Without Redis `assert_groups` does it, as soon as it is back.
        if missing and self._layer.available:
            self._register(group)

    def assert_groups(self) -> None:
        """Register all groups again: Redis may have lost them, or they may be about to expire."""
        self._registered.clear()
        if self._asserting is not None:
            self._asserting.cancel()
            self._asserting = None
        for group in self.memberships.names():
            self._register(group)

    def _group_discard(self, frame: GroupDiscard) -> None:
        group = check_group(frame.group)
        client = self._find(frame.connection)
        stays = client is None or client.keeps_groups
        if client is not None and not stays and self.memberships.discard(group, client):
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
        group, event = check_group(frame.group), check_event(frame.event)
        exclude, key = frozenset(frame.exclude), check_key(frame.key)
        where = f"group {group}"
        seen = key and self._remembered(where, key)
        if seen:
            self._answer(frame.reply, *seen)
            return
        sent = self._send_to_members(group, event, exclude)
        if not self.memberships.members(group):
            # Somebody still thinks that there are members here.
            self._maybe_unregister(group)
        if key:
            self._remember(where, key, (OK, sent))
        self._answer(frame.reply, OK, sent)

    def _send_to_members(self, group: str, event: Message, exclude: frozenset[str]) -> int:
        """Write an event to all members; encoded once for each form that they negotiated."""
        sent = 0
        full: list[Pushable] = []
        frames: dict[Hashable, bytes] = {}
        payload = event.get("text", event.get("bytes"))  # a close has neither
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
                frame = frames[form] = client.encode(payload)
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
    if reply.__class__ is not tuple or len(reply) != 2 or reply[1].__class__ is not int:
        raise ProtocolError("a push whose reply is not [id, number]")
    if reply[0].__class__ is not str or not _REPLY_ID.fullmatch(reply[0]):
        raise ProtocolError("a push whose reply list is no name")
