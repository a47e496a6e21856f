"""The worker's side of a connection's session: claim, events, confirmations, credit."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from gateway_layer.codec import Message, pack, pack_message
from gateway_layer.errors import ApplicationError, ProtocolError
from gateway_layer.session.parts import PART, cut_turn, join_parts
from gateway_layer.wire import (
    CHUNK_BYTES,
    CLAIM,
    CREDIT,
    DATA,
    DETACH,
    DONE,
    EVENTS,
    HANDLED,
    LISTEN,
    MAX_STATE_BYTES,
    RELEASE,
    RELEASED,
    RESET,
    Detach,
    Done,
    Handled,
    Listen,
    Open,
    Release,
)


class WorkerSession(ABC):
    """One connection at the worker that runs its instance.

    Attributes:
        connection: The connection's id.
        interface: pid of its owner; the reply channel is `interface!connection`.
        epoch: Number of the opening that this instance was made for.
        dirty: The session waits in the node's list of those with something to send.
        inbox: Events that the application has not taken yet.
        keeps: The connection's state, the application's to change; None for a protocol without.
            It travels with the confirmations, packed if there is anything in it.
        explicit: The application confirms by itself.
    """

    __slots__ = (
        "_asked",
        "_claim_window",
        "_confirmed",
        "_credit",
        "_full",
        "_given",
        "_last",
        "_out",
        "_parts",
        "_peer",
        "_received",
        "_sent",
        "_state",
        "_state_due",
        "_turn_cost",
        "_window",
        "connection",
        "dirty",
        "epoch",
        "explicit",
        "inbox",
        "interface",
        "keeps",
    )

    def __init__(
        self,
        opening: Open,
        interface: str,
        window: int,
        full: Collection[str | None] = frozenset(),
    ) -> None:
        """Begin with an opening that this worker is about to start.

        Args:
            opening: The frame from the queue.
            interface: pid of the process that wrote it.
            window: Cost of unconfirmed events that the interface may have under way.
            full: Peers whose links are full, as of now; `on_room` follows.
        """
        self.connection = opening.connection
        self.interface = interface
        self._peer: str | None = interface
        self._full = full
        self.epoch = opening.epoch
        self.dirty = False
        self._asked = False
        self.inbox: deque[tuple[int, Message]] = deque()
        self._claim_window: int | None = window
        self._received = 0
        self._given = 0
        self._confirmed: int | None = None
        self._parts: list[Message] | None = None
        self._out: list[Message] = []
        self._turn_cost = 0
        self._window = self._credit = opening.credit
        self._sent = 0
        self.keeps: Message | None = None
        self.explicit = False
        self._state = opening.state
        self._state_due = False
        self._last: list[tuple[Any, ...]] | None = None

    @abstractmethod
    def on_events(self) -> None:
        """Events have come into `inbox`."""

    @abstractmethod
    def on_credit(self) -> None:
        """More may be sent than before."""

    @abstractmethod
    def on_released(self) -> None:
        """The interface gives no more events, and has a confirmation of each that it gave."""

    def on_messages(self, channel: int, first: int, messages: tuple[Message, ...]) -> None:
        """Messages have come to a channel of the connection, or parts of them.

        Args:
            channel: Its number, from 1.
            first: Number of the first of them in the channel's stream.
            messages: In order.

        Raises:
            ProtocolError: They do not follow upon the last ones, or it has no channels.
        """
        raise ProtocolError(f"a message to channel {channel!r} of a connection that has none")

    def on_room(self) -> None:
        """The link to the interface is not full any more."""
        self.on_credit()

    @abstractmethod
    def on_over(self, reason: str) -> None:
        """Nobody takes any more what the application sends: end the instance."""

    def on_lost(self, reason: str) -> None:
        """The interface does not hold this connection with us any more, or is gone.

        What the instance has still to say is not sent: should the interface be alive after all,
        it would take the claim of an instance that is over.
        """
        self._peer = None
        self.on_over(reason)

    def on_malformed(self, reason: str) -> None:
        """The interface server sent something that cannot be read: end the connection visibly."""
        self.finish("error")
        self.on_over(reason)

    @property
    def peer(self) -> str | None:
        """The process at the other end: the connection's owner, as long as it is that."""
        return self._peer

    @abstractmethod
    def mark(self) -> None:
        """Have the node call `take_frames` at the end of this turn."""

    # The application's side.

    def take_event(self) -> Message:
        """Return the oldest event of `inbox`; it counts as handled when the next is asked for."""
        self._given, event = self.inbox.popleft()
        return event

    def confirm(self) -> None:
        """The application asks for its next event: what it was given is handled.

        The first call tells the interface that the application wants the body (0 is confirmed),
        which is what sends `100 Continue`. The state of this moment goes with it.

        Raises:
            TypeError: A value in the state that cannot travel; the text names the path to it.
            ApplicationError: The state is larger than 16 KiB.
        """
        if self.keeps or self._state is not None:
            self._note_state()
        if self._given != self._confirmed or self._state_due:
            self._confirmed = self._given
            self._asked = True
            if not self.dirty:
                self.mark()

    def _note_state(self) -> None:
        """Take a snapshot of the state, if it has changed since the last one."""
        if self.keeps is None:
            return
        packed = pack_message(self.keeps, "state")
        if len(packed) > MAX_STATE_BYTES:
            raise ApplicationError(
                f"the state of the connection has {len(packed)} bytes, packed; "
                f"{MAX_STATE_BYTES} may be kept"
            )
        if packed != self._state:
            self._state = packed
            self._state_due = True

    def confirm_all(self) -> None:
        """The instance has ended: no other needs the events that it left."""
        if self._confirmed != self._received:
            self._confirmed = self._given = self._received
            self._asked = True
            self.mark()

    def confirm_messages(self, channel: int, seq: int, *, state: bool = True) -> None:
        """What came to a channel of the connection is handled, up to a number.

        Args:
            channel: Its number.
            seq: Of the last part that is handled.
            state: The connection's state of this moment goes with it; raises as `confirm` does.
        """
        if state and (self.keeps or self._state is not None):
            self._note_state()
            self._asked |= self._state_due
        self._say(Handled(self.connection, HANDLED, self.epoch, channel, seq))

    def listen(self, prefix: str, expiry_ms: int, group_expiry_ms: int) -> None:
        """Have the owner be there for the channels of its connections in a channel layer."""
        self._say(Listen(self.connection, LISTEN, self.epoch, prefix, expiry_ms, group_expiry_ms))

    def may_send(self, cost: int) -> bool:
        """Whether an event of this cost may leave now.

        An event larger than the window may overdraw once less than half a window is under way:
        the interface reports drained credit in halves of a window, so waiting for all of it could
        wait for ever.
        """
        under_way = self._sent - (self._credit - self._window)
        fits = under_way + cost <= self._window or under_way * 2 < self._window
        return fits and (not self._full or self.interface not in self._full)

    def emit(self, parts: list[Message], cost: int) -> None:
        """Send one event, in one or more parts, that can certainly be packed.

        Args:
            parts: What `split_event` returned, or the event alone.
            cost: Of the whole event, as `event_cost` counts; ask `may_send` first.
        """
        self._out += parts
        self._turn_cost += cost
        self._sent += cost
        if not self.dirty:
            self.mark()

    def finish(self, outcome: str) -> None:
        """Say that the instance ended before its protocol did: `returned`, `error`, `drain`."""
        self._say(Done(self.connection, DONE, self.epoch, outcome))

    def release(self, reason: str) -> None:
        """Ask for no more events: `drain` or `hibernate`; `on_released` follows."""
        self._say(Release(self.connection, RELEASE, self.epoch, reason))

    def note_last_state(self) -> None:
        """Take the last snapshot of the state, before the application hears of its end.

        A state that cannot travel stays as it was confirmed last.
        """
        if self.keeps or self._state is not None:
            with suppress(TypeError, ApplicationError):
                self._note_state()

    def detach(self, reason: str) -> None:
        """Give the connection back to its owner: the instance has ended."""
        state = self._state if self._state_due else None
        self._state_due = False
        self._say(Detach(self.connection, DETACH, self.epoch, reason, state))

    def _say(self, frame: tuple[Any, ...]) -> None:
        self._last = [*(self._last or ()), frame]
        self.mark()

    # Inputs from the wire.

    def handle(self, sender: str, frame: tuple[Any, ...]) -> bytes | None:
        """Take in one frame of the interface; frames of another epoch or sender do not count.

        Raises:
            ProtocolError: The frame is malformed.
        """
        op = frame[1]
        if sender != self.interface or frame[2] != self.epoch:
            return None
        if op == EVENTS:
            self._take_in(frame[3], frame[4], frame[5])
        elif op == CREDIT:
            if frame[3].__class__ is not int:
                raise ProtocolError("a credit that is not a number")
            if frame[3] > self._credit:
                self._credit = frame[3]
                self.on_credit()
        elif op == RELEASED:
            self.on_released()
        elif op == RESET:
            self.on_lost("the interface server no longer holds this connection with this worker")
        else:
            raise ProtocolError(f"op {op!r} from an interface server")
        return None

    def _take_in(self, stream: int, first: int, events: tuple[Message, ...]) -> None:
        if stream != 0:
            self.on_messages(stream, first, events)
            return
        if first != self._received + 1:
            raise ProtocolError(f"event {first!r} after {self._received}")
        for event in events:
            if event.__class__ is not dict or "type" not in event:
                raise ProtocolError("an event that is none")
            self._received += 1
            if PART in event:
                if self._parts is None:
                    self._parts = []
                self._parts.append(event)
                continue
            if self._parts:
                event = join_parts(self._parts, event)
                self._parts = None
            self.inbox.append((self._received, event))
        if self.inbox:
            self.on_events()

    # Output.

    def _frame(self, events: list[Message], confirmed: int | None, state: bytes | None) -> bytes:
        window = self._claim_window
        if window is None:
            return pack((self.connection, DATA, self.epoch, events, confirmed, state))
        self._claim_window = None
        return pack((self.connection, CLAIM, self.epoch, events, confirmed, state, window))

    def take_frames(self) -> list[bytes]:
        """Return the packed frames of this turn for the interface, and forget them.

        The claim, what the application sent, and the confirmation of what it handled before that
        share one frame, so that they are true together.
        """
        frames: list[bytes] = []
        out = self._out
        if out or self._asked or self._claim_window is not None:
            confirmed = state = None
            if self._asked:
                self._asked = False
                confirmed = self._confirmed
                if self._state_due:
                    self._state_due = False
                    state = self._state
            if self._turn_cost > CHUNK_BYTES:
                *earlier, out = cut_turn(out)
                frames += [self._frame(run, None, None) for run in earlier]
            self._turn_cost = 0
            frames.append(self._frame(out, confirmed, state))
            self._out = []
        if self._last is not None:
            frames += map(pack, self._last)
            self._last = None
        return frames
