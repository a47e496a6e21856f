"""The threads that run WSGI applications."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final


class Threads:
    """A fixed number of threads that take jobs in order.

    concurrent.futures' pool makes two futures a job and wakes the event loop for the end of each;
    a job here tells what it has to tell by itself. Measured: docs/wsgi.md.
    """

    def __init__(self, number: int) -> None:
        """Prepare; a thread is started with each of the first jobs.

        Args:
            number: Threads at most, from 1.
        """
        self._number: Final = number
        self._jobs: Final = SimpleQueue[Callable[[], object] | None]()
        self._started = 0

    def run(self, job: Callable[[], object]) -> None:
        """Have a thread call this as soon as one is free; an exception would end the thread."""
        self._jobs.put(job)
        if self._started < self._number:
            self._started += 1
            # Daemons: an application that hangs must not keep a drained process alive.
            Thread(target=self._work, name=f"wsgi-{self._started}", daemon=True).start()

    def close(self) -> None:
        """End the threads after the jobs that were given; the next job starts new ones."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
