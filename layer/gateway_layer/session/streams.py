"""Messages to a connection's own channels, each a numbered stream beside the client's events.

A channel of a connection lives at the connection's owner and outlives the instances: what comes for
it is kept until an instance has handled it, as an event of the client is. It has no credit of its
own: what a channel may hold is bounded, and what comes beyond it is dropped.

Sans-I/O; the two sides of a session use these classes.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from gateway_layer.codec import Message
from gateway_layer.errors import ProtocolError
from gateway_layer.session.parts import PART, cut_turn, join_parts

STREAM_BYTES: Final = 262_144
"""What one channel may hold at the owner, in cost; the first message may be larger."""


class OwnerStream:
    """One channel at the owner of its connection.

    Attributes:
        cost: Of what no instance has confirmed.
    """

    __slots__ = ("_first", "_held", "_journal", "_seq", "_turn", "cost")

    def __init__(self) -> None:
        """Begin empty."""
        self.cost = 0
        self._seq = 0
        self._first = 1
        self._turn: list[Message] = []
        self._journal: deque[tuple[int, list[Message], int]] = deque()
        self._held: deque[tuple[list[Message], int]] = deque()

    def put(self, parts: list[Message], cost: int) -> bool:
        """Keep a message, in one or more parts; False: it finds no room."""
        if self.cost and self.cost + cost > STREAM_BYTES:
            return False
        self.cost += cost
        self._held.append((parts, cost))
        return True

    def release(self) -> None:
        """Give the instance what is kept."""
        while self._held:
            parts, cost = self._held.popleft()
            self._seq += len(parts)
            self._turn += parts
            self._journal.append((self._seq, parts, cost))

    def take_turn(self) -> Iterator[tuple[int, list[Message]]]:
        """Return what is to be sent now, as (number of the first, events) for each frame."""
        turn, self._turn = self._turn, []
        for run in cut_turn(turn) if turn else ():
            yield self._first, run
            self._first += len(run)

    def confirm(self, seq: int) -> None:
        """The instance has handled all up to `seq`.

        Raises:
            ProtocolError: So many were not given to it.
        """
        if seq.__class__ is not int or seq > self._seq:
            raise ProtocolError(f"confirmation of message {seq!r}, {self._seq} were sent")
        journal = self._journal
        while journal and journal[0][0] <= seq:
            self.cost -= journal.popleft()[2]

    def begin_epoch(self) -> None:
        """The next instance gets what the last has not confirmed, before what came since."""
        again = deque((parts, cost) for _seq, parts, cost in self._journal)
        again.extend(self._held)
        self._held = again
        self._journal.clear()
        self._turn = []
        self._seq = 0
        self._first = 1

    @property
    def unconfirmed(self) -> bool:
        """Whether an instance was given a message that it has not confirmed."""
        return bool(self._journal)


class WorkerStream:
    """One channel at the worker whose instance reads it.

    Attributes:
        confirmed: Number of the last part that is handled.
    """

    __slots__ = ("_ends", "_parts", "_received", "confirmed")

    def __init__(self) -> None:
        """Begin with the first message."""
        self.confirmed = 0
        self._received = 0
        self._parts: list[Message] = []
        self._ends: deque[int] = deque()

    def take_in(self, first: int, events: tuple[Message, ...]) -> Iterator[Message]:
        """Return the messages that are whole; call `dropped` after one that found no room.

        Raises:
            ProtocolError: They do not follow upon the last ones.
        """
        if first != self._received + 1:
            raise ProtocolError(f"message {first!r} of a channel after {self._received}")
        for event in events:
            self._received += 1
            if PART in event:
                self._parts.append(event)
                continue
            if self._parts:
                parts, self._parts = self._parts, []
                event = join_parts(parts, event)
            self._ends.append(self._received)
            yield event

    def dropped(self) -> None:
        """The last message is not among the unread ones: it is handled with the one before."""
        end = self._ends.pop()
        if self._ends:
            self._ends[-1] = end

    def taken(self, unread: int) -> int:
        """Return the number of the last part of what the application has taken.

        Args:
            unread: How many messages still wait for it.
        """
        ends = self._ends
        taken = len(ends) - unread
        return ends[taken - 1] if taken > 0 else self.confirmed

    def confirm(self, seq: int) -> None:
        """All up to a number is handled."""
        while self._ends and self._ends[0] <= seq:
            self._ends.popleft()
        self.confirmed = seq
