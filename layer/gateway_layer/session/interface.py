"""The interface server's side of a connection's session: owner, numbering, window, credit.

It keeps what no instance has confirmed (the journal): after the worker died, or let go of the
connection, the next instance gets it again. An instance is known by its epoch and its worker; what
any other says does not count.
"""

from abc import ABC, abstractmethod
from collections import deque
from enum import Enum, auto
from typing import Any, ClassVar, Final

from gateway_layer.codec import Message, pack
from gateway_layer.errors import ProtocolError
from gateway_layer.session.parts import cut_turn
from gateway_layer.wire import (
    CHUNK_BYTES,
    CLAIM,
    CREDIT,
    DATA,
    DETACH,
    DONE,
    EVENTS,
    MAX_STATE_BYTES,
    REFUSE,
    RELEASE,
    RELEASED,
    RESET,
    Credit,
    Released,
    Reset,
)

_STREAM: Final = 0

_NOT_KEPT: Final[list[Message]] = []


class State(Enum):
    """Where a connection stands; CLOSED is absorbing."""

    QUEUED = auto()
    """An opening is in the shared queue, or about to be; nobody has claimed it."""
    BOUND = auto()
    """A worker runs an instance for the current epoch; only its frames count."""
    DETACHED = auto()
    """No instance runs, and none is asked for yet."""
    CLOSED = auto()


_QUEUED, _BOUND, _DETACHED, _CLOSED = State  # bound once: an Enum's attribute costs 50 ns


Entry = tuple[int, list[Message], int]
"""One event of the journal: number of its last part, its parts, its cost. (A NamedTuple would cost
0.2 us an event more.)"""


