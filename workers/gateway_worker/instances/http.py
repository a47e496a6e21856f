"""One HTTP request at the worker."""

from collections.abc import MutableMapping
from contextlib import aclosing
from typing import Any

from gateway_layer.codec import Message
from gateway_layer.wire import CHUNK_BYTES, EVENT_OVERHEAD, Open
from gateway_worker.core.http import HttpResponseRules
from gateway_worker.files import read_file
from gateway_worker.instances.instance import Host, Instance


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

    def on_over(self, reason: str) -> None:
        """Nobody waits for the answer any more."""
        self._leave()
        self._notify()

    def _leave(self) -> None:
        self._disconnect = {"type": "http.disconnect"}
        self._rules.receive_disconnect()
