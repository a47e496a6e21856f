"""Runs a WSGI application in threads, as an ASGI 3 application."""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, TypeAlias

from gateway_worker.wsgi.environ import EnvironBuilder
from gateway_worker.wsgi.exchange import Exchange, FileWrapper
from gateway_worker.wsgi.threads import Threads

Message: TypeAlias = MutableMapping[str, Any]
WsgiApp: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]

DEFAULT_THREADS: Final = 10


class WsgiBridge:
    """A WSGI application (PEP 3333) with the shape of an ASGI 3 application.

    A request runs in one thread from its first line to the `close` of its result. A request with
    a small body, or none, and a response that Content-Length or a list completes, costs one step
    from the event loop to a thread and one back. What is longer streams: `wsgi.input` asks for
    the next piece when the application reads, and who writes waits while more than 64 KiB are on
    their way to the client. When the client has left, reading and writing raise
    `ClientDisconnected`, an OSError.

    WebSockets are refused with 403. At the end of the lifespan the threads end.

    Attributes:
        threads: How many there are at most.
        busy: Requests that have a thread or wait for one; not those that wait for their body.
    """

    def __init__(self, app: WsgiApp, threads: int = DEFAULT_THREADS) -> None:
        """Wrap an application; nothing is started.

        Args:
            app: `app(environ, start_response)`, which has to be safe for threads.
            threads: Requests that run at the same time, from 1. Further ones wait.
        """
        self._app: Final = app
        self.threads: Final = threads
        self.busy = 0
        self._pool: Final = Threads(threads)
        self._environ: Final = EnvironBuilder(
            {
                "SERVER_SOFTWARE": "channel-gateway",
                "wsgi.version": (1, 0),
                "wsgi.errors": sys.stderr,
                "wsgi.multithread": True,
                "wsgi.multiprocess": True,
                "wsgi.run_once": False,
                "wsgi.file_wrapper": FileWrapper,
                # Chunked bodies have no CONTENT_LENGTH: reading to the end is safe here.
                "wsgi.input_terminated": True,
            }
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: Final[deque[Exchange]] = deque()
        self._scheduled = False

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one connection.

        Raises:
            Exception: Whatever the application raised.
            ClientDisconnected: The client left before it had the whole response.
            ValueError: A type of scope that WSGI has no answer for.
        """
        kind = scope["type"]
        if kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            raise ValueError(f"a WSGI application cannot serve {kind!r}")

    async def _serve(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        environ = self._environ.build(scope)
        exchange = Exchange(self._app, environ, self._wake)
        if not await exchange.prepare_input(receive):
            return
        context = copy_context()
        self.busy += 1
        try:
            self._pool.run(lambda: context.run(exchange.run))
            await exchange.serve(receive, send)
        finally:
            self.busy -= 1

    async def _live(
        self,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """WSGI knows no lifespan: nothing happens at its start, and its end ends the threads."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    # To wake the event loop costs a thread more than all else here, and most of what several of
    # them say in a short time fits into one waking.

    def _wake(self, exchange: Exchange) -> None:
        """From a thread: have the event loop look after this exchange."""
        self._woken.append(exchange)
        if not self._scheduled:
            self._scheduled = True
            assert self._loop is not None, "an exchange runs after _serve"
            # Where the loop is closed, a thread has outlived the drain: nobody waits for it.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        # First: whoever appends from now on schedules another look.
        self._scheduled = False
        while self._woken:
            self._woken.popleft().look()
