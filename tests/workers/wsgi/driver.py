"""Runs WSGI applications on the bridge, with a client that the test plays."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from wsgiref.validate import validator

from gateway_layer.errors import ClientDisconnected
from gateway_worker.wsgi import WsgiBridge

TIMEOUT_S = 10.0

Event = dict[str, Any]
DISCONNECT: Event = {"type": "http.disconnect"}


def scope_of(
    method: str = "GET", path: str = "/", *headers: tuple[bytes, bytes], **keys: Any
) -> Event:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"here:80"), *headers],
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8000),
        **keys,
    }


def piece(body: bytes = b"", *, more: bool = False) -> Event:
    return {"type": "http.request", "body": body, "more_body": more}


class Client:
    """What receives and sends in place of the connection.

    Attributes:
        sent: What the application has sent.
        asked: How often it has asked for a piece of the body.
        credit: `send` waits until it is set.
    """

    def __init__(self, *pieces: Event) -> None:
        self.pieces = list(pieces)
        self.sent: list[Event] = []
        self.asked = 0
        self.credit = asyncio.Event()
        self.credit.set()
        self.left = False

    async def receive(self) -> Event:
        self.asked += 1
        return self.pieces.pop(0) if self.pieces else dict(DISCONNECT)

    async def send(self, message: Any) -> None:
        await self.credit.wait()
        if self.left:
            raise ClientDisconnected("the client has left")
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.sent)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def complete(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


async def serve(
    app: Any, scope: Event | None = None, *pieces: Event, validate: bool = True
) -> Client:
    """Run one request to its end."""
    client = Client(*pieces)
    await call(validator(app) if validate else app, client, scope)
    return client


async def call(app: Any, client: Client, scope: Event | None = None) -> None:
    bridge = WsgiBridge(app, threads=2)
    async with asyncio.timeout(TIMEOUT_S):
        try:
            await bridge(scope or scope_of(), client.receive, client.send)
        finally:
            await end_threads(bridge)


async def end_threads(bridge: Callable[..., Awaitable[None]]) -> None:
    """Go through the bridge's lifespan, which ends its threads."""
    events = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

    async def receive() -> Event:
        return next(events)

    async def send(_message: Any) -> None:
        pass

    await bridge({"type": "lifespan"}, receive, send)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what a thread brings about; nothing tells of it."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
