"""An event loop of one simulated process: it runs when it is told to, by a clock that all share."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """The time of a simulated world, in seconds; nothing but the world moves it."""

    def __init__(self) -> None:
        # Not 0: by a real clock, no deadline ever was at its beginning.
        self.now_s = 1000.0


class Loop(asyncio.AbstractEventLoop):
    """What asyncio needs of a loop, without any I/O. A loop that is not run stands still.

    A process of the world is whatever runs on one of these: to stop it (SIGSTOP) is to run it no
    more, and what it was about to do is there when it is run again.
    """

    def __init__(self, clock: Clock, on_fault: Callable[[str], None]) -> None:
        self._clock = clock
        self._on_fault = on_fault
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ended = False
        self.witness: object = None

    # What asyncio calls.

    def time(self) -> float:
        return self._clock.now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override] # without its type variables
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.ended:
            self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override] # without its type variables
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._clock.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # without its type variables
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.ended:
            heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is skipped when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.ended:
            self._on_fault(f"{context.get('message')}: {context.get('exception')!r}")

    # What the world calls.

    @property
    def busy(self) -> bool:
        """Whether a turn would do something now."""
        return bool(self._ready) or self.next_timer_s() <= self._clock.now_s

    @property
    def ready(self) -> list[str]:
        """What waits for the next turn."""
        return [str(handle) for handle in self._ready]

    def next_timer_s(self) -> float:
        """Return when the next timer is due."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return timers[0][0] if timers else float("inf")

    def turn(self, limit: int | None = None) -> None:
        """Run what is ready now, as one turn of a loop; with `limit` stop in the middle of it."""
        while self.next_timer_s() <= self._clock.now_s:
            self._ready.append(heapq.heappop(self._timers)[2])
        ready = self._ready
        todo = len(ready) if limit is None else min(limit, len(ready))
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for _ in range(todo):
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(before)

    def start(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task from outside of the loop."""
        return self.create_task(coro)

    def kill(self) -> None:
        """End everything without a word; nothing that still runs has any effect."""
        for task in list(self._tasks):
            task.cancel()
        for _ in range(20):
            self.turn()
        self.ended = True
        self._ready.clear()
        self._timers.clear()
