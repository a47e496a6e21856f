"""Applications that outlive their instances: state, confirmation, and what they saw of it."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.end_to_end.apps import Receive, Scope, Send, argument, gate, note
else:  # this folder is the worker's --app-dir
    from apps import Receive, Scope, Send, argument, gate, note

Talk = Callable[[Scope, Receive, Send, dict[str, Any]], Awaitable[None]]


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve by the first word of the path."""
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    if scope["type"] == "http":
        await HTTP[scope["path"]](scope, receive, send)
        return
    extension = scope["extensions"]["gateway"]
    await receive()
    await TALKS[scope["path"]](scope, receive, send, extension)


async def accept(send: Send, **more: Any) -> None:
    await send({"type": "websocket.accept", "resume": True, **more})


async def say(send: Send, *words: object) -> None:
    await send({"type": "websocket.send", "text": " ".join(map(str, words))})


async def count(scope: Scope, receive: Receive, send: Send, extension: dict[str, Any]) -> None:
    """Answer each message with it, the count in the state, the instance's number and its pid."""
    state = extension["state"]
    await accept(send)
    note(scope, f"connected {extension['resumed']} {os.getpid()}")
    while (event := await receive())["type"] == "websocket.receive":
        if event["text"] == "die":
            os._exit(9)
        if event["text"] == "wait":
            note(scope, "waiting")
            await gate(scope)
        state["count"] = state.get("count", 0) + 1
        await say(send, event["text"], state["count"], extension["resumed"], os.getpid())
    note(scope, f"disconnected {event['code']}")


async def prefetch(scope: Scope, receive: Receive, send: Send, extension: dict[str, Any]) -> None:
    """Ask ahead of handling, and confirm by itself; dies in the handling of `die` once."""
    confirm = extension["confirm"]
    confirm()
    await accept(send)
    handled: asyncio.Queue[Any] = asyncio.Queue()

    async def fetch() -> None:
        while (event := await receive())["type"] == "websocket.receive":
            handled.put_nowait(event["text"])

    fetching = asyncio.create_task(fetch())
    while True:
        text = await handled.get()
        if text == "die" and not extension["resumed"]:
            os._exit(9)
        await say(send, text, extension["resumed"])
        confirm()
        if text == "end":
            fetching.cancel()
            return


async def other_subprotocol(
    scope: Scope, receive: Receive, send: Send, extension: dict[str, Any]
) -> None:
    """Speak the first subprotocol, and in a further instance the second."""
    await accept(send, subprotocol=scope["subprotocols"][min(1, extension["resumed"])])
    await say(send, os.getpid())
    while (await receive())["type"] == "websocket.receive":
        os._exit(9)


async def second_thoughts(
    scope: Scope, receive: Receive, send: Send, extension: dict[str, Any]
) -> None:
    """Refuse the connection in a further instance, as its query says."""
    if extension["resumed"] and argument(scope) == "close":
        await send({"type": "websocket.close", "code": 4004})
    elif extension["resumed"]:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})
    else:
        await accept(send)
        await receive()
        os._exit(9)


async def undecided(scope: Scope, receive: Receive, send: Send, extension: dict[str, Any]) -> None:
    """Die before accepting, in the first instance."""
    if not extension["resumed"]:
        os._exit(9)
    await send({"type": "websocket.accept"})
    await say(send, "accepted", extension["resumed"])
    await receive()


async def too_much(scope: Scope, receive: Receive, send: Send, extension: dict[str, Any]) -> None:
    """Keep what cannot be kept, and say what `receive` says of it."""
    await accept(send)
    extension["state"]["text"] = "x" * 20_000
    try:
        await receive()
    except Exception as error:
        del extension["state"]["text"]
        await say(send, type(error).__name__)
    while (await receive())["type"] == "websocket.receive":
        await say(send, "kept", len(extension["state"]))


async def answer_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Die with the first instance of a request; answer with its body in the next."""
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    resumed = scope["extensions"]["gateway"]["resumed"]
    note(scope, f"{scope['method']} {resumed}")
    if resumed < int(scope["query_string"].partition(b"=")[2] or 1):
        os._exit(9)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d %d" % (resumed, len(body))})


HTTP: dict[str, Any] = {"/once": answer_once}
TALKS: dict[str, Talk] = {
    "/count": count,
    "/prefetch": prefetch,
    "/subprotocol": other_subprotocol,
    "/second-thoughts": second_thoughts,
    "/undecided": undecided,
    "/too-much": too_much,
}
