"""Plain ASGI applications for the end-to-end tests; what they see they note in files."""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

HTTP: dict[str, Handler] = {}
WEBSOCKET: dict[str, Handler] = {}


def note(scope: Scope, text: object) -> None:
    """Write a line into the file that the query names."""
    with Path(os.environ["NOTES"], f"note-{argument(scope)}").open("a") as file:
        file.write(f"{text}\n")


async def gate(scope: Scope) -> None:
    """Wait until the test opens the gate that the query names."""
    path = Path(os.environ["NOTES"], f"gate-{argument(scope)}")
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - the test is another process
        await asyncio.sleep(0.01)


def argument(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return query.decode()


def http(path: str) -> Callable[[Handler], Handler]:
    return lambda handler: HTTP.setdefault(path, handler)


def websocket(path: str) -> Callable[[Handler], Handler]:
    return lambda handler: WEBSOCKET.setdefault(path, handler)


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the handler of the path."""
    if scope["type"] == "lifespan":
        scope["state"].update(counter=[0], own="lifespan")
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    handlers = HTTP if scope["type"] == "http" else WEBSOCKET
    await handlers.get(scope["path"], show_scope)(scope, receive, send)


class Site2:
    """The same in the form of ASGI 2: called twice, with the scope first."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        await site(self.scope, receive, send)


async def failing_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def answer(send: Send, body: bytes | str, status: int = 200) -> None:
    raw = body.encode() if isinstance(body, str) else body
    headers = [(b"content-length", b"%d" % len(raw))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


async def begin(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def more(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def end(send: Send, body: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": body})


@http("/show-scope")
async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, repr(scope))


@http("/hello")
async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, "hello " + argument(scope))


@http("/echo")
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send every piece of the body back as it comes."""
    await begin(send)
    more_body = True
    while more_body:
        event = await receive()
        more_body = event["more_body"]
        await more(send, event["body"])
    await end(send)


@http("/hash")
async def hash_body(scope: Scope, receive: Receive, send: Send) -> None:
    digest, more_body = hashlib.sha256(), True
    while more_body:
        event = await receive()
        digest.update(event["body"])
        more_body = event["more_body"]
    await answer(send, digest.hexdigest())


def pattern(size: int) -> bytes:
    """Bytes of which no part looks like another."""
    return b"".join(b"%08d" % number for number in range(size // 8 + 1))[:size]


@http("/big")
async def big(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, pattern(int(argument(scope))))


@http("/status")
async def status(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": int(argument(scope)), "headers": []})
    await end(send, b"ignored where the status has no body")


@http("/pieces")
async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """Send one piece, and the other when the test has seen it."""
    await begin(send)
    await more(send, b"one")
    await gate(scope)
    await end(send, b"two")


@http("/slow")
async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when the test opens the gate."""
    note(scope, os.getpid())
    await gate(scope)
    await answer(send, "done")


@http("/late-reader")
async def late_reader(scope: Scope, receive: Receive, send: Send) -> None:
    """Ask for the body when the test opens the gate."""
    note(scope, "started")
    await gate(scope)
    await hash_body(scope, receive, send)


@http("/leave")
async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    """Note how a client leaves, and what sending does then."""
    while (event := await receive())["type"] != "http.disconnect":
        note(scope, event["type"])
    note(scope, event["type"])
    note(scope, (await receive())["type"])
    try:
        await begin(send)
    except OSError as error:
        note(scope, type(error).__name__)


@http("/after-answer")
async def after_answer(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, "answered")
    await receive()
    note(scope, (await receive())["type"])


@http("/never")
async def never(scope: Scope, receive: Receive, send: Send) -> None:
    note(scope, os.getpid())
    await asyncio.Event().wait()


@http("/raise-before")
async def raise_before(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("raised before the answer")


@http("/raise-after")
async def raise_after(scope: Scope, receive: Receive, send: Send) -> None:
    await begin(send)
    await more(send, b"one")
    raise ValueError("raised within the answer")


@http("/return")
async def return_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Return without an answer."""


@http("/wrong-order")
async def wrong_order(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await end(send, b"too early")
    except RuntimeError as error:
        note(scope, error)
    await answer(send, "in order")


@http("/bad-header")
async def bad_header(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"x-good", b"1"), (b"x-bad", object())]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    except TypeError as error:
        await answer(send, str(error))


@http("/state")
async def count_up(scope: Scope, receive: Receive, send: Send) -> None:
    """Change what is shared by all, and what is this request's own."""
    scope["state"]["counter"][0] += 1
    seen = f"{scope['state']['counter'][0]} {scope['state']['own']}"
    scope["state"]["own"] = "request"
    await answer(send, seen)


@http("/block")
async def block(scope: Scope, receive: Receive, send: Send) -> None:
    time.sleep(float(argument(scope)))  # noqa: ASYNC251 - the fault to show
    await answer(send, "awake")


@http("/pid")
async def pid(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, str(os.getpid()))


async def accept(receive: Receive, send: Send, **fields: object) -> None:
    await receive()
    await send({"type": "websocket.accept", **fields})


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    """Send every message back, and note how the client leaves."""
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
    note(scope, f"{event['type']} {event['code']} {event['reason']}")


@websocket("/echo")
async def ws_echo(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await talk(scope, receive, send)


@websocket("/late-hash")
async def ws_late_hash(scope: Scope, receive: Receive, send: Send) -> None:
    """Take a message, the next when the test opens the gate, and answer with the hash of that."""
    await accept(receive, send)
    await receive()
    note(scope, "took one")
    await gate(scope)
    message = (await receive())["bytes"]
    await send({"type": "websocket.send", "text": hashlib.sha256(message).hexdigest()})
    await receive()


@websocket("/scope")
async def ws_scope(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    scope["extensions"]["gateway"].pop("confirm")  # a function, which cannot be read back
    await send({"type": "websocket.send", "text": repr(scope)})
    await talk(scope, receive, send)


@websocket("/address")
async def ws_address(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell the client its address, for those who push to it; then echo."""
    await accept(receive, send)
    address = scope["extensions"]["gateway"]["reply_channel"]
    await send({"type": "websocket.send", "text": address})
    await talk(scope, receive, send)


@websocket("/greet")
async def ws_greet(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send, subprotocol="second", headers=[(b"x-greeting", b"good day")])
    await receive()


@websocket("/slow")
async def ws_slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept when the test opens the gate, then echo."""
    note(scope, "asked")
    await gate(scope)
    await ws_echo(scope, receive, send)


@websocket("/held")
async def ws_held(scope: Scope, receive: Receive, send: Send) -> None:
    """Note the address, and accept when the test opens the gate."""
    note(scope, scope["extensions"]["gateway"]["reply_channel"])
    await gate(scope)
    await ws_echo(scope, receive, send)


BURST_BYTES = 8_000_000


@websocket("/bursts")
async def ws_bursts(scope: Scope, receive: Receive, send: Send) -> None:
    """Send more at a time than all buffers hold, with pauses, from when a gate opens."""
    await accept(receive, send)
    await gate(scope)
    while True:
        for _ in range(BURST_BYTES // 20_000):
            await send({"type": "websocket.send", "bytes": bytes(20_000)})
        await asyncio.sleep(0.4)


@websocket("/refuse")
async def ws_refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close"})


@websocket("/deny")
async def ws_deny(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    start = {"type": "websocket.http.response.start", "status": 401}
    await send({**start, "headers": [(b"x-why", b"no ticket")]})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"entry"})


@websocket("/deny-slowly")
async def ws_deny_slowly(scope: Scope, receive: Receive, send: Send) -> None:
    await deny_in_two(scope, receive, send, b"no")


@websocket("/deny-at-length")
async def ws_deny_at_length(scope: Scope, receive: Receive, send: Send) -> None:
    await deny_in_two(scope, receive, send, bytes(16_000_000))


async def deny_in_two(scope: Scope, receive: Receive, send: Send, first: bytes) -> None:
    """Begin a denial, and end it when the test opens the gate."""
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": first, "more_body": True})
    await gate(scope)
    await send({"type": "websocket.http.response.body", "body": b"entry"})


@websocket("/close")
async def ws_close(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await send({"type": "websocket.send", "text": "last words"})
    await send({"type": "websocket.close", "code": int(argument(scope)), "reason": "as asked"})


@websocket("/return")
async def ws_return(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)


@websocket("/raise")
async def ws_raise(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    raise ValueError("raised in a websocket")


@websocket("/send-after-leave")
async def ws_send_after_leave(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await receive()
    try:
        await send({"type": "websocket.send", "text": "anybody?"})
    except OSError as error:
        note(scope, type(error).__name__)