class InterfaceSession(ABC):
    """One connection at its owner. Subclasses speak the client's protocol through the hooks.

    Attributes:
        connection: The connection's id, the local part of its reply channel.
        epoch: Number of the current opening; raised by each push of it.
        worker: pid of the bound worker, None unless BOUND.
        resumed: How many instances the connection had before the present epoch.
        kept: The connection's state as last confirmed, packed; None: it has none.
        gated: Events wait, whatever credit there is: the instance is not ready for them.
        releasing: The worker wants to let go of the connection: why; None: it does not.
        released: It was told that it may; what it does from now on is its instance's end.
        dirty: The session waits in the node's list of those with something to send.
    """

    KEEPS_EVENTS: ClassVar[bool] = True
    """Whether unconfirmed events go to the next instance; without it they are only counted."""

    __slots__ = (
        "_credit_due",
        "_drained",
        "_events",
        "_first",
        "_granted",
        "_held",
        "_journal",
        "_outstanding",
        "_released_due",
        "_seq",
        "_turn_cost",
        "_window",
        "connection",
        "dirty",
        "epoch",
        "gated",
        "kept",
        "released",
        "releasing",
        "resumed",
        "state",
        "window",
        "worker",
    )

    def __init__(self, connection: str, window: int) -> None:
        """Begin QUEUED, before the first push.

        Args:
            connection: The connection's id.
            window: Cost of events that the worker may have under way to the client.
        """
        self.connection = connection
        self.window = window
        self.state = _QUEUED
        self.epoch = 0
        self.worker: str | None = None
        self.dirty = False
        self.resumed = 0
        self.kept: bytes | None = None
        self._journal: deque[Entry] | None = None
        self._held: deque[tuple[list[Message], int]] | None = None
        self._begin_counts()

    def _begin_counts(self) -> None:
        """Begin an epoch: numbers, costs and totals count from its start, on both sides."""
        self.gated = False
        self.releasing: str | None = None
        self.released = False
        self._released_due = False
        self._window = 0
        self._events: list[Message] = []
        self._turn_cost = 0
        self._first = 1
        self._seq = 0
        self._outstanding = 0
        self._granted = self.window
        self._drained = 0
        self._credit_due = False

    # What the client's protocol does with it.

    @abstractmethod
    def on_events(self, events: tuple[Message, ...]) -> None:
        """Carry out what the application sent in one turn of its loop."""

    @abstractmethod
    def on_claimed(self) -> None:
        """A worker has taken the connection, and has not ended it in the same turn."""

    @abstractmethod
    def on_confirmed(self, seq: int) -> None:
        """The application has asked for an event after the `seq`-th; see `congested` anew."""

    @abstractmethod
    def on_done(self, outcome: str) -> None:
        """The instance ended before its protocol did: `returned`, `error` or `drain`."""

    @abstractmethod
    def on_refused(self) -> None:
        """The opening was certainly not started; it may be pushed again."""

    @abstractmethod
    def on_detached(self, reason: str) -> None:
        """The worker has let go of the connection: `drain` or `hibernate`. It is DETACHED."""

    def on_wanted(self) -> None:  # noqa: B027 - a request has no use for it
        """There is an event for an instance, and none runs or is asked for."""

    @abstractmethod
    def on_lost(self, reason: str) -> None:
        """The worker died, or has forgotten this connection."""

    @abstractmethod
    def on_room(self) -> None:
        """The link to the worker is not full any more: `release_held`, and read on."""

    @abstractmethod
    def on_malformed(self, reason: str) -> None:
        """The worker sent something that cannot be read; end this connection visibly."""

    @abstractmethod
    def mark(self) -> None:
        """Have the node call `take_frames` at the end of this turn."""

    def claim_room(self, _cost: int) -> bool:
        """Take room on the way to Redis for a held event; False: call `release_held` later."""
        return True

    @property
    def blocked(self) -> bool:
        """Whether the link to the worker is full; `on_room` follows."""
        return False

    # Inputs from the client's side.

    @property
    def peer(self) -> str | None:
        """The process at the other end: the bound worker, or None."""
        return self.worker

    @property
    def congested(self) -> bool:
        """Whether events wait for credit, so that the socket should not be read."""
        return bool(self._held)

    def next_epoch(self) -> int:
        """Begin a new opening and return its number.

        What the last instance has not confirmed waits for the next, in front of what has come
        since; counts and totals of the last epoch are void.
        """
        if self.epoch:
            self.begin_again()
            self._begin_counts()
        self.epoch += 1
        self.state = _QUEUED
        self.worker = None
        return self.epoch

    def begin_again(self) -> None:
        """Have the next instance get what the last one has not confirmed."""
        if self._journal:
            again = deque((parts, cost) for _seq, parts, cost in self._journal)
            again.extend(self._held or ())
            self._held = again
            self._journal = None

    def detach(self) -> None:
        """The instance is over; the connection stays, and waits for its next epoch."""
        self.state = _DETACHED
        self.worker = None

    @property
    def unconfirmed(self) -> bool:
        """Whether the instance was given something that it has not confirmed."""
        return bool(self._journal)

    @property
    def waiting(self) -> bool:
        """Whether a next instance would have something to do at once."""
        return bool(self._journal) or bool(self._held)

    def emit(self, parts: list[Message], cost: int) -> None:
        """Send one event, in one or more parts, as soon as there is credit for it.

        Args:
            parts: What `split_event` returned, or the event alone.
            cost: Payload bytes + EVENT_OVERHEAD, for the whole event.
        """
        state = self.state
        if state is _BOUND and not self._held and not self.gated and self._fits(cost):
            self._take_on(parts, cost)
        elif state is not _CLOSED:
            if self._held is None:
                self._held = deque()
            self._held.append((parts, cost))
            if state is _DETACHED:
                self.on_wanted()

    def drained(self, cost: int) -> None:
        """Count events that the client's socket has taken; grants credit for more."""
        self._drained += cost
        if (self._drained + self.window - self._granted) * 2 >= self.window:
            self._granted = self._drained + self.window
            self._credit_due = True
            self.mark()

    def emit_last(self, event: Message) -> None:
        """Send the last event, past any credit; it is kept until it is confirmed."""
        if self.state is _BOUND and not self.gated:
            while self._held:
                self._take_on(*self._held.popleft())
            self._take_on([event], 0)
        else:
            if self._held is None:
                self._held = deque()
            self._held.append(([event], 0))

    def close(self, last_event: Message | None = None) -> None:
        """End the session; a bound worker is told by `last_event`, past any credit."""
        if self.state is _BOUND and last_event is not None:
            while self._held:
                self._take_on(*self._held.popleft())
            self._take_on([last_event], 0)
        self.state = _CLOSED

    # Inputs from the wire.

    def handle(self, sender: str, frame: tuple[Any, ...]) -> bytes | None:
        """Take in one frame of a worker; only the bound one's of the current epoch count.

        Returns:
            A packed frame for the sender when its frame did not count (fencing), else None.

        Raises:
            ProtocolError: The frame is malformed.
        """
        op, epoch = frame[1], frame[2]
        state = self.state
        if state is _CLOSED:
            return self._reset(epoch) if op == CLAIM else None
        if epoch != self.epoch:
            return self._reset(epoch)
        if sender == self.worker:
            if op == DATA:
                _connection, _op, _epoch, events, confirmed, kept = frame
                self._take_in(events, confirmed, kept)
            elif op == DONE:
                self.on_done(frame[3])
            elif op == RELEASE:
                self._stop_events(frame[3])
            elif op == DETACH:
                self._let_go(frame[3], frame[4])
            else:
                self.handle_more(frame)
        elif state is _QUEUED and op == CLAIM:
            self._bind(sender, frame)
        elif state is _QUEUED and op == REFUSE:
            self.on_refused()
        else:
            return self._reset(epoch)
        return None

    def handle_more(self, frame: tuple[Any, ...]) -> None:
        """Take in a frame of the bound worker that not every session has.

        Raises:
            ProtocolError: This one has none such.
        """
        raise ProtocolError(f"op {frame[1]!r} from the bound worker")

    def _bind(self, worker: str, frame: tuple[Any, ...]) -> None:
        _connection, _op, _epoch, events, confirmed, kept, window = frame
        if window.__class__ is not int or window < 0:
            raise ProtocolError("a claim without a window")
        self.worker = worker
        self.state = _BOUND
        self._window = window
        if self._held:
            self.release_held()
        self._take_in(events, confirmed, kept)
        if self.state is _BOUND:
            self.on_claimed()

    def _take_in(
        self, events: tuple[Message, ...], confirmed: int | None, kept: bytes | None
    ) -> None:
        """Carry out a frame as a whole: what was sent, then what was handled, and the state."""
        if events:
            self.on_events(events)
        if self.state is _BOUND:
            if kept is not None:
                self._keep(kept)
            if confirmed is not None:
                self._confirm(confirmed)

    def _keep(self, kept: Any) -> None:
        if kept.__class__ is not bytes or len(kept) > MAX_STATE_BYTES:
            raise ProtocolError(f"a state that is not at most {MAX_STATE_BYTES} bytes")
        self.kept = kept

    def _stop_events(self, reason: Any) -> None:
        """The worker wants to let go: give it nothing more, and say when it has handled all."""
        if reason.__class__ is not str:
            raise ProtocolError("a release without a reason")
        self.releasing = reason
        self.gated = True
        self._maybe_released()

    def _maybe_released(self) -> None:
        if self.releasing is not None and not self.released and not self._journal:
            self.released = self._released_due = True
            self.mark()

    def _let_go(self, reason: Any, kept: bytes | None) -> None:
        if reason.__class__ is not str:
            raise ProtocolError("a detachment without a reason")
        if kept is not None:
            self._keep(kept)
        self.detach()
        self.on_detached(reason)

    def _reset(self, epoch: int) -> bytes:
        return pack(Reset(self.connection, RESET, epoch))

    # Numbering, window and credit.

    def _fits(self, cost: int) -> bool:
        # The first event may overdraw, so that one larger than the window passes at all.
        fits = self._outstanding == 0 or self._outstanding + cost <= self._window
        return fits and not self.blocked

    def _take_on(self, parts: list[Message], cost: int) -> None:
        self._events += parts
        self._turn_cost += cost
        self._seq += len(parts)
        self._outstanding += cost
        if self._journal is None:
            self._journal = deque()
        self._journal.append((self._seq, parts if self.KEEPS_EVENTS else _NOT_KEPT, cost))
        self.mark()

    def release_held(self) -> None:
        """Send what waited for credit, as far as credit and the way to Redis allow now."""
        held = self._held
        while held and self.state is _BOUND and not self.gated and self._fits(held[0][1]):
            if not self.claim_room(held[0][1]):
                return
            self._take_on(*held.popleft())

    def _confirm(self, seq: int) -> None:
        if seq.__class__ is not int or seq > self._seq:
            raise ProtocolError(f"confirmation of event {seq!r}, {self._seq} were sent")
        journal = self._journal
        while journal and journal[0][0] <= seq:
            _seq, _parts, cost = journal.popleft()
            self._outstanding -= cost
        if self._held:
            self.release_held()
        if self.releasing is not None:
            self._maybe_released()
        self.on_confirmed(seq)

    # Output.

    def take_frames(self) -> list[bytes]:
        """Return the packed frames of this turn for the bound worker, and forget them."""
        frames: list[bytes] = []
        events = self._events
        if events:
            self._events = []
            runs = cut_turn(events) if self._turn_cost > CHUNK_BYTES else [events]
            self._turn_cost = 0
            for run in runs:
                frame = (self.connection, EVENTS, self.epoch, _STREAM, self._first, run)
                frames.append(pack(frame))
                self._first += len(run)
        if self._credit_due:
            self._credit_due = False
            frames.append(pack(Credit(self.connection, CREDIT, self.epoch, self._granted)))
        if self._released_due:
            self._released_due = False
            frames.append(pack(Released(self.connection, RELEASED, self.epoch)))
        return frames
