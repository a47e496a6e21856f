"""Event streams that another worker goes on with, or does not."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.end_to_end.apps import HTTP, Handler, Receive, Scope, Send, end, http, more, note
else:  # this folder is the worker's --app-dir
    from apps import HTTP, Handler, Receive, Scope, Send, end, http, more, note

LAST = 9
"""The events of a stream have the ids 1 to 9; its first instance stops in the middle of the 4th."""

FLOOD = 8_000
_TEXT = "x" * 1000

_TYPE = (b"content-type", b"text/event-stream")


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the handler of the path."""
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await HTTP[scope["path"]](scope, receive, send)


def last_event_id(scope: Scope) -> int:
    """The id of the event after which to go on; 0 without one."""
    return int(dict(scope["headers"]).get(b"last-event-id", 0))


async def begin_stream(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [_TYPE, *headers]})


async def tell(send: Send, number: int, text: object = "") -> None:
    """Send an event in two pieces."""
    await more(send, b"id: %d\nda" % number)
    await more(send, f"ta: {text}\n\n".encode())


async def stop(scope: Scope, send: Send) -> None:
    """Send events 1 to 3 and a part of the 4th, then nothing until this instance is ended."""
    for number in range(1, 4):
        await tell(send, number)
    await more(send, b"id: 4\ndata: lost\n")
    note(scope, os.getpid())
    await asyncio.Event().wait()


async def go_on(scope: Scope, send: Send, begun: int) -> None:
    """Send what follows the event `begun`, and end."""
    note(scope, f"{os.getpid()} {begun}")
    await more(send, b"\xef\xbb\xbf")
    for number in range(begun + 1, LAST + 1):
        await tell(send, number)
    await end(send)


def stops_once(path: str, *headers: tuple[bytes, bytes]) -> Callable[[Handler], Handler]:
    """Serve a stream with these headers; the handler is for those who come back with an id."""

    def register(handler: Handler) -> Handler:
        @http(path)
        async def first(scope: Scope, receive: Receive, send: Send) -> None:
            if last_event_id(scope):
                await handler(scope, receive, send)
            else:
                await begin_stream(send, *headers)
                await stop(scope, send)

        return handler

    return register


@stops_once("/plain")
@stops_once("/gzip", (b"content-encoding", b"gzip"))
@stops_once("/sized", (b"content-length", b"1000"))
async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await begin_stream(send, (b"x-second", b"never seen"))
    await go_on(scope, send, last_event_id(scope))


@stops_once("/no-content")
async def no_content(scope: Scope, receive: Receive, send: Send) -> None:
    note(scope, "asked")
    await begin_stream(send, status=204)
    await end(send)


@stops_once("/silent")
async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    note(scope, "asked")
    await asyncio.Event().wait()


@stops_once("/deadly")
async def deadly(scope: Scope, receive: Receive, send: Send) -> None:
    note(scope, "asked")
    await begin_stream(send)
    await more(send, b": alive\n\ndata: lost\n")
    os._exit(9)


@http("/without-ids")
async def without_ids(scope: Scope, receive: Receive, send: Send) -> None:
    note(scope, os.getpid())
    await begin_stream(send)
    await more(send, b"data: one\n\n")
    await asyncio.Event().wait()


@http("/steady")
async def steady(scope: Scope, receive: Receive, send: Send) -> None:
    """Send events for ever; each instance says who it is."""
    note(scope, os.getpid())
    await begin_stream(send)
    number = last_event_id(scope)
    while True:
        number += 1
        await tell(send, number, os.getpid())
        await asyncio.sleep(0.001)


@http("/flood")
async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Send more than fits on the way to a client that does not read."""
    note(scope, os.getpid())
    await begin_stream(send)
    for number in range(last_event_id(scope) + 1, FLOOD + 1):
        await tell(send, number, _TEXT)
        if number % 100 == 0:
            note(scope, number)
    await end(send)


@http("/large")
async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """Send an event of which every line is larger than the least window."""
    await begin_stream(send)
    for _ in range(20):
        await more(send, b"data: " + _TEXT.encode() + b"\n")
    await more(send, b"\n")
    await asyncio.Event().wait()
