"""A connection that outlives its instances: when a worker goes, another goes on with it.

What a client said and no instance has confirmed, the connection's state and its groups stay with
the owner. A protocol says through the hooks how its client is answered, told and closed; reasons
are given by the numbers of HTTP before an instance has accepted (RFC 9110 15), by those of
WebSocket after it (RFC 6455 7.4.1), whatever the protocol makes of them.
"""

import logging
from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar, Final

from gateway_layer.codec import Message, pack
from gateway_layer.errors import ProtocolError
from gateway_layer.owner.channelled import ChannelledSession
from gateway_layer.owner.owner import FOREVER, Owner
from gateway_layer.owner.phase import (
    INTERNAL_ERROR,
    NORMAL,
    SERVICE_RESTART,
    TRY_AGAIN_LATER,
    Phase,
)
from gateway_layer.owner.pushable import Pushable
from gateway_layer.push.frames import FULL, GONE, OK
from gateway_layer.session import PART, State, event_cost, join_parts
from gateway_layer.wire import RESET, Reset

_log = logging.getLogger("gateway.interface")

_ACCEPT_S: Final = 10.0
"""How long the next instance may take to accept a connection that is open."""

_DEATHS: Final = 3
"""So many instances of one connection may die over what they were given, in a row."""

_WAITING, _OPEN, _CLOSING, _DENYING, _OVER = Phase  # bound once: an Enum's attribute costs 50 ns
_BOUND, _DETACHED, _CLOSED = State.BOUND, State.DETACHED, State.CLOSED


