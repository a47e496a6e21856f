"""One application instance: the `receive` and `send` that it is given, on top of its session."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Collection, MutableMapping
from typing import Any, Final, Protocol

from gateway_layer.codec import Message
from gateway_layer.errors import ClientDisconnected
from gateway_layer.outlet import Outlet
from gateway_layer.redis.address import RedisAddress
from gateway_layer.session import WorkerSession
from gateway_layer.wire import CHUNK_BYTES, EVENT_OVERHEAD, Open
from gateway_worker.apps import ASGI3App
from gateway_worker.blocking import own_thread, release

_CAUSES: Final = 8
"""So far back is looked for what an exception was raised from: causes may go round in circles."""

_log = logging.getLogger("gateway.worker")


class Host(Protocol):
    """What an instance needs of its worker."""

    application: ASGI3App
    outlet: Outlet
    on_worker_exit: str
    """`auto`, `resume` or `close`; see `WorkerConfig`."""
    redis: RedisAddress | None
    """Of the channel layer; None: it is on no Redis."""

    @property
    def full(self) -> Collection[str | None]:
        """Interface servers that leave too much unacknowledged, as of now."""

    def mark(self, session: WorkerSession) -> None:
        """Have the session's frames taken at the end of this turn."""

    def ended(self, instance: "Instance") -> None:
        """The instance is over; forget it."""


class Instance(WorkerSession):
    """Runs the application for one connection. One task each, as frameworks expect.

    Attributes:
        kind: The scope's type.
        scope: What the application was given.
        task: Runs the application; None before `start`.
    """

    __slots__ = ("_disconnect", "_host", "_waiters", "kind", "scope", "task")

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare; `start` runs it."""
        super().__init__(opening, interface, window, host.full)
        self._host = host
        self._waiters: list[asyncio.Future[None]] = []
        self._disconnect: Message | None = None
        self.kind = opening.kind
        self.scope = scope
        self.task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Create the task; its first step runs in this turn of the loop."""
        self.task = loop.create_task(self._run())

    def mark(self) -> None:
        """Have this session's frames sent at the end of the turn."""
        self._host.mark(self)

    def on_released(self) -> None:
        """Nobody asked for it: requests are not handed over."""

    async def _run(self) -> None:
        thread = own_thread()
        try:
            await self._host.application(self.scope, self.receive, self.send)
        except ClientDisconnected:
            outcome = "returned"
        except asyncio.CancelledError:
            # Its own, where nobody cancelled the task: a fault like any other exception.
            task = self.task
            outcome = "drain" if task is not None and task.cancelling() else "error"
            if outcome == "error":
                _log.exception("application failed %s", self._describe())
        except BaseException as error:
            # SystemExit too: one connection must not end the process.
            outcome = "error"
            self._log_failure(error)
        else:
            outcome = "returned"
        if thread is not None:
            release(thread)
        self._settle(outcome)
        self._host.ended(self)

    def _settle(self, outcome: str) -> None:
        """Say how the application ended, if the connection still waits for something of it."""
        if self._disconnect is None and not self.finished:
            if outcome == "returned" and self.owes_answer:
                _log.error("application returned without an answer %s", self._describe())
            self.finish(outcome)
            # Tasks that the application left behind hear that nobody is there any more.
            self.on_over("the application has ended")

    def _log_failure(self, error: BaseException) -> None:
        """Log what the application raised; how frameworks end at a disconnect is no failure."""
        if (self._disconnect is not None or self.finished) and _is_disconnect(error):
            _log.info(
                "application ended with %s after the client had left %s",
                type(error).__name__,
                self._describe(),
                exc_info=_log.isEnabledFor(logging.DEBUG),
            )
        else:
            _log.exception("application failed %s", self._describe())

    def _describe(self) -> str:
        return f"{self.scope.get('type')} {self.scope.get('path', '')!r}"

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the application has said all that its protocol needs."""

    @property
    @abstractmethod
    def owes_answer(self) -> bool:
        """Whether returning now is a fault of the application."""

    @property
    def left(self) -> bool:
        """Whether nobody takes any more what the application sends."""
        return self._disconnect is not None

    @abstractmethod
    async def receive(self) -> Message:
        """ASGI `receive`."""

    @abstractmethod
    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI `send`."""

    # Waiting. Whoever waits, in `receive` or `send`, is woken by anything and looks again. A bare
    # future costs a third of an asyncio.Event, and an idle connection holds one.

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _notify(self) -> None:
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def on_credit(self) -> None:
        """More may be sent: wake whoever waits in `send`."""
        self._notify()

    async def _emit(self, parts: list[Message], cost: int) -> None:
        """Send an event as soon as the client's credit, and the way to Redis, allow.

        Raises:
            ClientDisconnected: The client left meanwhile.
        """
        outlet = self._host.outlet
        while True:
            if self.left:
                raise ClientDisconnected("the client has left")
            if outlet.room > 0 and self.may_send(cost):
                break
            if outlet.room <= 0:
                outlet.when_room(self._notify)
            await self._wait()
        outlet.room -= cost
        self.emit(parts, cost)

    async def _emit_body(self, event: Message, body: bytes) -> None:
        """Send a body event, in pieces of a chunk: a stream of bytes may be cut anywhere."""
        for at in range(0, len(body) or 1, CHUNK_BYTES):
            piece = body[at : at + CHUNK_BYTES]
            more = event["more_body"] or at + CHUNK_BYTES < len(body)
            part: Message = {"type": event["type"], "body": piece, "more_body": more}
            await self._emit([part], EVENT_OVERHEAD + len(piece))


def _is_disconnect(error: BaseException | None) -> bool:
    """Tell by the name, such as WebSocketDisconnect, since each framework has its own class.

    What was raised from one, as Litestar does, says the same.
    """
    for _ in range(_CAUSES):
        if isinstance(error, BaseExceptionGroup):
            return all(map(_is_disconnect, error.exceptions))
        if error is None or "Disconnect" in type(error).__name__:
            break
        error = error.__cause__
    return error is not None and "Disconnect" in type(error).__name__
