"""The side of the server for any ASGI application: put events in, take what it sends out."""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from gateway_worker.apps import (
    ASGI3App,
    Message,
    Receive,
    Scope,
    Send,
    double_to_single_callable,
    is_double_callable,
)
from gateway_worker.consumers.database import keep_connections

TIMEOUT_S: Final = 1.0
"""How long an application may take for its next step, unless a test says otherwise."""


class ApplicationCommunicator:
    """Runs an application for one scope.

    It begins with the first call, in a task with an empty context of its own, so it sees no
    context variables of the test; within it, old connections of Django's ORM are not closed,
    since they are the test's. An exception of the application is raised by the next call of the
    test. Each application should be ended by `wait`; what still runs when the communicator is
    collected is cancelled.

    Attributes:
        application: As ASGI 3.
        scope: May be added to until the first call.
        input_queue: Events that the application has not received yet.
        output_queue: What it has sent and nobody has taken yet.
    """

    def __init__(self, application: Callable[..., Any], scope: Scope) -> None:
        """Take an application of ASGI 2 or 3, and the scope of its connection."""
        self.application: ASGI3App = (
            double_to_single_callable(application)
            if is_double_callable(application)
            else application
        )
        self.scope = scope
        self.input_queue: asyncio.Queue[Message] = asyncio.Queue()
        self.output_queue: asyncio.Queue[Message] = asyncio.Queue()
        self._future: asyncio.Task[None] | None = None

    @property
    def future(self) -> "asyncio.Task[None]":
        """The task that runs the application."""
        if self._future is None:
            context = Context()
            context.run(keep_connections.set, True)
            running = _run(
                self.application, self.scope, self.input_queue.get, self.output_queue.put
            )
            self._future = asyncio.get_running_loop().create_task(running, context=context)
        return self._future

    async def send_input(self, message: Message) -> None:
        """Give the application an event.

        Raises:
            Exception: What the application has raised.
        """
        self._raise_failure()
        await self.input_queue.put(message)

    async def receive_output(self, timeout: float = TIMEOUT_S) -> Message:  # noqa: ASYNC109 (as Channels has it)
        """Return the next event that the application sends.

        Raises:
            TimeoutError: It sent none in so many seconds, and was cancelled, or it has returned.
            Exception: What the application has raised.
        """
        self._raise_failure()
        task = self.future
        get = asyncio.ensure_future(self.output_queue.get())
        try:
            await asyncio.wait({get, task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not get.done() and task.done():
                # What it sent in its last step is there, the getter only does not know yet.
                await asyncio.wait({get}, timeout=0)
            if get.done():
                return get.result()
        finally:
            get.cancel()
        self._raise_failure()
        await self._cancel()
        raise TimeoutError("the application sent nothing")

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:  # noqa: ASYNC109 (as Channels has it)
        """Return whether the application sends nothing for `timeout` seconds.

        Args:
            timeout: Seconds; an application that has ended is not waited for.
            interval: Seconds between two looks.

        Raises:
            Exception: What the application has raised.
        """
        self._raise_failure()
        end = time.monotonic() + timeout
        # Without taking anything, which nothing but a look tells.
        while self.output_queue.empty() and not self.future.done() and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(interval)
        return self.output_queue.empty()

    async def wait(self, timeout: float = TIMEOUT_S) -> None:  # noqa: ASYNC109 (as Channels has it)
        """Wait until the application has returned.

        Raises:
            TimeoutError: It did not in so many seconds, and was cancelled.
            Exception: What it has raised; not the CancelledError of one that was cancelled.
        """
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait({self.future})
        finally:
            await self._cancel()
        self._raise_failure()

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application without waiting for it.

        Args:
            exceptions: If it has ended, raise what it has raised.
        """
        if self._future is None:
            return
        if not self._future.done():
            self._future.cancel()
        elif exceptions:
            self._raise_failure()

    def __del__(self) -> None:
        """Cancel what nobody can talk to any more."""
        future = getattr(self, "_future", None)
        if future is not None and not future.get_loop().is_closed():
            self.stop(exceptions=False)

    def _raise_failure(self) -> None:
        task = self.future
        if task.done() and not task.cancelled():
            task.result()

    async def _cancel(self) -> None:
        task = self.future
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _run(application: ASGI3App, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an application; no method, whose task would keep its communicator from collection."""
    await application(scope, receive, send)
