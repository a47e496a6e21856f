"""An instance whose worker may write no more for now: `send` waits, whatever comes next."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway_layer.codec import Message, pack, unpack
from gateway_layer.errors import ClientDisconnected
from gateway_layer.outlet import TURN_BYTES, Outlet
from gateway_layer.redis.address import RedisAddress
from gateway_layer.session import WorkerSession
from gateway_layer.wire import EVENTS, OPEN, Open
from gateway_worker.apps import ASGI3App
from gateway_worker.instances import HttpInstance, Instance, WebSocketInstance

MESSAGE = {"type": "websocket.send", "text": "x"}


class Host:
    """A worker of which the test says when there is room."""

    application: ASGI3App
    outlet: Outlet
    full: frozenset[str | None] = frozenset()
    on_worker_exit = "auto"
    redis: RedisAddress | None = None

    def __init__(self) -> None:
        self.outlet = Outlet(lambda: None)

    def mark(self, session: WorkerSession) -> None:
        """Nothing: the test calls `take_frames` itself."""

    def ended(self, instance: Instance) -> None:
        """Nothing: no task is run."""


class Connection:
    """An open WebSocket at a worker without room, and its application that sends."""

    def __init__(self) -> None:
        self.host = Host()
        opened = Open("c", OPEN, 1, "websocket", {}, 0, None, b"", False, 0, "inc", 2**20)
        scope: Message = {"type": "websocket", "extensions": {"gateway": {}}}
        self.instance = WebSocketInstance(self.host, opened, "i", 2**20, scope)
        self._sends: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self.instance.receive()
        await self.instance.send({"type": "websocket.accept"})
        self.instance.take_frames()
        self.host.outlet.flushed(congested=True)

    def send(self) -> "asyncio.Task[None]":
        self._sends.append(asyncio.create_task(self.instance.send(dict(MESSAGE))))
        return self._sends[-1]

    def sent(self) -> list[Any]:
        """What the application has sent since the last look."""
        return [
            event["text"] for frame in self.instance.take_frames() for event in unpack(frame)[3]
        ]

    async def close(self) -> None:
        for task in self._sends:
            task.cancel()
        await asyncio.gather(*self._sends, return_exceptions=True)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    connection = Connection()
    await connection.open()
    yield connection
    await connection.close()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_without_room_a_send_waits(connection: Connection) -> None:
    sending = connection.send()
    await turns()
    assert not sending.done()
    assert connection.sent() == []


async def test_room_wakes_the_send(connection: Connection) -> None:
    sending = connection.send()
    await turns()
    connection.host.outlet.flushed(congested=False)
    async with asyncio.timeout(5):
        await sending
    assert connection.sent() == ["x"]


async def test_what_was_sent_takes_room(connection: Connection) -> None:
    sending = connection.send()
    await turns()
    connection.host.outlet.flushed(congested=False)
    await sending
    assert connection.host.outlet.room == TURN_BYTES - 257


async def test_credit_alone_does_not_end_the_wait(connection: Connection) -> None:
    sending = connection.send()
    await turns()
    connection.instance.on_credit()
    await turns()
    assert not sending.done()


async def test_who_finds_the_room_taken_waits_for_the_next(connection: Connection) -> None:
    sendings = [connection.send(), connection.send()]
    await turns()
    connection.host.outlet.flushed(congested=False)
    connection.host.outlet.room = 1  # others of this turn were faster
    await turns()
    assert [one.done() for one in sendings] == [True, False]
    connection.host.outlet.flushed(congested=False)
    await turns()
    assert connection.sent() == ["x", "x"]


async def test_a_send_that_is_cancelled_while_it_waits_sends_nothing(
    connection: Connection,
) -> None:
    sending = connection.send()
    await turns()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    connection.host.outlet.flushed(congested=False)
    await turns()
    assert connection.sent() == []
    assert connection.host.outlet.room == TURN_BYTES


async def test_a_client_that_leaves_ends_the_wait(connection: Connection) -> None:
    sending = connection.send()
    await turns()
    leave = {"type": "websocket.disconnect", "code": 1005, "reason": ""}
    connection.instance.handle("i", unpack(pack(("c", EVENTS, 1, 0, 1, [leave]))))
    with pytest.raises(ClientDisconnected):
        await asyncio.wait_for(sending, 5)
    assert connection.sent() == []


async def test_a_lost_interface_server_ends_the_wait_at_once(connection: Connection) -> None:
    sending = connection.send()
    await turns()
    connection.instance.on_lost("gone")
    with pytest.raises(ClientDisconnected):
        await asyncio.wait_for(sending, 5)
    assert connection.sent() == []


async def test_a_body_waits_for_room_piece_by_piece() -> None:
    host = Host()
    opened = Open("c", OPEN, 1, "http", {}, 0, None, b"", False, 0, "inc", 2**24)
    instance = HttpInstance(host, opened, "i", 2**24, {"type": "http", "method": "GET"})
    await instance.send({"type": "http.response.start", "status": 200, "headers": []})
    host.outlet.room = 100_000  # one piece, and one that overdraws
    body = bytes(range(256)) * 2000
    sending = asyncio.create_task(instance.send({"type": "http.response.body", "body": body}))
    await turns()
    assert not sending.done()
    before = bodies(instance)
    assert len(before) == 2
    host.outlet.flushed(congested=False)
    async with asyncio.timeout(5):
        await sending
    assert b"".join(before + bodies(instance)) == body


def bodies(instance: Instance) -> list[bytes]:
    """The pieces of the body that were sent since the last look."""
    events = [event for frame in instance.take_frames() for event in unpack(frame)[3]]
    return [event["body"] for event in events if event["type"] == "http.response.body"]
