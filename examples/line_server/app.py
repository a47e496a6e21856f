"""A room for everybody who speaks lines: the first line is one's name, the others are heard by all.

    gateway-worker examples.line_server.app:app --protocols line

The name and the number of lines are the connection's state, so a client notices nothing when its
worker is replaced. What a worker that dies was handling is handled again: it may be heard twice.
"""

import os
from typing import Any

from gateway_layer.push import Push
from gateway_worker.apps import Receive, Scope, Send
from gateway_worker.routing import ProtocolTypeRouter

ROOM = "lines"
HANDED_OVER = 1012  # the code of the disconnect when another worker goes on with the client

push = Push(os.environ["GATEWAY_REDIS"], namespace=os.environ["GATEWAY_NAMESPACE"])


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    """Speak with one client."""
    gateway = scope["extensions"]["gateway"]
    state: dict[str, Any] = gateway["state"]
    await receive()
    await push.group_add(ROOM, gateway["reply_channel"])  # again, if the last worker had not yet
    await send({"type": "line.accept", "resume": True})
    if not gateway["resumed"]:
        await send({"type": "line.send", "text": "who are you?"})
    while (event := await receive())["type"] == "line.receive":
        if "name" not in state:
            state["name"] = event["text"]
            await push.group_send(ROOM, text=f"{state['name']} is here")
        elif event["text"] == "bye":
            await send({"type": "line.close", "reason": f"bye after {state.get('said', 0)} lines"})
            break
        else:
            state["said"] = state.get("said", 0) + 1
            await push.group_send(ROOM, text=f"{state['name']}: {event['text']}")
    if event.get("code") != HANDED_OVER:
        await push.group_send(ROOM, text=f"{state.get('name', 'somebody')} has left")


async def live(_scope: Scope, receive: Receive, send: Send) -> None:
    """Connect the pusher for as long as the worker runs."""
    await receive()
    async with push:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


app = ProtocolTypeRouter({"line": talk, "lifespan": live})
