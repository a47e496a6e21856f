"""Openings: pushed to a queue, admitted or recalled, pushed again when a worker refused them."""

import asyncio
from abc import abstractmethod
from typing import Final, NamedTuple

from gateway_interface.config import InterfaceConfig
from gateway_layer.base import ChannelLayer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.session import InterfaceSession, State
from gateway_layer.wire import OPEN, write_opening

_AFTER_DEATH_S: Final = 0.2
"""A worker died: so long after it, what nobody has claimed is looked for in its queue."""

_UNCLAIMED_S: Final = 0.6
"""What is in no queue then, and is still not claimed so much later, died with the worker."""


class Opening(NamedTuple):
    """What a connection's opening consists of, whichever epoch it is pushed under."""

    queue: str
    kind: str
    raw_scope: bytes
    """Packed: it is the larger part of an entry, and the same for every epoch."""
    body: bytes
    more: bool
    deadline_ms: int


class OpeningSession(InterfaceSession):
    """A session that remembers its opening until a worker has claimed it."""

    __slots__ = ("entry", "opening")

    def __init__(self, connection: str, window: int) -> None:
        """Begin without an opening."""
        super().__init__(connection, window)
        self.opening: Opening | None = None
        self.entry = b""

    def on_claimed(self) -> None:
        """The worker has the opening now."""
        self.opening = None
        self.entry = b""

    @abstractmethod
    def on_queue_full(self) -> None:
        """The queue holds all it may: answer 503 with Retry-After."""

    @abstractmethod
    def on_expired(self) -> None:
        """Nobody has claimed the opening before its deadline: answer 504."""

    @abstractmethod
    def on_unavailable(self) -> None:
        """Redis cannot be reached, or has lost what was queued: answer 503."""


class Openings:
    """Puts connections before the workers.

    Attributes:
        recalled: Openings taken back from a queue, so far.
        refused: Openings that a worker gave back, so far.
    """

    def __init__(self, layer: ChannelLayer, config: InterfaceConfig) -> None:
        """Use one layer, with the capacity and the deadline of `config`."""
        self.recalled = 0
        self.refused = 0
        self._layer: Final = layer
        self._capacity: Final = config.queue_capacity
        self._deadline_ms: Final = int(config.queue_deadline_s * 1000)

    def open(
        self,
        session: OpeningSession,
        queue: str,
        kind: str,
        raw_scope: bytes,
        body: bytes = b"",
        more: bool = False,
    ) -> None:
        """Push the first opening of a connection.

        The session hears of trouble through `on_queue_full` and `on_unavailable`, perhaps before
        this returns.
        """
        deadline_ms = self._layer.now_ms() + self._deadline_ms
        session.opening = Opening(queue, kind, raw_scope, body, more, deadline_ms)
        self._push(session, session.opening)

    def open_again(self, session: OpeningSession) -> None:
        """Push an opening that certainly was not started, as a new epoch with the old deadline."""
        if session.opening is not None:
            self._push(session, session.opening)

    def _push(self, session: OpeningSession, opening: Opening) -> None:
        queue, kind, raw_scope, body, more, deadline_ms = opening
        layer = self._layer
        before = (session.connection, OPEN, session.next_epoch(), kind)
        after = (0, None, body, more, deadline_ms, layer.incarnation, session.window)
        entry = session.entry = write_opening(layer.head, before, raw_scope, after)

        def on_pushed(place: int | Exception) -> None:
            if isinstance(place, int):
                if place > self._capacity:
                    self._recall_overflow(session, queue, entry)
            elif session.state is State.QUEUED and session.entry is entry:
                session.on_unavailable()

        try:
            layer.push(queue, entry, on_pushed)
        except LayerUnavailable:
            session.on_unavailable()

    def _recall_overflow(self, session: OpeningSession, queue: str, entry: bytes) -> None:
        def on_recalled(recalled: bool) -> None:
            if recalled:
                self.recalled += 1
                if session.state is State.QUEUED and session.entry is entry:
                    session.on_queue_full()

        self._layer.recall(queue, entry, on_recalled)

    def forget(self, session: OpeningSession) -> None:
        """The client has left, or its deadline has passed: nobody needs the opening any more."""
        if session.state is State.QUEUED and session.opening is not None:
            self._layer.recall(session.opening.queue, session.entry, self._count_recalled)

    def _count_recalled(self, recalled: bool) -> None:
        self.recalled += recalled

    def give_back(self, session: OpeningSession) -> None:
        """A worker refused: certainly not started, so any method may be pushed again."""
        self.refused += 1
        if session.opening and self._layer.now_ms() > session.opening.deadline_ms:
            session.on_expired()
        else:
            self.open_again(session)

    def worker_died(self, waiting: list[OpeningSession]) -> None:
        """Look after the openings that a dead worker may have taken with it.

        Args:
            waiting: The sessions that nobody had claimed when the death became known.
        """
        loop = asyncio.get_running_loop()
        for session in waiting:
            loop.call_later(_AFTER_DEATH_S, self._look_for, session, session.entry)

    def _look_for(self, session: OpeningSession, entry: bytes) -> None:
        opening = session.opening
        if session.state is not State.QUEUED or session.entry is not entry or opening is None:
            return

        def on_recalled(recalled: bool) -> None:
            if session.state is not State.QUEUED or session.entry is not entry:
                return
            if recalled:
                self.open_again(session)
            else:
                loop = asyncio.get_running_loop()
                loop.call_later(_UNCLAIMED_S, self._give_up, session, entry)

        self._layer.recall(opening.queue, entry, on_recalled)

    def _give_up(self, session: OpeningSession, entry: bytes) -> None:
        if session.state is State.QUEUED and session.entry is entry:
            session.on_lost("the worker that took the request died")
