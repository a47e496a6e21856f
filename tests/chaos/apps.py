"""The applications under fault: they count, and they note what happens to their instances."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway_layer.push import Push

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

GROUP = "everyone"

_PID = os.getpid()  # imported in the child
_HANDLING_S = 0.1
_ANSWER_S = 0.02
_CHATTER_S = 0.1
_served: set[str] = set()
"""Reply channels of all that `chatter` has ever served in this process."""


def note(kind: str, *words: object) -> None:
    """Append a line to a file of this process, in one write: it outlives any kill."""
    path = Path(os.environ["NOTES"], f"{kind}-{os.getpid()}")
    with path.open("ab", buffering=0) as file:
        file.write((" ".join(map(str, words)) + "\n").encode())


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a path of `count`, `chatter`, `deaf`, `endless` (both kinds), `wait`, or anything."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    channel: str = scope["extensions"]["gateway"]["reply_channel"]
    note("begin", channel, scope["path"])
    try:
        if scope["type"] == "http":
            await _HTTP.get(scope["path"], answer)(scope, receive, send)
        else:
            await _WEBSOCKET[scope["path"]](scope, receive, send)
    finally:
        note("end", channel, scope["path"])


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    talking = asyncio.create_task(_talk())
    await receive()
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    if _served:
        async with _pusher() as push:
            await _talk_once(push)  # the last word of a zombie, too
    await send({"type": "lifespan.shutdown.complete"})


def _pusher() -> Push:
    return Push(os.environ["CHAOS_REDIS"], namespace=os.environ["CHAOS_NAMESPACE"], timeout_s=1.0)


async def _talk() -> None:
    """Push to all that `chatter` serves here, or has served, and to the group; all the time."""
    while not _served:  # noqa: ASYNC110 - it is looked at, not waited for
        await asyncio.sleep(_CHATTER_S)
    async with _pusher() as push:
        while True:
            await _talk_once(push)
            await asyncio.sleep(_CHATTER_S)


async def _talk_once(push: Push) -> None:
    pushes = [push.send(channel, text=f"pushed {_PID}") for channel in _served]
    talk = [*pushes, push.group_send(GROUP, text=f"grouped {_PID}")]
    for result in await asyncio.gather(*talk, return_exceptions=True):
        if isinstance(result, Exception):
            note("refused", type(result).__name__)


# HTTP.


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer method and body after a moment; a POST is noted, so that a second one would show."""
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event.get("body", b"")
        more = event.get("more_body", False)
    if scope["method"] == "POST":
        note("post", body.decode())
    await asyncio.sleep(_ANSWER_S)
    raw = scope["method"].encode() + b" " + body
    headers = [(b"content-length", b"%d" % len(raw))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


async def wait(scope: Scope, receive: Receive, _send: Send) -> None:
    """Never answer; note what ends the waiting."""
    while (event := await receive())["type"] == "http.request":
        pass
    note("heard", scope["extensions"]["gateway"]["reply_channel"], event["type"])


async def endless_body(_scope: Scope, receive: Receive, send: Send) -> None:
    """Send without an end."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(20_000), "more_body": True})


# WebSocket.


async def _open(scope: Scope, receive: Receive, send: Send) -> dict[str, Any]:
    """Accept, say who serves now, and return the state."""
    gateway = scope["extensions"]["gateway"]
    await receive()
    await send({"type": "websocket.accept", "resume": True})
    hello = f"hello {_PID} {gateway['resumed']} {gateway['reply_channel']}"
    await send({"type": "websocket.send", "text": hello})
    state: dict[str, Any] = gateway["state"]
    return state


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """Count messages in the connection's state; answer each number with the count.

    Every second is handled on after its answer was sent: a kill meanwhile has it handled again.
    """
    state = await _open(scope, receive, send)
    while (event := await receive())["type"] == "websocket.receive":
        number = int(event["text"])
        state["count"] = state.get("count", 0) + 1
        await send({"type": "websocket.send", "text": f"answer {number} {state['count']} {_PID}"})
        if number % 2 == 0:
            await asyncio.sleep(_HANDLING_S)
    channel = scope["extensions"]["gateway"]["reply_channel"]
    note("heard", channel, event["type"], event["code"])


async def chatter(scope: Scope, receive: Receive, send: Send) -> None:
    """Count as `count` does, and talk all the time; its process pushes as well."""
    _served.add(scope["extensions"]["gateway"]["reply_channel"])
    saying = asyncio.create_task(_say(send))
    try:
        await count(scope, receive, send)
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)


async def _say(send: Send) -> None:
    while True:
        await asyncio.sleep(_CHATTER_S)
        await send({"type": "websocket.send", "text": f"said {_PID}"})


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and never ask for an event."""
    await _open(scope, receive, send)
    await asyncio.Event().wait()


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and send without an end."""
    await _open(scope, receive, send)
    while True:
        await send({"type": "websocket.send", "bytes": bytes(20_000)})


_HTTP = {"/wait": wait, "/endless": endless_body}
_WEBSOCKET = {"/count": count, "/chatter": chatter, "/deaf": deaf, "/endless": endless}
