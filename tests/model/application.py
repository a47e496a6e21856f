"""The application of the model: it counts what a client sent, in the connection's state."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Event = dict[str, Any]


class Witness(Protocol):
    """Who is told what happens in the application."""

    async def hesitate(self) -> None:
        """Wait until the world says that the application may go on."""

    def told(self, path: str, code: int) -> None:
        """An instance was told of the end."""

    def refused(self, path: str) -> None:
        """An instance could not send: for it, the client has left."""


async def application(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    """Answer each message n with n and the count; ask for the next when that is done."""
    witness: Witness = asyncio.get_running_loop().witness  # type: ignore[attr-defined] # of a Loop
    state = scope["extensions"]["gateway"]["state"]
    await receive()
    await send({"type": "websocket.accept", "resume": True})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            witness.told(scope["path"], event["code"])
            return
        number = event["text"].rstrip("s")
        if event["text"].endswith("s"):
            await witness.hesitate()
        state["count"] = state.get("count", 0) + 1
        try:
            await send({"type": "websocket.send", "text": f"{number} {state['count']}"})
        except OSError:  # ASGI 2.4: so it hears of the end, too
            witness.refused(scope["path"])
            return
