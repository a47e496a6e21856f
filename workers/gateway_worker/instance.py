"""One application instance: the `receive` and `send` that it is given, on top of its session."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import MutableMapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from gateway_layer.codec import Message, unpack_state
from gateway_layer.errors import ClientDisconnected, MessageTooLarge
from gateway_layer.link import Link
from gateway_layer.outlet import Outlet
from gateway_layer.session import WorkerSession, event_cost, split_event
from gateway_layer.wire import CHUNK_BYTES, EVENT_OVERHEAD, Open
from gateway_worker.apps import ASGI3App
from gateway_worker.blocking import own_thread, release
from gateway_worker.core.http import HttpResponseRules
from gateway_worker.core.websocket import WebSocketRules, WebSocketState
from gateway_worker.files import read_file

_log = logging.getLogger("gateway.worker")

RESTART_CODE: Final = 1012
"""Close code "service restart" (IANA): what a WebSocket's instance hears when its worker drains."""

_ABNORMAL: Final = 1006

_RELEASE_S: Final = 10.0
"""How long an application may take to handle what it was given before its connection goes on
elsewhere; what it has not handled goes with it."""

_DISCONNECT_S: Final = 5.0
"""How long a WebSocket's instance may take to end after it heard of the worker's drain."""

_MAX_MESSAGE_BYTES: Final = 16 * 2**20
"""A WebSocket message is whole in each process on its way, and what waits for Redis is bounded:
one that fills it would end the connections of everybody."""


class Host(Protocol):
    """What an instance needs of its worker."""

    application: ASGI3App
    outlet: Outlet
    on_worker_exit: str
    """`auto`, `resume` or `close`; see `WorkerConfig`."""

    def link(self, peer: str) -> Link:
        """Return the link to an interface server."""

    def mark(self, session: WorkerSession) -> None:
        """Have the session's frames taken at the end of this turn."""

    def ended(self, instance: "Instance") -> None:
        """The instance is over; forget it."""


class Instance(WorkerSession):
    """Runs the application for one connection. One task each, as frameworks expect.

    Attributes:
        scope: What the application was given.
        task: Runs the application; None before `start`.
    """

    __slots__ = ("_disconnect", "_host", "_link", "_waiters", "scope", "task")

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare; `start` runs it."""
        super().__init__(opening, interface, window)
        self._host = host
        self._link = host.link(interface)
        self._waiters: list[asyncio.Future[None]] = []
        self._disconnect: Message | None = None
        self.scope = scope
        self.task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Create the task; its first step runs in this turn of the loop."""
        self.task = loop.create_task(self._run())

    def mark(self) -> None:
        """Have this session's frames sent at the end of the turn."""
        self._host.mark(self)

    @property
    def blocked(self) -> bool:
        """Whether the interface server leaves too much unacknowledged."""
        return self._link.full

    def on_released(self) -> None:
        """Nobody asked for it: only WebSockets are handed over."""

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
            self.on_lost("the application has ended")

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


class HttpInstance(Instance):
    """One HTTP request (ASGI HTTP & WebSocket 2.5, "HTTP")."""

    __slots__ = ("_request", "_rules")

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare a request; its body begins with what the opening brought."""
        super().__init__(host, opening, interface, window, scope)
        self._rules = HttpResponseRules(scope["method"])
        self._request: Message | None = None
        if opening.body or not opening.more:
            self._request = {
                "type": "http.request",
                "body": opening.body,
                "more_body": opening.more,
            }

    @property
    def finished(self) -> bool:
        """Whether the last part of the response was sent."""
        return self._rules.complete

    @property
    def owes_answer(self) -> bool:
        """A request always wants a complete response."""
        return True

    async def receive(self) -> Message:
        """Return the next `http.request`, or `http.disconnect` from the end on, again and again."""
        self.confirm()
        if self._request is not None:
            request, self._request = self._request, None
            return request
        while True:
            if self._rules.complete:
                return {"type": "http.disconnect"}
            if self.inbox:
                event = self.take_event()
                if event["type"] != "http.disconnect":
                    return event
            if self._disconnect is not None:
                return dict(self._disconnect)
            await self._wait()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take `http.response.start`, `.body` or an extension's; waits while the client takes none.

        Raises:
            TypeError: A value of a wrong type; the text names the path to it.
            ApplicationError: The wrong order, a body that breaks its Content-Length, or a file
                that cannot be read.
            ClientDisconnected: The client has left.
        """
        event = self._rules.send(message)
        body = event.get("body", b"")
        if len(body) > CHUNK_BYTES:
            await self._emit_body(event, body)
        elif "path" in event:
            await self._send_file(event["path"])
        else:
            cost = EVENT_OVERHEAD + len(body)
            outlet = self._host.outlet
            if outlet.room > 0 and self.may_send(cost):
                outlet.room -= cost
                self.emit([event], cost)
            else:
                await self._emit([event], cost)
        if self._waiters and self._rules.complete:
            self._notify()

    async def _send_file(self, path: str) -> None:
        """Send a file as the rest of the body, up to Content-Length: it may have grown since.

        Never more than a block of it is held, and none is read before the last has left.
        """
        async with aclosing(read_file(path, self._rules.room)) as blocks:
            async for block, more in blocks:
                event = self._rules.send(
                    {"type": "http.response.body", "body": block, "more_body": more}
                )
                await self._emit_body(event, event["body"])

    def on_events(self) -> None:
        """Wake `receive`; a disconnect also makes every later `send` raise."""
        if self.inbox[-1][1]["type"] == "http.disconnect":
            self._leave()
        self._notify()

    def on_lost(self, reason: str) -> None:
        """Nobody waits for the answer any more."""
        self._leave()
        self._notify()

    def _leave(self) -> None:
        self._disconnect = {"type": "http.disconnect"}
        self._rules.receive_disconnect()


