"""Connections over which workers may have died: opened again one at a time, so that it shows.

A worker that dies takes all its connections with it, and a batch of openings together: what it died
of cannot be told from what was there by chance. After the last death but one that a connection is
allowed, it is opened alone. It has passed when it has confirmed something, or has lasted a moment.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Suspect = TypeVar("Suspect")

_LASTS_S: Final = 0.3
"""What a worker dies of, it mostly dies of at once; the others wait meanwhile."""


class Trials(Generic[Suspect]):
    """Of one owner.

    Attributes:
        waiting: Those whose trial has not begun -> when they have waited for too long.
    """

    def __init__(self, begin: Callable[[Suspect, float], None]) -> None:
        """Begin without any.

        Args:
            begin: Called with a connection and its deadline when its trial begins: push it.
        """
        self.waiting: Final[dict[Suspect, float]] = {}
        self._begin: Final = begin
        self._alone: Suspect | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, session: Suspect, deadline: float) -> None:
        """Try a connection when those before it have passed."""
        self.waiting[session] = deadline
        self._next()

    def claimed(self, session: Suspect) -> None:
        """A worker has it: it passes if it lasts."""
        if session is self._alone:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LASTS_S, self.over, session)

    def over(self, session: Suspect) -> None:
        """It has passed, has died again, or is gone: the next may begin."""
        self.waiting.pop(session, None)
        if session is self._alone:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._alone = None
            self._next()

    def _next(self) -> None:
        if self._alone is None and self.waiting:
            session = self._alone = next(iter(self.waiting))
            self._begin(session, self.waiting.pop(session))
