"""What becomes of a WebSocket when its token expires."""

import asyncio
import time

import pytest
from tests.workers.middleware.asgi import websocket
from tests.workers.middleware.tokens import (
    guard,
    token,
)

from gateway_layer.errors import ClientDisconnected
from gateway_worker.apps import Message, Receive, Scope, Send
from gateway_worker.middleware import JWTAuth


class Client:
    """A WebSocket under way, whose server ends it when the application closes."""

    def __init__(self, app: JWTAuth, text: str) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.inbound: asyncio.Queue[Message] = asyncio.Queue()
        self.inbound.put_nowait({"type": "websocket.connect"})
        scope = websocket(subprotocols=["bearer", text])
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: JWTAuth, scope: Scope) -> None:
        await app(scope, self.inbound.get, self._send)

    async def _send(self, message: Message) -> None:
        self.sent.put_nowait(message)
        if message["type"] == "websocket.close":
            self.inbound.put_nowait({"type": "websocket.disconnect", "code": message["code"]})

    async def next(self) -> Message:
        async with asyncio.timeout(20):
            return await self.sent.get()


async def talk(_scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_open_websocket_is_closed_when_the_token_expires() -> None:
    expires = int(time.time()) + 2
    client = Client(guard(talk), token(exp=expires))
    assert (await client.next())["type"] == "websocket.accept"
    close = await client.next()
    assert close == {"type": "websocket.close", "code": 4401, "reason": "token expired"}
    assert expires <= time.time() < expires + 1.5
    await client.task


async def test_leeway_holds_for_open_websockets_too() -> None:
    expires = int(time.time()) - 3
    client = Client(guard(talk, leeway_s=5), token(exp=expires))
    assert (await client.next())["type"] == "websocket.accept"
    assert (await client.next())["code"] == 4401
    assert time.time() >= expires + 5
    await client.task


async def test_nothing_is_sent_after_the_expiry() -> None:
    failed: list[Exception] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        try:
            await send({"type": "websocket.send", "text": "late"})
        except ClientDisconnected as error:
            failed.append(error)

    client = Client(guard(app), token(exp=int(time.time()) + 1))
    await client.next()
    assert (await client.next())["code"] == 4401
    await client.task
    assert client.sent.empty()
    assert failed


async def test_handshake_still_open_at_the_expiry_is_refused() -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    client = Client(guard(app), token(exp=int(time.time()) + 1))
    assert (await client.next())["type"] == "websocket.close"
    await client.task


async def test_client_that_has_left_at_the_expiry_is_no_error() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await expired.wait()

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            expired.set()
            raise ClientDisconnected("gone")

    expired = asyncio.Event()
    inbound: asyncio.Queue[Message] = asyncio.Queue()
    scope = websocket(subprotocols=["bearer", token(exp=int(time.time()) + 1)])
    async with asyncio.timeout(20):
        await guard(app)(scope, inbound.get, send)


@pytest.mark.parametrize("closes", ["application", "client"])
async def test_closed_websocket_is_not_watched_any_more(closes: str) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.receive":
            pass
        if closes == "application":
            await send({"type": "websocket.close", "code": 1000})
        else:
            assert (await receive())["type"] == "websocket.disconnect"
        await gone.wait()

    gone = asyncio.Event()
    expires = int(time.time()) + 1
    client = Client(guard(app), token(exp=expires))
    await client.next()
    client.inbound.put_nowait({"type": "websocket.receive", "text": "x"})
    if closes == "application":
        assert (await client.next())["code"] == 1000
    else:
        client.inbound.put_nowait({"type": "websocket.disconnect", "code": 1001})
    asyncio.get_running_loop().call_later(expires + 0.3 - time.time(), gone.set)
    await client.task
    assert client.sent.empty()
