"""The applications under test; both servers load them by name, as `benchmarks.apps:hello`.

They are plain ASGI 3 without a framework, so that the figures are the servers' own. None knows
the `lifespan` scope: the assertion is how ASGI lets an application decline it.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from benchmarks.content import chunks

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BLOCK_S = 0.02
"""How long `blocking` holds its event loop for each request."""

_HELLO_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    """Answer every request with 13 bytes of text."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": _HELLO_HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Accept a WebSocket and send every message back."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send(
            {"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")}
        )


async def address(scope: Message, receive: Receive, send: Send) -> None:
    """Accept a WebSocket, tell it its reply channel, and take no part in what is pushed to it."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    channel = scope["extensions"]["gateway"]["reply_channel"]
    await send({"type": "websocket.send", "text": channel})
    while (await receive())["type"] == "websocket.receive":
        pass


async def blocking(scope: Message, receive: Receive, send: Send) -> None:
    """Hold the event loop for `BLOCK_S`, as an application that computes does; then say hello."""
    assert scope["type"] == "http"
    time.sleep(BLOCK_S)  # noqa: ASYNC251 -- blocking the loop is what this application is for
    await send({"type": "http.response.start", "status": 200, "headers": _HELLO_HEADERS})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def download(scope: Message, receive: Receive, send: Send) -> None:
    """Send the first `?bytes=N` bytes of the test content as fast as `send` allows."""
    assert scope["type"] == "http"
    total = int(_query(scope)["bytes"])
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(total).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in chunks(total):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def upload(scope: Message, receive: Receive, send: Send) -> None:
    """Take a body slowly and answer `{"bytes": count, "sha256": hex}`.

    `?pause=S&rate=B`: nothing is read for S seconds, then at most B bytes a second.
    """
    assert scope["type"] == "http"
    query = _query(scope)
    await asyncio.sleep(float(query["pause"]))
    rate = float(query["rate"])
    digest, count, started, more = hashlib.sha256(), 0, time.monotonic(), True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body = event.get("body", b"")
        digest.update(body)
        count += len(body)
        more = event.get("more_body", False)
        ahead_s = count / rate - (time.monotonic() - started)
        if ahead_s > 0.01:
            await asyncio.sleep(ahead_s)
    answer = json.dumps({"bytes": count, "sha256": digest.hexdigest()}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _query(scope: Message) -> dict[str, str]:
    """Return the last value of each name in the query string."""
    return {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
