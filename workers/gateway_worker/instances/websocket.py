"""One WebSocket at the worker."""

from collections.abc import MutableMapping
from typing import Any

from gateway_layer.codec import Message
from gateway_layer.wire import Open
from gateway_worker.core.websocket import WebSocketRules, WebSocketState
from gateway_worker.instances.instance import Host
from gateway_worker.instances.resumable import ABNORMAL, ResumableInstance


class WebSocketInstance(ResumableInstance):
    """One WebSocket (ASGI HTTP & WebSocket 2.5, "WebSocket")."""

    __slots__ = ("_rules",)

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare a connection that waits for `websocket.accept`."""
        super().__init__(host, opening, interface, window, scope)
        self._rules = WebSocketRules()

    @property
    def finished(self) -> bool:
        """Whether the connection is closed or completely refused."""
        return self._rules.closed

    @property
    def owes_answer(self) -> bool:
        """Returning closes an open connection with 1000; before `accept` it is a fault."""
        return self._rules.state is not WebSocketState.OPEN

    @property
    def closed_by_application(self) -> bool:
        """Whether the application has sent `websocket.close` after its `websocket.accept`."""
        return self._rules.state is WebSocketState.CLOSED

    def refuse_sends(self) -> None:
        """The connection is over."""
        self._rules.receive_disconnect()

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
        self.moves += 1
        if event["type"] != "websocket.http.response.body":
            if (later := self._pass_on(event)) is not None:
                await later
            return
        await self._emit_body(event, event["body"])
        if self.finished:
            self._closed(ABNORMAL, "")
