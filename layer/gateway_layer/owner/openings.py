"""Openings: put before the workers, taken back, and repeated when an instance is gone.

A connection's opening is pushed again, under a new epoch, when it certainly was not started (a
worker refused it), or when it does no harm to start it twice (`OpeningSession.repeatable`). What
else may have been started somewhere waits for its claim, and gets an error when none can come.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway_layer.base import ChannelLayer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.owner.trials import Trials
from gateway_layer.session import InterfaceSession, State
from gateway_layer.wire import OPEN, write_opening

_LOOK_AFTER_S: Final = 0.2
"""A worker died, or Redis came back: so long after it, what nobody has claimed is looked for."""

_REPEAT_AFTER_S: Final = 0.3
"""What was in no queue then may just have been taken by a worker that is well: so much later, what
is still not claimed is pushed again, if it may be."""

_DEAD_AFTER_S: Final = 0.6
_LOST_AFTER_S: Final = 1.6
"""What may not be pushed again gets its error so long after it was found in no queue: a worker's
death is then a second ago, Redis's return two."""

_LOOKS_A_TURN: Final = 16
_LOOK_PAUSE_S: Final = 0.005
"""Looking searches the whole queue, a quarter of a millisecond: never many at a time."""

_OLD_S: Final = 5.0
"""What nobody has claimed for so long is looked for, too: a worker may have lost it on its way out
of the queue, without a death."""

