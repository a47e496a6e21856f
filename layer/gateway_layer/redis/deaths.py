"""Who of the other processes is dead, as this one sees it, and what is deleted for them."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from gateway_layer.redis.keys import TOMBSTONE_S
from gateway_layer.redis.liveness import Renewal

_log = logging.getLogger("gateway.layer")


class Deaths:
    """Finds each death once: a supervisor's word, a tombstone, or long absence.

    Time without Redis is nobody's death: absence counts while renewals succeed.
    """

    def __init__(
        self,
        absent_s: float,
        peers: Collection[str],
        forget: Callable[[str], None],
        on_dead: Callable[[str], None],
        on_back: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with everybody alive.

        Args:
            absent_s: Who is not among the living for so long is dead.
            peers: Whom this process has written to, as of now; who is found dead leaves it.
            forget: Deletes the keys of a process; blocks, so it is called in a thread.
            on_dead: Called once with each process that is found dead.
            on_back: Called with one that is alive after all: it stood still, and has rejoined, or
                Redis has lost the word of its death.
            clock: Seconds, which do not jump.
        """
        self._absent_s: Final = absent_s
        self._peers: Final = peers
        self._forget: Final = forget
        self._on_dead: Final = on_dead
        self._on_back: Final = on_back
        self._clock: Final = clock
        self._absent_since: dict[str, float] = {}
        self._looked_s = float("-inf")
        self._buried: set[str] = set()

    def redis_is_away(self) -> None:
        """Nobody can be seen: whoever was absent is waited for anew."""
        self._absent_since.clear()

    def look(self, renewal: Renewal) -> None:
        """Take in what a renewal that succeeded told."""
        for pid in self._buried & renewal.alive:
            self._buried.discard(pid)
            self._on_back(pid)
        for pid in renewal.dead:
            self.found(pid)
        now = self._clock()
        if now - self._looked_s > self._absent_s / 2:
            self._absent_since.clear()  # it is this process that has not looked
        self._looked_s = now
        for pid in list(self._peers):
            if pid in renewal.alive:
                self._absent_since.pop(pid, None)
            elif now - self._absent_since.setdefault(pid, now) >= self._absent_s:
                self.found(pid)

    def found(self, pid: str) -> None:
        """A process has ended."""
        if pid in self._buried and pid not in self._peers:
            return  # else it came back and had to do with us, before any renewal told of it
        self._buried.add(pid)
        self._absent_since.pop(pid, None)
        self._on_dead(pid)
        self._delete(pid)
        # What somebody wrote to it before they knew is deleted when they do.
        asyncio.get_running_loop().call_later(TOMBSTONE_S + 1, self._forget_for_good, pid)

    def _forget_for_good(self, pid: str) -> None:
        if pid in self._buried:
            self._delete(pid)
            self._buried.discard(pid)

    def _delete(self, pid: str) -> None:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, lambda: quietly(lambda: self._forget(pid)))


def quietly(call: Callable[[], object]) -> None:
    """Do what may fail without harm, such as tidying up in a Redis that is away."""
    try:
        call()
    except Exception as error:
        _log.info("tidying up in Redis failed: %s", error)
