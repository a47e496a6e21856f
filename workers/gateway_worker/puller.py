"""Takes openings of one kind from their queue, no more than there is room for."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gateway_layer.base import ChannelLayer
from gateway_worker.core.schedule import BatchSize


class Puller:
    """One queue's share of a worker.

    Attributes:
        active: Connections of this kind under way in this process.
        pulling: A pull is under way; it ends within a second.
    """

    def __init__(
        self,
        layer: ChannelLayer,
        queue: str,
        limit: int,
        on_openings: Callable[["Puller", Sequence[bytes]], None],
        on_stopped: Callable[[], None],
    ) -> None:
        """Prepare; `start` begins to pull.

        Args:
            layer: Where the queue is.
            queue: Its name.
            limit: Connections under way at most.
            on_openings: Called with entries; their first steps must run in this turn of the loop.
            on_stopped: Called when the last pull is over after `stop`.
        """
        self.batch: Final = BatchSize()
        self.queue: Final = queue
        self.active = 0
        self.pulling = False
        self._layer: Final = layer
        self._limit: Final = limit
        self._busy_limit = limit
        self._count_busy: Callable[[], int] | None = None
        self._on_openings: Final = on_openings
        self._on_stopped: Final = on_stopped
        self._running = False
        self._busy = False  # a batch runs that has to be over before the next is asked for
        self._loop: asyncio.AbstractEventLoop | None = None

    def limit_to(self, connections: int, count: Callable[[], int]) -> None:
        """Pull only while fewer than so many connections are busy, too; call before `start`.

        Args:
            connections: How many at most.
            count: How many are; may fall only where a connection ends.
        """
        self._busy_limit = connections
        self._count_busy = count

    def start(self) -> None:
        """Begin to pull."""
        self._loop = asyncio.get_running_loop()
        self._running = True
        self._maybe_pull()

    def stop(self) -> None:
        """Pull no more. What a pull under way still brings goes to `on_openings`."""
        self._running = False

    def ended(self) -> None:
        """A connection is over: there is room again."""
        self.active -= 1
        self._maybe_pull()

    def _maybe_pull(self) -> None:
        if not self._running:
            self._on_stopped()
        elif not self.pulling and not self._busy:
            room = self._limit - self.active
            if self._count_busy is not None:
                room = min(room, self._busy_limit - self._count_busy())
            if room > 0:
                self.pulling = True
                self._layer.pull(self.queue, min(room, self.batch.size), self._on_entries)

    def _on_entries(self, entries: Sequence[bytes]) -> None:
        self.pulling = False
        if not entries:
            self._maybe_pull()
            return
        assert self._loop is not None, "entries come after start"
        self._busy = True
        try:
            self._on_openings(self, entries)
        finally:  # else a fault in one batch would be the last of this worker's pulls
            # Runs behind the first steps of the new instances, which were scheduled before it.
            self._loop.call_soon(self._after_batch, self._loop.time(), len(entries))

    def _after_batch(self, started: float, count: int) -> None:
        assert self._loop is not None, "entries come after start"
        self.batch.ran(count, self._loop.time() - started)
        self._busy = False
        self._maybe_pull()
