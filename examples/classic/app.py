"""An ASGI 2 application: a class that is called with the scope, then with `receive` and `send`."""

from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class Classic:
    """One connection: what it keeps in attributes lives as long as the connection."""

    def __init__(self, scope: Event) -> None:
        """Begin with the scope; the events come later."""
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"no {scope['type']} here")  # how ASGI 2 declines the lifespan
        self.scope = scope
        self.heard = 0

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Serve the connection."""
        if self.scope["type"] == "http":
            await self.describe(send)
        else:
            await self.echo(receive, send)

    async def describe(self, send: Send) -> None:
        """Answer with what was asked."""
        query = self.scope["query_string"].decode("latin-1")
        text = f"{self.scope['method']} {self.scope['path']}\nquery: {query or 'none'}\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    async def echo(self, receive: Receive, send: Send) -> None:
        """Say again what the client says, with its number."""
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            self.heard += 1
            said = event.get("text") or f"{len(event['bytes'])} bytes"
            await send({"type": "websocket.send", "text": f"{self.heard}: {said}"})


app = Classic
