"""Streaming uploads, and server-sent events that tell every page how far each of them is.

The events are a stream in Redis, and their ids are the stream's own. So a browser that comes back
with `Last-Event-ID` gets what it missed, from whichever worker process it reaches.
"""

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from redis.asyncio import Redis
from starlette.requests import ClientDisconnect

EVENTS = "fastapi-stream:uploads"
KEPT_EVENTS = 1000
KEPT_S = 3600
STEP_BYTES = 1_048_576
"""How much of a file has to come between two events."""

PING_S = 15
"""Silence after which a comment is sent, so that no proxy thinks the connection dead."""

EVENT_ID = r"^\d{1,19}-\d{1,19}$"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Hold one client of Redis for the whole process."""
    url = os.environ.get("GATEWAY_REDIS", "redis://127.0.0.1:6379/0")
    async with Redis.from_url(url, decode_responses=True, socket_timeout=PING_S + 5) as redis:
        yield {"redis": redis}


app = FastAPI(title="Streaming uploads", lifespan=lifespan)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the page."""
    return FileResponse(Path(__file__).parent / "index.html")


@app.put("/uploads/{name}")
async def upload(
    request: Request, name: str, content_length: Annotated[int | None, Header()] = None
) -> dict[str, Any]:
    """Take a file piece by piece, and answer with its size and SHA-256."""
    redis: Redis = request.state.redis
    state = {"upload": secrets.token_hex(4), "name": name, "total": content_length, "received": 0}
    digest = hashlib.sha256()
    received = told = 0
    await tell(redis, state | {"state": "begun"})
    try:
        async for piece in request.stream():
            digest.update(piece)
            received += len(piece)
            if received - told >= STEP_BYTES:
                told = received
                await tell(redis, state | {"state": "under way", "received": received})
    except ClientDisconnect:
        await tell(redis, state | {"state": "broken off", "received": received})
        raise
    await tell(redis, state | {"state": "done", "received": received})
    return {"name": name, "size": received, "sha256": digest.hexdigest()}


async def tell(redis: Redis, event: dict[str, Any]) -> None:
    """Add an event to the stream, which is cut to about the newest thousand."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.xadd(EVENTS, {"json": json.dumps(event)}, maxlen=KEPT_EVENTS, approximate=True)
        pipeline.expire(EVENTS, KEPT_S)
        await pipeline.execute()


@app.get("/events")
async def events(
    request: Request,
    last_event_id: Annotated[str | None, Header(pattern=EVENT_ID)] = None,
    since: Annotated[str | None, Query(pattern=EVENT_ID)] = None,
) -> StreamingResponse:
    """Send events as they happen, after those that the client has missed.

    A new client gets what happens from now on; `?since=0-0` all that is kept.
    """
    stream = follow(request.state.redis, last_event_id or since)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )


async def follow(redis: Redis, last_id: str | None) -> AsyncIterator[str]:
    """Make the text of each event after one; it is cancelled when the client leaves."""
    yield "retry: 1000\n\n"
    if last_id is None:  # its number, not "$": between two reads nothing may be missed
        newest: Any = await redis.xrevrange(EVENTS, count=1)
        last_id = newest[0][0] if newest else "0-0"
    while True:
        found: Any = await redis.xread({EVENTS: last_id}, count=100, block=PING_S * 1000)
        if not found:
            yield ": nothing new\n\n"
        for _stream, entries in found:
            for last_id, fields in entries:
                yield f"id: {last_id}\ndata: {fields['json']}\n\n"
