"""One connection to an ASGI application, without a server."""

import asyncio
from collections.abc import Iterable
from typing import Any

from gateway_worker.apps import ASGI3App, Message, Receive, Scope, Send

Headers = Iterable[tuple[str, str]]


def http(path: str = "/", headers: Headers = (), **more: Any) -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": _raw(headers)} | more


def websocket(path: str = "/", headers: Headers = (), **more: Any) -> Scope:
    return {"type": "websocket", "path": path, "headers": _raw(headers)} | more


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


class Application:
    """Remembers the scopes it got; answers HTTP with 200 and accepts WebSockets."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    @property
    def scope(self) -> Scope:
        (scope,) = self.scopes
        return scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})


async def exchange(app: ASGI3App, scope: Scope) -> list[Message]:
    """Run an application with the first event of its protocol; return what it sent."""
    first = "websocket.connect" if scope["type"] == "websocket" else "http.request"
    inbound: asyncio.Queue[Message] = asyncio.Queue()
    inbound.put_nowait({"type": first})
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(20):
        await app(scope, inbound.get, send)
    return sent


async def status_of(app: ASGI3App, scope: Scope) -> int:
    """Return what a client sees: the status of a response, 101 or 403 for a WebSocket."""
    first = (await exchange(app, scope))[0]
    if scope["type"] == "websocket":
        return {"websocket.accept": 101, "websocket.close": 403}[first["type"]]
    status: int = first["status"]
    return status