class WebSocketInstance(Instance):
    """One WebSocket (ASGI HTTP & WebSocket 2.5, "WebSocket").

    Attributes:
        resumable: The connection may go on with another instance.
        moves: Grows with whatever the application receives or sends; for who looks for idleness.
    """

    __slots__ = (
        "_asking",
        "_connected",
        "_departed",
        "_leaving",
        "_released",
        "_rules",
        "moves",
        "resumable",
    )

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare a connection that waits for `websocket.accept`."""
        super().__init__(host, opening, interface, window, scope)
        self._rules = WebSocketRules()
        self._connected = False
        self._asking = False  # the application waits in `receive`
        self._leaving: str | None = None
        self._released = False
        self._departed = False
        self.resumable = False
        self.moves = 0
        self.keeps = {} if opening.state is None else unpack_state(opening.state)
        scope["extensions"]["gateway"] |= {"state": self.keeps, "confirm": self.confirm_given}

    def confirm_given(self) -> None:
        """Confirm all events that `receive` has returned: the extension's `confirm`.

        From its first call on, `receive` confirms nothing by itself any more: for an application
        that asks for events ahead of handling them. What is not confirmed takes of the client's
        window, 256 KiB.
        """
        self.explicit = True
        self.confirm()

    @property
    def finished(self) -> bool:
        """Whether the connection is closed or completely refused."""
        return self._rules.closed

    @property
    def owes_answer(self) -> bool:
        """Returning closes an open connection with 1000; before `accept` it is a fault."""
        return self._rules.state is not WebSocketState.OPEN

    @property
    def left(self) -> bool:
        """Also while the application has not asked for the event that says so."""
        if self._disconnect is not None:
            return True
        return bool(self.inbox) and self.inbox[-1][1]["type"] == "websocket.disconnect"

    async def receive(self) -> Message:
        """Return `websocket.connect`, messages, then `websocket.disconnect` again and again.

        Raises:
            TypeError: A value in the connection's state that cannot travel.
            ApplicationError: The state is larger than 16 KiB.
        """
        if not self.explicit:
            self.confirm()
        self.moves += 1
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self.inbox:
            if self._released:
                self._depart()
            if self._disconnect is not None:
                return dict(self._disconnect)
            self._asking = True
            try:
                await self._wait()
            finally:
                self._asking = False
        event = self.take_event()
        if event["type"] == "websocket.disconnect":
            self._disconnect = event
        return event

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take `websocket.accept`, `.send`, `.close` or a denial response.

        Waits while the client takes nothing.

        Raises:
            TypeError: A value of a wrong type; the text names the path to it.
            ApplicationError: The wrong order.
            MessageTooLarge: Over 16 MiB; nothing was sent.
            ClientDisconnected: The client has left.
        """
        event = self._rules.send(message)
        kind = event["type"]
        self.moves += 1
        if kind == "websocket.accept":
            self._decide_resumption(event)
        if kind == "websocket.http.response.body":
            await self._emit_body(event, event["body"])
            if self.finished:
                self._closed(_ABNORMAL, "")
            return
        cost = event_cost(event)
        if cost > _MAX_MESSAGE_BYTES:
            raise MessageTooLarge(f"a WebSocket message of {cost} bytes; 16 MiB may be sent")
        if kind == "websocket.send" and cost >= CHUNK_BYTES // 4:
            parts = split_event(event, "bytes" if event.get("text") is None else "text")
        else:
            parts = [event]
        outlet = self._host.outlet
        if outlet.room > 0 and self.may_send(cost):
            outlet.room -= cost
            self.emit(parts, cost)
        else:
            await self._emit(parts, cost)
        if kind == "websocket.close":
            self._closed(event["code"], event.get("reason") or "")

    def _closed(self, code: int, reason: str) -> None:
        """The application closed: what it may still receive is the end."""
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._notify()

    def on_events(self) -> None:
        """Wake `receive`; a disconnect also makes every later `send` raise."""
        if self.inbox[-1][1]["type"] == "websocket.disconnect":
            self._rules.receive_disconnect()
        self._notify()

    def on_lost(self, reason: str) -> None:
        """The interface server is gone or has given the connection up."""
        self._end(_ABNORMAL, reason)

    def _decide_resumption(self, event: Message) -> None:
        """Let the worker's policy decide about what the application declared, or did not."""
        policy = self._host.on_worker_exit
        if policy != "auto":
            event["resume"] = policy == "resume"
        self.resumable = event["resume"]

    # Letting go.

    @property
    def idle(self) -> bool:
        """Whether the application waits for an event, and there is none."""
        return self._asking and not self.inbox

    def let_go(self, reason: str) -> None:
        """Hand the connection over, `drain` or `hibernate`, or close it with 1012.

        A connection that can be resumed is released: the interface server gives no more events and
        waits until what it gave is handled. Then the application hears of the end as a disconnect
        with 1012, and when the instance has ended the connection is the interface server's again.
        """
        if self._leaving is not None or self._disconnect is not None or self.finished:
            return
        if not self.resumable:
            self.finish(reason)
            self._end(RESTART_CODE, "the worker restarts")
            self._cancel_later()
            return
        self._leaving = reason
        self.release(reason)
        asyncio.get_running_loop().call_later(_RELEASE_S, self._depart)

    def on_released(self) -> None:
        """No more events come, and none is unconfirmed."""
        self._released = self._leaving is not None
        if self._released and self.idle:
            self._depart()

    def _depart(self) -> None:
        """Tell the application; also one that took too long with what it was given."""
        if self._departed or self._disconnect is not None:
            return
        self._departed = True
        self.note_last_state()
        self._end(RESTART_CODE, "the worker restarts")
        self._cancel_later()

    def _cancel_later(self) -> None:
        if self.task is not None:
            asyncio.get_running_loop().call_later(_DISCONNECT_S, self.task.cancel)

    def _settle(self, outcome: str) -> None:
        """Give the connection back, or say how the application ended."""
        if self._leaving is not None and (self._departed or outcome == "drain"):
            if not self.finished_by_application:
                self.detach(self._leaving)
                self.on_lost("the application has ended")
                return
        elif self.resumable and self.left:
            self.confirm_all()
        super()._settle(outcome)

    @property
    def finished_by_application(self) -> bool:
        """Whether the application has closed the connection itself."""
        return self._rules.state is WebSocketState.CLOSED

    def _end(self, code: int, reason: str) -> None:
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._rules.receive_disconnect()
        self._notify()


def _is_disconnect(error: BaseException) -> bool:
    """Tell by the name, such as WebSocketDisconnect, since each framework has its own class."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_disconnect, error.exceptions))
    return "Disconnect" in type(error).__name__


INSTANCES: Final[dict[str, type[Instance]]] = {
    "http": HttpInstance,
    "websocket": WebSocketInstance,
}


def make_scope(opening: Open, interface: str, state: dict[str, Any]) -> Message:
    """Complete the scope of an opening with what the worker adds.

    Args:
        opening: Its scope came over the wire, where lists arrive as tuples.
        interface: pid of the connection's owner, for its reply channel.
        state: The lifespan's state; each scope gets a shallow copy (ASGI lifespan 2.0, "state").
    """
    scope = opening.scope
    scope["headers"] = list(scope["headers"])
    scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
    extensions = scope.setdefault("extensions", {})
    extensions["gateway"] = {
        "reply_channel": f"{interface}!{opening.connection}",
        "resumed": opening.resumed,
    }
    if opening.kind == "http":
        extensions["http.response.pathsend"] = {}
    if "subprotocols" in scope:
        scope["subprotocols"] = list(scope["subprotocols"])
    scope["state"] = state.copy()
    return scope
