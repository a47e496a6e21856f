"""A page that shows what other processes push: each WebSocket joins the group `notifications`.

The page learns its own address, so that it can be reached alone, too. The application does nothing
else: what is pushed goes from the pusher to the interface server, past it.
"""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway_layer.push import Push

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

GROUP = "notifications"
PAGE = (Path(__file__).parent / "index.html").read_bytes()
HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", b"%d" % len(PAGE)),
    (b"content-security-policy", b"default-src 'self' 'unsafe-inline'; base-uri 'none'"),
]


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Serve the page at `/` and its WebSocket at `/ws`."""
    if scope["type"] == "lifespan":
        await live(scope["state"], receive, send)
    elif scope["type"] == "websocket":
        await notify(scope, receive, send)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": PAGE})


async def live(state: Event, receive: Receive, send: Send) -> None:
    """Hold one push client for the whole process."""
    await receive()
    redis = os.environ.get("GATEWAY_REDIS", "redis://127.0.0.1:6379/0")
    async with Push(redis, namespace=os.environ.get("GATEWAY_NAMESPACE", "gw")) as push:
        state["push"] = push
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def notify(scope: Event, receive: Receive, send: Send) -> None:
    """Join the group, tell the page its address, and wait for its end."""
    address = scope["extensions"]["gateway"]["reply_channel"]
    await receive()
    await send({"type": "websocket.accept"})
    await scope["state"]["push"].group_add(GROUP, address)
    await send({"type": "websocket.send", "text": json.dumps({"address": address})})
    while (await receive())["type"] != "websocket.disconnect":
        pass
