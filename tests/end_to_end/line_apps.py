"""An application for the protocol of `examples/line_server`, which says what it sees of it."""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.end_to_end.apps import Receive, Scope, Send, gate, note
else:  # this folder is the worker's --app-dir
    from apps import Receive, Scope, Send, gate, note

FLOOD_BYTES = 65_535
NOTES: Scope = {"query_string": b"line"}

Say = Callable[[object], Awaitable[None]]


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo each line with its number, the number of the instance and its pid."""
    if scope["type"] != "line":
        raise ValueError("lines only")
    gateway = scope["extensions"]["gateway"]

    async def say(text: object) -> None:
        await send({"type": "line.send", "text": str(text)})

    await receive()
    await send({"type": "line.accept", "resume": True})
    note(NOTES, f"accepted {gateway['resumed']}")
    if not gateway["resumed"]:
        await say(gateway["reply_channel"])
    while (event := await receive())["type"] == "line.receive":
        await handle(event["text"], gateway, say)
    note(NOTES, f"disconnected {event['code']}")


async def handle(text: str, gateway: dict[str, Any], say: Say) -> None:
    """Carry out a line."""
    state = gateway["state"]
    state["count"] = state.get("count", 0) + 1
    if text == "wait":
        note(NOTES, "waiting")
        await gate(NOTES)
    if text.startswith("flood "):
        for number in range(int(text.split()[1])):
            await say("x" * FLOOD_BYTES)
            note({"query_string": b"flood"}, number)
    elif not text.startswith("quiet"):
        await say(f"{text} {state['count']} {gateway['resumed']} {os.getpid()}")
