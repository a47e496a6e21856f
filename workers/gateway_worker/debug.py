"""Reports callbacks that block the event loop, with the stack at which they do (`--debug`)."""

import asyncio
import logging
import selectors
import sys
import time
import traceback
from asyncio import base_events, events
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Thread, get_ident
from types import FrameType, TracebackType
from typing import Final, Self

from gateway_layer.process.child import Server

_log = logging.getLogger("gateway.debug")

BLOCKED_S: Final = 0.1
"""From here on a callback is reported: what people begin to notice."""

_INTERVAL_S: Final = 0.01
"""Between an answer of the loop and the next question: how much of a block may be missed."""

_REPORT_EVERY_S: Final = 1.0
_MAX_PLACES: Final = 1000

# Frames of the loop itself, between the code that runs it and the callback.
_LOOP_FILES: Final = frozenset((base_events.__file__, events.__file__, selectors.__file__))


class WatchedServer:
    """A server whose event loop is watched from when it is ready: before, nobody waits for it."""

    def __init__(self, make_server: Callable[[], Server]) -> None:
        """Make the server, in its loop."""
        self._server: Final = make_server()

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> int | None:
        """See `Server.serve`."""
        with ExitStack() as watches:

            def ready() -> None:
                watches.enter_context(LoopWatch(asyncio.get_running_loop()))
                if on_ready is not None:
                    on_ready()

            return await self._server.serve(on_ready=ready)

    def drain(self) -> None:
        """See `Server.drain`."""
        self._server.drain()


class LoopWatch:
    """A context manager, entered in the loop's thread, that reports what blocks the loop.

    A thread asks the loop for a sign of life a hundred times a second. Where none comes for
    100 ms it logs where the loop's thread is just then, while it still is there: once for each
    block, and at most once a second for the same stack. The next report says how many
    there were more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare to watch this loop."""
        self._loop: Final = loop
        self._answered: Final = Event()
        self._stop: Final = Event()
        self._thread: Final = Thread(target=self._watch, name="loop-watch", daemon=True)
        self._loop_thread = 0
        self._runner: FrameType | None = None
        self._reported_at: dict[tuple[object, ...], float] = {}
        self._unreported = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._loop_thread = get_ident()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        """End; the thread is gone when this returns."""
        self._stop.set()
        self._answered.set()
        self._thread.join()
        self._runner = None

    def _answer(self) -> None:
        """In the loop: it turns."""
        if self._runner is None:
            self._runner = _runner_of(sys._getframe().f_back)
        self._answered.set()

    def _watch(self) -> None:
        self._loop.call_soon_threadsafe(self._answer)
        self._answered.wait()  # however long: before it, the runner is not known
        free = time.monotonic()  # when the loop was last known to turn
        while not self._stop.wait(_INTERVAL_S):
            self._answered.clear()
            if self._stop.is_set():  # after clear: __exit__ sets both, this one first
                return
            self._loop.call_soon_threadsafe(self._answer)
            if not self._answered.wait(max(free + BLOCKED_S - time.monotonic(), 0.0)):
                self._report(free)
                self._answered.wait()
            free = time.monotonic()

    def _report(self, free: float) -> None:
        """Log where the loop's thread is, unless it just waits or had no time to run."""
        frame = sys._current_frames().get(self._loop_thread)
        stack = _within_loop(frame, self._runner)
        now = time.monotonic()
        if not stack:
            return
        place = tuple((one.filename, one.lineno) for one in stack)
        if now - self._reported_at.get(place, -_REPORT_EVERY_S) < _REPORT_EVERY_S:
            self._unreported += 1
            return
        more = f" ({self._unreported} more before)" if self._unreported else ""
        if len(self._reported_at) >= _MAX_PLACES:
            self._reported_at.clear()
        self._reported_at[place], self._unreported = now, 0
        _log.warning(
            "the event loop has been blocked for %d ms%s:\n%s",
            (now - free) * 1000,
            more,
            "".join(traceback.format_list(stack)).rstrip(),
        )


def _runner_of(frame: FrameType | None) -> FrameType | None:
    """Return the frame that runs the loop, from the caller's frame of one of its callbacks."""
    while frame is not None and frame.f_code.co_filename in _LOOP_FILES:
        if frame.f_code.co_name == "run_forever":
            return frame
        frame = frame.f_back
    return frame


def _within_loop(frame: FrameType | None, runner: FrameType | None) -> list[traceback.FrameSummary]:
    """Return the frames of the callback that runs, the outermost first; none: the loop waits."""
    summaries = []
    frames = list(traceback.walk_stack(frame))
    for one, line in frames:
        if one is runner:
            break
        summaries.append((one, line))
    summaries.reverse()
    while summaries and summaries[0][0].f_code.co_filename in _LOOP_FILES:
        del summaries[0]
    return list(traceback.StackSummary.extract(iter(summaries)))
