"""The chat example as a plain ASGI application, called in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import redis.asyncio
from examples.chat.app import MAX_FRAME, Chat
from examples.chat.room import KEPT_LINES, Member, Room

from gateway_layer.embedded import EmbeddedServer

TIMEOUT_S = 10.0
Frame = dict[str, Any]


class Client:
    """A WebSocket client of an application in this process."""

    def __init__(self, app: Chat) -> None:
        self.inbound: asyncio.Queue[Frame] = asyncio.Queue()
        self.outbound: asyncio.Queue[Frame] = asyncio.Queue()
        scope = {"type": "websocket", "path": "/ws"}
        self.inbound.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(app(scope, self.inbound.get, self.outbound.put))

    def send(self, frame: object) -> None:
        self.send_raw(json.dumps(frame))

    def send_raw(self, text: str) -> None:
        self.inbound.put_nowait({"type": "websocket.receive", "text": text})

    async def event(self) -> Frame:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.outbound.get()

    async def next(self, kind: str) -> Frame:
        """The next frame of this type; others before it are passed over."""
        while True:
            frame: Frame = json.loads((await self.event())["text"])
            if frame["type"] == kind:
                return frame

    async def leave(self) -> None:
        self.inbound.put_nowait({"type": "websocket.disconnect", "code": 1001})
        async with asyncio.timeout(TIMEOUT_S):
            await self.task


@asynccontextmanager
async def joined(app: Chat, name: str) -> AsyncIterator[tuple[Client, Frame]]:
    """A client in the room, with its welcome; its own join line is read already."""
    client = Client(app)
    assert (await client.event())["type"] == "websocket.accept"
    client.send({"type": "join", "name": name})
    welcome = await client.next("welcome")
    yield client, welcome
    await client.leave()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(port=0) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def apps(request: pytest.FixtureRequest) -> AsyncIterator[list[Chat]]:
    """Two that share a room: one process twice, or two that meet in Redis."""
    if request.param == "memory":
        yield [Chat()] * 2
        return
    server: EmbeddedServer = request.getfixturevalue("redis_server")
    async with shared(server) as chats:
        yield chats


@asynccontextmanager
async def shared(server: EmbeddedServer) -> AsyncIterator[list[Chat]]:
    """Two applications on one empty Redis, started and stopped as by a lifespan."""
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.flushall()
    chats = [Chat(server.url), Chat(server.url)]
    for chat in chats:
        await chat.room.start()
    yield chats
    for chat in chats:
        await chat.room.stop()


async def test_two_talk(apps: list[Chat]) -> None:
    async with joined(apps[0], "Ada") as (ada, _), joined(apps[1], "Grace") as (grace, _):
        while (await ada.next("join"))["name"] != "Grace":
            pass
        ada.send({"type": "say", "text": "hello <b>you</b>"})
        heard = await grace.next("say")
        assert (heard["name"], heard["text"]) == ("Ada", "hello <b>you</b>")
        assert (await ada.next("say"))["id"] == heard["id"]


async def test_who_leaves_is_announced(apps: list[Chat]) -> None:
    async with joined(apps[0], "Ada") as (ada, _):
        async with joined(apps[1], "Grace") as (_, welcome):
            assert sorted(welcome["people"].values()) == ["Ada", "Grace"]
        assert (await ada.next("leave"))["name"] == "Grace"


async def test_the_last_lines_are_shown_to_who_joins(apps: list[Chat]) -> None:
    room = apps[0].room
    for number in range(KEPT_LINES + 5):
        await room.say(Member("Ada"), str(number))
    async with joined(apps[1], "Grace") as (_, welcome):
        assert [line["text"] for line in welcome["lines"]] == [
            str(number) for number in range(5, KEPT_LINES + 5)
        ]


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[" * 5000,
        "3",
        "[]",
        "{}",
        '{"type": "say", "text": "before join"}',
        '{"type": "join"}',
        '{"type": "join", "name": 3}',
        '{"type": "join", "name": " \\u0000\\ud800\\n "}',
        json.dumps({"type": "join", "name": "x" * 33}),
        json.dumps({"type": "join", "name": "x", "pad": "x" * MAX_FRAME}),
    ],
)
async def test_a_bad_join_gets_an_error_and_another_try(raw: str) -> None:
    client = Client(Chat())
    await client.event()
    client.send_raw(raw)
    assert (await client.next("error"))["message"]
    client.send({"type": "join", "name": "Ada"})
    await client.next("welcome")
    await client.leave()


async def test_a_name_becomes_one_clean_line() -> None:
    async with joined(Chat(), "  Ada\n \u202e Love\tlace ") as (_, welcome):
        assert list(welcome["people"].values()) == ["Ada Love lace"]


@pytest.mark.parametrize("text", ["", "  ", "x" * 1001, None, 5, ["x"]])
async def test_a_bad_line_gets_an_error_and_nobody_sees_it(text: object) -> None:
    async with joined(Chat(), "Ada") as (ada, _):
        ada.send({"type": "say", "text": text})
        await ada.next("error")
        ada.send({"type": "say", "text": "x" * 1000})
        assert (await ada.next("say"))["text"] == "x" * 1000


async def test_a_binary_message_gets_an_error() -> None:
    async with joined(Chat(), "Ada") as (ada, _):
        ada.inbound.put_nowait({"type": "websocket.receive", "bytes": b"\0"})
        await ada.next("error")


async def test_who_floods_is_slowed_down_and_gets_the_text_back() -> None:
    async with joined(Chat(), "Ada") as (ada, _):
        for number in range(30):
            ada.send({"type": "say", "text": str(number)})
        error = await ada.next("error")
        assert "Slow down" in error["message"]
        assert error["text"].isdigit()


async def test_who_does_not_keep_up_is_closed() -> None:
    room = Room()
    slow = await room.enter("Ada")
    for number in range(400):
        await room.say(Member("Grace"), str(number))
    frames = []
    while not slow.frames.empty():
        frames.append(slow.frames.get_nowait())
    assert None in frames


async def test_redis_may_restart_empty(redis_server: EmbeddedServer) -> None:
    async with shared(redis_server) as chats, AsyncExitStack() as stack:
        ada, _ = await stack.enter_async_context(joined(chats[0], "Ada"))
        grace, _ = await stack.enter_async_context(joined(chats[1], "Grace"))
        await grace.next("join")
        redis_server.kill()
        assert (await ada.next("room"))["reachable"] is False
        assert (await grace.next("room"))["reachable"] is False
        ada.send({"type": "say", "text": "into the void"})
        assert (await ada.next("error"))["text"] == "into the void"
        redis_server.start()
        assert (await ada.next("room"))["reachable"] is True
        assert (await grace.next("room"))["reachable"] is True
        ada.send({"type": "say", "text": "back"})
        assert (await grace.next("say"))["text"] == "back"
        async with joined(chats[1], "Edsger") as (_, welcome):
            assert sorted(welcome["people"].values()) == ["Ada", "Edsger", "Grace"]
            assert any(line["name"] == "Ada" for line in welcome["lines"])


async def test_who_vanished_without_a_word_is_no_ghost(redis_server: EmbeddedServer) -> None:
    async with (
        shared(redis_server) as chats,
        redis.asyncio.Redis.from_url(redis_server.url) as client,
        joined(chats[0], "Ada") as (ada, _),
    ):
        ghost = Member("Ghost")
        await client.zadd("chat:people", {ghost.entry: 1})  # long expired
        assert (await ada.next("leave"))["name"] == "Ghost"
        assert await client.zscore("chat:people", ghost.entry) is None


async def test_everything_in_redis_expires(redis_server: EmbeddedServer) -> None:
    async with (
        shared(redis_server) as chats,
        redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True) as client,
        joined(chats[0], "Ada") as (ada, _),
    ):
        await ada.next("join")
        ttls = {key: await client.ttl(key) for key in await client.keys()}
        assert ttls.keys() == {"chat:lines", "chat:people"}
        assert all(0 < ttl <= 3600 for ttl in ttls.values())


async def test_the_lifespan_starts_and_stops_the_room() -> None:
    events: asyncio.Queue[Frame] = asyncio.Queue()
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    events.put_nowait({"type": "lifespan.startup"})
    events.put_nowait({"type": "lifespan.shutdown"})
    async with asyncio.timeout(TIMEOUT_S):
        await Chat()({"type": "lifespan"}, events.get, sent.put)
    assert sent.get_nowait() == {"type": "lifespan.startup.complete"}
    assert sent.get_nowait() == {"type": "lifespan.shutdown.complete"}


async def test_a_websocket_elsewhere_is_refused() -> None:
    events: asyncio.Queue[Frame] = asyncio.Queue()
    events.put_nowait({"type": "websocket.connect"})
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    await Chat()({"type": "websocket", "path": "/other"}, events.get, sent.put)
    assert sent.get_nowait() == {"type": "websocket.close"}


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type"),
    [
        ("GET", "/", 200, "text/html; charset=utf-8"),
        ("HEAD", "/", 200, "text/html; charset=utf-8"),
        ("GET", "/chat.js", 200, "text/javascript; charset=utf-8"),
        ("GET", "/chat.css", 200, "text/css; charset=utf-8"),
        ("GET", "/app.py", 404, "text/plain"),
        ("POST", "/", 405, "text/plain"),
    ],
)
async def test_the_page_is_served(method: str, path: str, status: int, content_type: str) -> None:
    transport = httpx.ASGITransport(app=Chat())  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://chat") as client:
        response = await client.request(method, path)
    assert (response.status_code, response.headers["content-type"]) == (status, content_type)
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert bool(response.content) is (method != "HEAD")
