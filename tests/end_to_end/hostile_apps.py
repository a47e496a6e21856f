"""Applications that misbehave, for the end-to-end tests; all else is as in `apps`."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.end_to_end.apps import (
        Receive,
        Scope,
        Send,
        accept,
        answer,
        argument,
        http,
        note,
        site,
        websocket,
    )
else:  # this folder is the worker's --app-dir
    from apps import Receive, Scope, Send, accept, answer, argument, http, note, site, websocket

__all__ = ["site"]

LEFT_BEHIND: set[asyncio.Task[None]] = set()


async def leave_a_task(scope: Scope, receive: Receive) -> None:
    """Begin to receive in a task that outlives the application."""

    async def listen() -> None:
        while not (event := await receive())["type"].endswith(".disconnect"):
            pass
        note(scope, event["type"])

    LEFT_BEHIND.add(asyncio.create_task(listen()))
    await asyncio.sleep(0)


@http("/return-early")
async def return_early(scope: Scope, receive: Receive, send: Send) -> None:
    await leave_a_task(scope, receive)


@websocket("/return-early")
async def ws_return_early(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await leave_a_task(scope, receive)


@websocket("/deny-early")
async def ws_deny_early(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await leave_a_task(scope, receive)
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


@http("/send-on")
async def send_on(scope: Scope, receive: Receive, send: Send) -> None:
    """Return within a response that a task goes on to send, without end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})

    async def push() -> None:
        try:
            while True:
                event = {"type": "http.response.body", "body": b"x" * 60_000, "more_body": True}
                await send(event)
        except OSError as error:
            note(scope, type(error).__name__)

    LEFT_BEHIND.add(asyncio.create_task(push()))
    await asyncio.sleep(0)


@http("/huge-head")
async def huge_head(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"x-huge", b"v" * 100_000)] * 1_000
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    except RuntimeError as error:
        await answer(send, str(error))


@websocket("/huge-message")
async def ws_huge_message(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    try:
        await send({"type": "websocket.send", "bytes": bytes(int(argument(scope)))})
    except Exception as error:
        await send({"type": "websocket.send", "text": type(error).__name__})
