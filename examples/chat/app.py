"""A chat room as one plain ASGI 3 application: a page at `/`, a WebSocket at `/ws`.

The WebSocket carries JSON texts. The client sends `{"type": "join", "name": …}` once, then
`{"type": "say", "text": …}`. It gets `welcome`, then `join`, `leave` and `say` lines, `people`,
`room` (is Redis there?) and `error`.

With GATEWAY_REDIS in the environment all processes share the room, else each has its own.
"""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from examples.chat.room import Member, Room, RoomUnavailable

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

MAX_NAME = 32
MAX_TEXT = 1000
MAX_FRAME = 8192  # characters: a text of 1,000, each escaped as \uXXXX, and its envelope
BURST = 10  # lines at once; then one each
REFILL_S = 0.5
HANDED_OVER = 1012  # the code of the disconnect when another worker goes on with the socket

# Control characters, lone surrogates, and marks that change the direction of what follows.
UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

HERE = Path(__file__).parent
PAGES = {
    path: (content_type, (HERE / name).read_bytes())
    for path, name, content_type in (
        ("/", "index.html", b"text/html; charset=utf-8"),
        ("/chat.js", "chat.js", b"text/javascript; charset=utf-8"),
        ("/chat.css", "chat.css", b"text/css; charset=utf-8"),
    )
}
# Only what this origin serves may run or load: a text that slipped through could do nothing.
POLICY = (
    b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    b" frame-ancestors 'none'"
)


class BadFrame(Exception):
    """What the client sent is not understood; the text is meant for its user."""


class Chat:
    """The application: one room, and a page to look at it."""

    def __init__(self, redis_url: str | None = None) -> None:
        """Make the application; nothing connects before its lifespan, or first WebSocket."""
        self.room = Room(redis_url)

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await serve_page(scope, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] == "/ws":
            with contextlib.suppress(OSError):  # the client left while it was being told
                await self._talk(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.room.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.room.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _talk(self, scope: Event, receive: Receive, send: Send) -> None:
        """Speak with one client from its handshake to its leaving.

        When this worker goes, another goes on with the socket: it finds in the state who it is.
        Under other servers there is no state, and the socket closes with its server.
        """
        await receive()
        await send({"type": "websocket.accept", "resume": True})
        state = scope.get("extensions", {}).get("gateway", {}).get("state", {})
        name = state.get("name") or await read_name(receive, send)
        if name is None:
            return
        member = await self.room.enter(name, state.get("id", ""))
        state.update(name=name, id=member.id)
        writer = asyncio.create_task(write_frames(member, send))
        code = 0
        try:
            code = await self._read_lines(member, receive)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            if code == HANDED_OVER:
                self.room.hand_over(member)
            else:
                await self.room.leave(member)

    async def _read_lines(self, member: Member, receive: Receive) -> int:
        """Give what the client says to the room, until it leaves; return the close code."""
        allowance, since = float(BURST), time.monotonic()
        while (event := await receive())["type"] == "websocket.receive":
            now = time.monotonic()
            allowance, since = min(BURST, allowance + (now - since) / REFILL_S), now
            try:
                text = parse(event, "say", "text", MAX_TEXT)
            except BadFrame as error:
                member.put(error_frame(str(error)))
                continue
            if allowance < 1:
                member.put(error_frame("Slow down a little: that was not sent.", text))
                continue
            allowance -= 1
            try:
                await self.room.say(member, text)
            except RoomUnavailable:
                member.put(error_frame("The room is out of reach: that was not sent.", text))
        return int(event.get("code", 0))


async def read_name(receive: Receive, send: Send) -> str | None:
    """Wait for the join frame; None if the client left without one."""
    while (event := await receive())["type"] == "websocket.receive":
        try:
            return " ".join(parse(event, "join", "name", MAX_NAME).split())
        except BadFrame as error:
            await send({"type": "websocket.send", "text": error_frame(str(error))})
    return None


async def write_frames(member: Member, send: Send) -> None:
    """Send what the room has for a member; close on one that does not keep up."""
    while (frame := await member.frames.get()) is not None:
        await send({"type": "websocket.send", "text": frame})
    await send({"type": "websocket.close", "code": 1013, "reason": "too slow"})


def parse(event: Event, kind: str, key: str, longest: int) -> str:
    """Return the one text that a frame of this kind carries.

    Raises:
        BadFrame: It is no such frame, or its text is empty or longer than `longest` characters.
    """
    raw = event.get("text")
    if raw is None or len(raw) > MAX_FRAME:
        raise BadFrame(f"A frame must be a JSON text of at most {MAX_FRAME} characters.")
    try:
        frame = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadFrame("A frame must be JSON.") from None
    if not isinstance(frame, dict) or frame.get("type") != kind:
        raise BadFrame(f'Expected {{"type": "{kind}", "{key}": …}}.')
    text = frame.get(key)
    if not isinstance(text, str):
        raise BadFrame(f'"{key}" must be a text.')
    text = UNWANTED.sub("", text).strip()
    if not 1 <= len(text) <= longest:
        raise BadFrame(f"A {key} has from 1 to {longest} characters.")
    return text


def error_frame(message: str, text: str = "") -> str:
    """A frame that tells the user what went wrong, with the text that was not sent."""
    return json.dumps({"type": "error", "message": message, "text": text})


async def serve_page(scope: Event, send: Send) -> None:
    """Answer GET and HEAD of the three files."""
    content_type, body = PAGES.get(scope["path"], (b"text/plain", b"Not found\n"))
    status = 200 if scope["path"] in PAGES else 404
    headers = [(b"content-type", content_type), (b"cache-control", b"no-cache")]
    if scope["method"] not in ("GET", "HEAD"):
        status, body = 405, b"Method not allowed\n"
        headers = [(b"content-type", b"text/plain"), (b"allow", b"GET, HEAD")]
    headers += [
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", POLICY),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


app = Chat(os.environ.get("GATEWAY_REDIS"))
