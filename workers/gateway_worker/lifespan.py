"""Tells the application that its worker starts and stops (ASGI lifespan 2.0)."""

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum
from typing import Any

from gateway_layer.errors import ApplicationError, GatewayError
from gateway_worker.apps import ASGI3App, Message

logger = logging.getLogger(__name__)

# How long an application may take to end after its last answer, and after its cancellation.
_GRACE_S = 1.0


class LifespanFailed(GatewayError):
    """The application did not start: the worker must not serve; exit status 3."""


class _State(Enum):
    """Where the conversation with the application is."""

    NEW = "not started"
    STARTING = "expected 'lifespan.startup.complete' or 'lifespan.startup.failed'"
    STARTED = "expected nothing before 'lifespan.shutdown' was received"
    STOPPING = "expected 'lifespan.shutdown.complete' or 'lifespan.shutdown.failed'"
    OVER = "the lifespan is over"


# (state, type of message) -> the state that follows.
_STEPS = {
    (_State.STARTING, "lifespan.startup.complete"): _State.STARTED,
    (_State.STARTING, "lifespan.startup.failed"): _State.OVER,
    (_State.STOPPING, "lifespan.shutdown.complete"): _State.OVER,
    (_State.STOPPING, "lifespan.shutdown.failed"): _State.OVER,
}


class Lifespan:
    """One lifespan of one application on one event loop.

    Attributes:
        state: What the application keeps in `scope["state"]`. Give each connection's scope a
            shallow copy of it: `scope["state"] = dict(lifespan.state)`.
    """

    def __init__(self, app: ASGI3App, mode: str, timeout_s: float) -> None:
        """Prepare; nothing runs yet.

        Args:
            app: An ASGI 3 application.
            mode: `auto`: an application without lifespan is served all the same; `on`: it is
                not; `off`: no application is asked.
            timeout_s: How long start-up and shutdown may take, each, in seconds.
        """
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode
        self._timeout_s = timeout_s
        self._phase = _State.NEW
        self._inbound: asyncio.Queue[Message] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._failure: str | None = None  # the message of a "failed", or why there is none
        self._error: Exception | None = None  # what the application raised
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Run the application until it has started.

        Cancelling this cancels the application's lifespan.

        Raises:
            LifespanFailed: It answered `lifespan.startup.failed`, took longer than the
                time-out, or, in mode `on`, raised or returned without an answer.
        """
        if self._mode == "off":
            return
        self._phase = _State.STARTING
        self._inbound.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.create_task(self._run(), name="lifespan")
        try:
            answered = await self._wait_for_answer()
        except asyncio.CancelledError:
            await self._end(grace_s=0)
            raise
        if self._phase is _State.STARTED:
            return
        self._phase = _State.OVER
        await self._end(grace_s=min(_GRACE_S, self._timeout_s) if answered else 0)
        if self._failure is not None:
            message = self._failure or "the application's start-up failed"
            raise LifespanFailed(message) from self._error
        if not answered:
            raise LifespanFailed(f"the application did not start within {self._timeout_s:g} s")
        self._start_without()

    async def shutdown(self) -> None:
        """Tell the application to stop, and wait until it has ended, or the time-out.

        Never raises for what the application does: a failure is logged. Does nothing if the
        application has no lifespan, or was told before.
        """
        if self._phase is not _State.STARTED or self._task is None or self._task.done():
            return
        self._phase = _State.STOPPING
        self._answered.clear()
        self._inbound.put_nowait({"type": "lifespan.shutdown"})
        answered = await self._wait_for_answer()
        await self._end(grace_s=min(_GRACE_S, self._timeout_s) if answered else 0)
        self._phase = _State.OVER
        if self._error is not None:
            logger.error("application shutdown failed", exc_info=self._error)
        elif self._failure is not None:
            logger.error("application shutdown failed message=%r", self._failure)
        elif not answered:
            logger.error("application shutdown timed out after_s=%g", self._timeout_s)

    def _start_without(self) -> None:
        """Go on without a lifespan, as ASGI lifespan (Scope) wants, unless it is mandatory."""
        why = "it returned without an answer" if self._error is None else repr(self._error)
        if self._mode == "on":
            raise LifespanFailed(f"the application has no lifespan: {why}") from self._error
        # An application that has none raises at this scope, so this is no error; one that
        # failed to start should say so with lifespan.startup.failed. Debug shows where.
        shown = self._error if logger.isEnabledFor(logging.DEBUG) else None
        logger.info("application without lifespan reason=%.200s", why, exc_info=shown)

    async def _run(self) -> None:
        """Run the application; keep what it raises until somebody asks."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._inbound.get, self._send)
        except Exception as error:
            if self._phase is _State.STARTED:
                logger.exception("application lifespan ended by an exception")
            else:
                self._error = error
        finally:
            self._answered.set()

    async def _send(self, message: Mapping[str, Any]) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        following = _STEPS.get((self._phase, str(kind)))
        if following is None:
            raise ApplicationError(f"unexpected lifespan message {kind!r:.80}: {self._phase.value}")
        self._phase = following
        if str(kind).endswith(".failed"):
            self._failure = str(message.get("message", ""))
        self._answered.set()

    async def _wait_for_answer(self) -> bool:
        """Wait until the application answers or ends; tell whether it did within the time-out."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._answered.wait()
        except TimeoutError:
            return False
        return True

    async def _end(self, grace_s: float) -> None:
        """Let the application's task end by itself for `grace_s` seconds, then cancel it.

        What it does between its last answer and its end is brief, and not to be cut off. A
        task that ignores its cancellation is left behind after another second.
        """
        assert self._task is not None, "only after startup() has made it"
        _, pending = await asyncio.wait({self._task}, timeout=grace_s)
        if pending:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_GRACE_S)