_RETURNING: Final = 64
"""Connections of gone instances that are in the queues at once; the others wait for their turn."""


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
    """A session that remembers its opening for as long as it may be needed again.

    Attributes:
        opening: None when it will not be pushed again.
        entry: As it was pushed last; empty while it is in no queue.
    """

    __slots__ = ("entry", "opening")

    def __init__(self, connection: str, window: int) -> None:
        """Begin without an opening."""
        super().__init__(connection, window)
        self.opening: Opening | None = None
        self.entry = b""

    @property
    @abstractmethod
    def repeatable(self) -> bool:
        """Whether it does no harm if two instances are started for the connection."""

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
        repeated: Openings pushed again after an instance was gone, so far.
    """

    def __init__(
        self, layer: ChannelLayer, *, capacity: int, deadline_s: float, resume_s: float
    ) -> None:
        """Use one layer.

        Args:
            layer: Where the queues are.
            capacity: Openings that one queue may hold; beyond it `on_queue_full`.
            deadline_s: How long an opening may wait for a worker.
            resume_s: How long a connection whose instance is gone waits for another.
        """
        self.recalled = 0
        self.refused = 0
        self.repeated = 0
        self._layer: Final = layer
        self._capacity: Final = capacity
        self._deadline_ms: Final = int(deadline_s * 1000)
        self._resume_s: Final = resume_s
        self._waiting: dict[OpeningSession, float] = {}  # for Redis -> deadline
        self._returning: dict[OpeningSession, float] = {}  # -> deadline; in a queue
        self._turn: dict[OpeningSession, float] = {}  # -> deadline; until others have returned
        self._trials: Final[Trials[OpeningSession]] = Trials(self._return)
        self._to_look: deque[tuple[OpeningSession, bytes, str, float]] = deque()
        self._looking = False
        self._returned_s = float("-inf")

    def open(
        self,
        session: OpeningSession,
        queue: str,
        kind: str,
        raw_scope: bytes,
        body: bytes = b"",
        more: bool = False,
    ) -> None:
        """Push the first opening of a connection; without Redis it waits for it.

        The session hears of trouble through `on_queue_full` and `on_unavailable`, perhaps before
        this returns.
        """
        deadline_ms = self._layer.now_ms() + self._deadline_ms
        session.opening = Opening(queue, kind, raw_scope, body, more, deadline_ms)
        self._push(session, session.opening)

    def reopen(
        self, session: OpeningSession, *, paced: bool = False, suspect: bool = False
    ) -> None:
        """Ask for another instance, for a connection whose last one is gone.

        Args:
            session: It has an opening.
            paced: It may wait for its turn, and for `resume_s`; expiry is told by
                `on_expired`. Without, the opening has a deadline like the first.
            suspect: The next death over it would be its last: no other suspect is in a queue, or
                has just been taken, while it is.
        """
        if session in self._turn or session in self._trials.waiting:
            return
        self._returning.pop(session, None)
        self._trials.over(session)
        self.repeated += 1
        session.resumed += 1
        now = asyncio.get_running_loop().time()
        if suspect:
            session.detach()
            self._trials.add(session, now + (self._resume_s if paced else self._deadline_ms / 1000))
        elif paced:
            self._turn[session] = now + self._resume_s
            session.detach()
            self._next_turn()
        else:
            self._renew(session, self._deadline_ms)

    def _next_turn(self) -> None:
        while self._turn and len(self._returning) < _RETURNING:
            session = next(iter(self._turn))
            self._return(session, self._turn.pop(session))

    def _return(self, session: OpeningSession, deadline: float) -> None:
        self._returning[session] = deadline
        self._renew(session, int((deadline - asyncio.get_running_loop().time()) * 1000))

    def proven(self, session: OpeningSession) -> None:
        """A worker has lived through what the connection had for it."""
        self._trials.over(session)

    def _renew(self, session: OpeningSession, deadline_ms: int) -> None:
        assert session.opening is not None, "kept as long as the session may be opened again"
        session.opening = session.opening._replace(deadline_ms=self._layer.now_ms() + deadline_ms)
        self._push(session, session.opening)

    def _push(self, session: OpeningSession, opening: Opening) -> None:
        """Push under a new epoch."""
        queue, kind, raw_scope, body, more, deadline_ms = opening
        layer = self._layer
        before = (session.connection, OPEN, session.next_epoch(), kind)
        resumed, state, incarnation = session.resumed, session.kept, layer.incarnation
        after = (resumed, state, body, more, deadline_ms, incarnation, session.window)
        entry = session.entry = write_opening(layer.head, before, raw_scope, after)

        def on_pushed(place: int | Exception) -> None:
            if isinstance(place, int):
                if place > self._capacity and not session.resumed:
                    self._recall_overflow(session, queue, entry)
            elif not isinstance(place, LayerUnavailable) and session.entry is entry:
                session.on_unavailable()  # refused: trying again would not help
            # Else it may have arrived: `redis_returned` looks for it.

        try:
            layer.push(queue, entry, on_pushed)
        except LayerUnavailable:
            self._wait_for_redis(session)

    def _wait_for_redis(self, session: OpeningSession) -> None:
        session.entry = b""
        opening = session.opening
        if opening is not None and (len(self._waiting) < self._capacity or session.resumed):
            left_s = (opening.deadline_ms - self._layer.now_ms()) / 1000
            self._waiting[session] = asyncio.get_running_loop().time() + left_s
        else:
            session.on_unavailable()

    def _recall_overflow(self, session: OpeningSession, queue: str, entry: bytes) -> None:
        def on_recalled(recalled: bool) -> None:
            if recalled:
                self.recalled += 1
                if session.state is State.QUEUED and session.entry is entry:
                    session.on_queue_full()

        self._layer.recall(queue, entry, on_recalled)

    def claimed(self, session: OpeningSession) -> None:
        """A worker has the connection."""
        session.entry = b""
        if self._returning and self._returning.pop(session, None) is not None:
            self._trials.claimed(session)
            self._next_turn()

    def forget(self, session: OpeningSession) -> None:
        """The client has left, or its deadline has passed: nobody needs the opening any more."""
        if session.state is State.QUEUED and session.opening is not None and session.entry:
            self._layer.recall(session.opening.queue, session.entry, self._count_recalled)
        session.entry = b""
        self._waiting.pop(session, None)
        self._turn.pop(session, None)
        self._trials.over(session)
        if self._returning.pop(session, None) is not None:
            self._next_turn()

    def _count_recalled(self, recalled: bool) -> None:
        self.recalled += recalled

    def give_back(self, session: OpeningSession) -> None:
        """A worker refused: certainly not started, so any method may be pushed again."""
        self.refused += 1
        if session.opening is None or self._layer.now_ms() > session.opening.deadline_ms:
            session.on_expired()
        else:
            self._push(session, session.opening)

    # What may be lost.

    def worker_died(self, sessions: Iterable[OpeningSession]) -> None:
        """Look after the openings that a dead worker may have taken with it.

        Args:
            sessions: All of this server.
        """
        loop = asyncio.get_running_loop()
        waiting = [(one, one.entry) for one in sessions if _in_queue(one)]
        reason = "the worker that took the request died"
        loop.call_later(_LOOK_AFTER_S, self._look_for, waiting, reason, _DEAD_AFTER_S)

    def redis_returned(self, sessions: Iterable[OpeningSession]) -> None:
        """Push what waited for Redis, and look after what Redis may have lost."""
        loop = asyncio.get_running_loop()
        self._returned_s = loop.time()
        waiting = [(one, one.entry) for one in sessions if _in_queue(one)]
        loop.call_later(_LOOK_AFTER_S, self._look_for, waiting, "", _LOST_AFTER_S)
        self.push_waiting()

    def push_waiting(self) -> None:
        """Push what waited for Redis."""
        pushed, self._waiting = self._waiting, {}
        now = asyncio.get_running_loop().time()
        for session, deadline in pushed.items():
            if session.state is State.QUEUED and session.opening is not None:
                # Redis's clock is another now: before the first connection it was unknown.
                deadline_ms = self._layer.now_ms() + int((deadline - now) * 1000)
                session.opening = session.opening._replace(deadline_ms=deadline_ms)
                self._push(session, session.opening)

    def redis_was_away(self) -> bool:
        """Whether an opening whose deadline passes now has waited for Redis."""
        since_s = asyncio.get_running_loop().time() - self._returned_s
        return not self._layer.available or since_s * 1000 < self._deadline_ms

    def check(self, now: float, sessions: Iterable[OpeningSession]) -> None:
        """See what has waited for too long; called every second.

        Args:
            now: The loop's clock.
            sessions: All of this server.
        """
        for waiting in (self._returning, self._turn, self._trials.waiting):
            for session in [one for one, deadline in waiting.items() if deadline <= now]:
                waiting.pop(session, None)
                session.on_expired()
        self._next_turn()
        if self._layer.available:
            self._check_old(sessions)

    def _check_old(self, sessions: Iterable[OpeningSession]) -> None:
        """Look for what nobody has claimed for long, the oldest first, and not all at once."""
        before_ms = self._layer.now_ms() + self._deadline_ms - _OLD_S * 1000
        old = [
            (one.opening.deadline_ms, one)
            for one in sessions
            if one.opening and one.opening.deadline_ms < before_ms and _in_queue(one)
            if one.repeatable
        ]
        if old:
            old.sort(key=lambda one: one[0])
            waiting = [(session, session.entry) for _deadline, session in old[:_LOOKS_A_TURN]]
            self._look_for(waiting, "", 0.0)

    def _look_for(
        self, waiting: list[tuple[OpeningSession, bytes]], reason: str, give_up_s: float
    ) -> None:
        """Look for openings in their queues, some at a time.

        Args:
            waiting: Sessions with the entries that they had when the doubt arose.
            reason: Why those that cannot be found get an error; empty: Redis has lost them.
            give_up_s: When they get it.
        """
        self._to_look.extend((session, entry, reason, give_up_s) for session, entry in waiting)
        if not self._looking:
            self._look()

    def _look(self) -> None:
        self._looking = bool(self._to_look)
        for _ in range(min(_LOOKS_A_TURN, len(self._to_look))):
            self._look_for_one(*self._to_look.popleft())
        if self._looking:
            asyncio.get_running_loop().call_later(_LOOK_PAUSE_S, self._look)

    def _look_for_one(
        self, session: OpeningSession, entry: bytes, reason: str, give_up_s: float
    ) -> None:
        opening = session.opening
        if not _waits_for(session, entry) or opening is None:
            return
        loop = asyncio.get_running_loop()

        def on_found(found: bool | None) -> None:
            if found is False and _waits_for(session, entry):
                after_s = _REPEAT_AFTER_S if session.repeatable else give_up_s
                loop.call_later(after_s, self._go_on_without, session, entry, reason)

        self._layer.find(opening.queue, entry, on_found)

    def _go_on_without(self, session: OpeningSession, entry: bytes, reason: str) -> None:
        """Nobody has claimed what is in no queue any more."""
        if not _waits_for(session, entry) or session.opening is None:
            return
        if reason:
            session.on_lost(reason)  # which counts how often that may be
        elif session.repeatable:
            self.repeated += 1
            self._push(session, session.opening)
        else:
            session.on_unavailable()


def _in_queue(session: OpeningSession) -> bool:
    return session.state is State.QUEUED and bool(session.entry)


def _waits_for(session: OpeningSession, entry: bytes) -> bool:
    """Whether the session still waits for somebody to claim this entry."""
    return session.state is State.QUEUED and session.entry is entry