class ResumableSession(ChannelledSession, Pushable):
    """One client's connection.

    Attributes:
        KIND: Set by each protocol: the scope's type, and what the types of its events begin with.
        owner: What all connections share.
        phase: What the connection does now.
        deadline: When what is waited for has to have come, by the loop's clock.
        resumable: The application said so when it accepted.
        resuming: The next instance has not accepted yet.
        left: The client has; only the application does not know it for certain.
    """

    KIND: ClassVar[str] = ""
    _SENDS: ClassVar[str]

    __slots__ = (
        "_deaths",
        "_early",
        "_parts",
        "deadline",
        "left",
        "owner",
        "phase",
        "resumable",
        "resuming",
    )

    def __init_subclass__(cls) -> None:
        """Put together once what would be put together each turn."""
        super().__init_subclass__()
        cls._SENDS = f"{cls.KIND}.send"

    def __init__(self, owner: Owner) -> None:
        """Begin without an opening; `start` asks the workers."""
        super().__init__(owner.ids.new(), owner.bounds.window_bytes)
        self.owner = owner
        self.phase = _WAITING
        self.deadline = FOREVER
        self.resumable = False
        self.resuming = False
        self.left = False
        self._deaths = 0
        self._early: list[Message] | None = None
        self._parts: list[Message] | None = None

    def start(self, queue: str, scope: Message) -> None:
        """Ask the workers of a queue.

        Args:
            queue: As `names.queue_name` names it.
            scope: Of ASGI's types alone; its type is KIND.
        """
        owner = self.owner
        owner.node.sessions[self.connection] = self
        self.deadline = owner.loop.time() + owner.bounds.queue_deadline_s
        owner.openings.open(self, queue, self.KIND, pack({**scope, "type": self.KIND}))

    def mark(self) -> None:
        """Have this session's frames sent at the end of the turn."""
        if not self.dirty:
            self.owner.node.mark(self)

    # What a protocol does with it.

    @abstractmethod
    def accept(self, event: Message) -> None:
        """The application accepts: answer the client and call `opened`, or `refuse`."""

    def accept_again(self, event: Message) -> None:
        """The next instance accepts a client who knows nothing of it; may call `close_client`."""

    @abstractmethod
    def refuse(self, status: int, reason: str) -> None:
        """Turn away a client whose connection was not accepted; calls `end_session`."""

    @abstractmethod
    def close_client(self, code: int, reason: str, *, told: bool = False) -> None:
        """Tell an accepted client of the end; calls `end_session` with the same arguments."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Write what `encode` returned for the events of one turn."""

    @abstractmethod
    def sent(self, cost: int) -> None:
        """Events of this cost were written: call `drained` when the client has taken them."""

    @abstractmethod
    def read_on(self) -> None:
        """A reason to read nothing of the client may be gone."""

    def carry_out(self, kind: str, event: Message) -> None:
        """Carry out an event that is not `.accept`, `.send` or `.close`.

        Raises:
            ProtocolError: It is none of this protocol's, or has no place here.
        """
        raise ProtocolError(f"event {kind!r} while {self.phase.name}")

    def set_deadline(self) -> None:
        """Nothing is waited for any more but the client."""
        self.deadline = FOREVER

    # The end.

    def end_session(self, code: int, reason: str, *, told: bool = False) -> None:
        """The connection is over: tell the application, and forget the connection.

        Where it can be resumed, the end is an event like others: if the worker dies over it, the
        next instance hears of it.

        Args:
            code: Of the disconnect event.
            reason: Of it.
            told: The application knows, or there is none any more.
        """
        if self.state is _CLOSED or self.left:
            return
        self.owner.pushes.left(self)
        self.owner.channels.left(self.connection)
        self.drop_messages()
        event = {"type": f"{self.KIND}.disconnect", "code": code, "reason": reason}
        if self.resumable and not told:
            self.left = True
            self.emit_last(event)
            if self.state is _DETACHED:
                self._reopen()
            return
        self.close(None if told else event)
        self._forget()

    def _forget(self) -> None:
        """Nobody has anything more to say to this connection's application."""
        self.owner.openings.forget(self)
        self.state = _CLOSED
        self.owner.node.sessions.pop(self.connection, None)

    def give_up(self, status: int, reason: str, code: int, *, told: bool = False) -> None:
        """Refuse with a status before the application accepted, close with a code after it."""
        if self.phase is _WAITING:
            self.refuse(status, reason)
        elif self.phase is _OPEN or self.phase is _DENYING:
            self.close_client(code, reason, told=told)
        elif self.left:
            self._forget()

    def drain(self) -> None:
        """The server stops."""
        self.give_up(503, "the server stops", SERVICE_RESTART)

    # From the worker.

    def on_events(self, events: tuple[Message, ...]) -> None:
        """Write what the application sent in one turn, all messages in one piece."""
        if self.left:
            self._on_events_of_the_left(events)
            return
        chunks: list[bytes] = []
        cost = 0
        for event in events:
            if PART in event:
                self._parts = [*(self._parts or ()), event]
                continue
            if self._parts:
                event = join_parts(self._parts, event)
                self._parts = None
            kind = event["type"]
            if kind == self._SENDS:
                if self.phase is not _OPEN or self.resuming:
                    raise ProtocolError(f"event {kind!r} before the application accepted")
                text = event.get("text")
                chunks.append(self.encode(event["bytes"] if text is None else text))
            else:
                if chunks:
                    self.write(b"".join(chunks))
                    chunks = []
                self._handle(kind, event)
            cost += event_cost(event)
        if chunks:
            self.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if self.state is _BOUND:
            self.sent(cost)

    def _handle(self, kind: str, event: Message) -> None:
        """Carry out an event that is not a message."""
        if kind == f"{self.KIND}.accept" and self.phase is _WAITING:
            self.accept(event)
            self.resumable = event.get("resume") is True
        elif kind == f"{self.KIND}.accept" and self.resuming:
            self._resume(event)
        elif kind != f"{self.KIND}.close":
            self.carry_out(kind, event)
        elif self.phase is _WAITING:
            self.refuse(403, "Forbidden")
        else:
            self.close_client(event["code"], event.get("reason") or "", told=True)

    def opened(self) -> None:
        """The client has its answer: now it gets what was pushed to it before."""
        self.phase = _OPEN
        early, self._early = self._early, None
        for event in early or ():
            self.push(event)

    # Instances that follow one another.

    @property
    def repeatable(self) -> bool:
        """Whether another instance may be started; an open connection says so when it accepts."""
        return self.phase is _WAITING or self.resumable

    def next_epoch(self) -> int:
        """Begin a new opening; an open connection's next instance has to accept it first."""
        epoch = super().next_epoch()
        self._parts = None
        if self.phase is not _WAITING:
            self.gated = self.resuming = True
        return epoch

    def _reopen(self) -> None:
        paced, suspect = self.phase is not _WAITING, self._deaths == _DEATHS - 1
        self.owner.openings.reopen(self, paced=paced, suspect=suspect)
        if self.phase is _WAITING:
            self.deadline = self.owner.loop.time() + self.owner.bounds.queue_deadline_s

    def _resume(self, event: Message) -> None:
        """Take the `accept` of a further instance."""
        self.resuming = False
        self.resumable = event.get("resume") is True
        self.gated = self.releasing is not None
        self.accept_again(event)
        if self.phase is _OPEN:
            self.set_deadline()
            self.on_room()
            if self._deaths and not self.waiting:
                self.owner.openings.proven(self)  # there is nothing that it could die of

    def _on_events_of_the_left(self, events: tuple[Message, ...]) -> None:
        """The client has left: let an instance accept, so that it hears of that, and no more."""
        if self.resuming and events[0]["type"] == f"{self.KIND}.accept":
            self.resuming = False
            self.gated = self.releasing is not None
            self.release_held()
        elif self.resuming:
            self._forget()  # it does not want the connection
        if self.state is _BOUND:
            # Nobody takes it; but without credit the instance never asks for its next event.
            self.drained(sum(map(event_cost, events)))

    def emit_message(self, channel: int, parts: list[Message], cost: int) -> bool:
        """Send a message to a channel of the connection, which may get an instance by it."""
        taken = not self.left and super().emit_message(channel, parts, cost)
        if taken and self.state is _DETACHED:
            self._reopen()
        return taken

    def on_listen(self, prefix: str, expiry_ms: int, group_expiry_ms: int) -> None:
        """The application has channels in a channel layer."""
        self.owner.channels.listen(prefix, expiry_ms, group_expiry_ms)

    def on_detached(self, reason: str) -> None:
        """The worker has let go: another gets the connection, now or when there is an event."""
        if self.left and not self.waiting:
            self._forget()
        elif reason != "hibernate" or self.waiting:
            self._reopen()

    def on_wanted(self) -> None:
        """There is something to do for an instance."""
        self._reopen()

    def on_lost(self, reason: str) -> None:
        """The worker died, or has forgotten this connection: another one gets it, if it may."""
        if not self.repeatable:
            self.give_up(502, "the worker died", SERVICE_RESTART)
            return
        if self.unconfirmed or self.resuming or self.phase is _WAITING:
            self._deaths += 1  # whoever has confirmed all, and waits, did not die of it
            if self._deaths >= _DEATHS:
                _log.error("workers die of this connection, closed: %s", self.describe())
                self.give_up(502, "the workers died", INTERNAL_ERROR, told=True)
                return
        self._reopen()

    def no_accept(self) -> None:
        """The next instance has not accepted in time: that counts as its death."""
        if self.worker is not None:
            reset = pack(Reset(self.connection, RESET, self.epoch))
            self.owner.node.send(self.worker, [reset])
        self.on_lost("the application does not accept the connection again")

    def on_room(self) -> None:
        """The link to the worker is not full any more."""
        self.release_held()
        self.read_on()

    @property
    def blocked(self) -> bool:
        """Whether the link to the worker is full."""
        return self.worker in self.owner.node.full

    def on_confirmed(self, seq: int) -> None:
        """The application has consumed."""
        if seq and self._deaths:
            self._deaths = 0
            self.owner.openings.proven(self)
        self.read_on()
        if self.left and not self.waiting:
            self._forget()

    def on_claimed(self) -> None:
        """A worker has the connection; now it is its answer that is waited for."""
        self.owner.openings.claimed(self)
        self.release_messages()
        if self.resuming and not self.left:
            self.deadline = self.owner.loop.time() + _ACCEPT_S
        elif self.phase is _WAITING:
            timeout_s = self.owner.bounds.response_timeout_s
            self.deadline = self.owner.loop.time() + timeout_s if timeout_s else FOREVER

    def on_done(self, outcome: str) -> None:
        """The application ended without closing."""
        if self.left:
            self._forget()
        elif outcome == "returned" and self.phase is _OPEN:
            self.close_client(NORMAL, "", told=True)
        elif outcome == "drain" and self.repeatable:
            self._reopen()
        elif outcome == "drain":
            self.give_up(503, "the worker stopped", SERVICE_RESTART, told=True)
        else:
            self.give_up(500, "Internal Server Error", INTERNAL_ERROR, told=True)

    def on_refused(self) -> None:
        """Certainly not started: another worker shall have it."""
        self.owner.openings.give_back(self)

    def on_malformed(self, reason: str) -> None:
        """The worker sent what cannot be read."""
        self.give_up(502, "the worker sent an invalid event", INTERNAL_ERROR)

    def on_queue_full(self) -> None:
        """Too many connections wait already."""
        self.give_up(503, "too many connections are waiting", TRY_AGAIN_LATER, told=True)

    def on_expired(self) -> None:
        """No worker took the connection in time."""
        if self.phase is _WAITING and self.owner.openings.redis_was_away():
            self.on_unavailable()
        else:
            self.give_up(504, "no worker took the connection in time", TRY_AGAIN_LATER, told=True)

    def on_unavailable(self) -> None:
        """Redis is away."""
        reason = "the gateway has no connection to its workers"
        # An instance that there is hears of it when Redis is back.
        self.give_up(503, reason, TRY_AGAIN_LATER, told=self.state is not _BOUND)

    # From other services.

    @property
    def keeps_groups(self) -> bool:
        """Whether its instance ends by a hand-over: what it leaves now, the next is still in."""
        return self.released and self.state is _BOUND

    @property
    def frame_form(self) -> Hashable | None:
        """One encoding for all open connections of a protocol."""
        return self.KIND if self.phase is _OPEN else None

    def push(self, event: Message) -> str:
        """Send an event, hold it until the application has accepted, or close."""
        if self.phase is _WAITING:
            early = self._early = self._early or []
            early.append(event)
            if sum(map(event_cost, early)) <= self.window:
                return OK
            self.refuse(503, "too much was pushed before the application accepted")
            return FULL
        if self.phase is not _OPEN:
            return GONE
        if event["type"] == "websocket.close":
            self.close_client(event.get("code", NORMAL), event.get("reason") or "")
            return OK
        payload: Any = event.get("text", event.get("bytes"))
        return OK if self.push_frame(self.encode(payload)) else FULL
