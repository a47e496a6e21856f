"""The limits that all sockets of the push listener share, on a real socket in this process."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway_interface.config import InterfaceConfig, Limits
from gateway_interface.push_api import api as push_api
from gateway_interface.push_api.api import PushApi
from gateway_interface.push_api.connection import PushConnection
from gateway_interface.services import Services
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node

TIMEOUT_S = 20.0


class Listener:
    """A push listener whose Redis is away, and whose clock the test moves."""

    def __init__(self) -> None:
        config = InterfaceConfig(
            push_bind="127.0.0.1:0", access_log=False, limits=Limits(keep_alive_timeout_s=1000.0)
        )
        self.services = Services(config, Node(MemoryLayer(MemoryBroker())), None)
        self.api = PushApi(config)
        self.port = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def let_time_pass(self) -> None:
        """Let every deadline be due."""
        for client in list(self.services.clients):
            client.on_deadline(self.services.loop.time())


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    server = await asyncio.get_running_loop().create_server(
        lambda: PushConnection(made.services, made.api), "127.0.0.1", 0
    )
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for client in list(made.services.clients):
        client.abort()
    made.services.pushes.close()
    await asyncio.sleep(0)


def post(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n".encode()


async def status_of(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length))
    return int(head.split()[1])


async def ends(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(TIMEOUT_S):
        return await reader.read() == b""


async def test_socket_beyond_the_limit_is_refused(listener: Listener) -> None:
    listener.api.connections = push_api.MAX_CONNECTIONS
    reader, writer = await listener.connect()
    assert await status_of(reader) == 503
    assert await ends(reader)
    writer.close()


async def test_closed_sockets_count_no_more(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert await status_of(reader) == 404
    assert await ends(reader)
    writer.close()
    async with asyncio.timeout(TIMEOUT_S):
        while listener.api.connections:  # noqa: ASYNC110 - until the loop has closed the socket
            await asyncio.sleep(0)


async def test_body_beyond_what_all_may_hold_is_refused(listener: Listener) -> None:
    listener.api.held_bytes = push_api.MAX_HELD_BYTES
    reader, writer = await listener.connect()
    writer.write(post("/v1/push", 1) + b"a")
    assert await status_of(reader) == 503
    assert await ends(reader)
    assert listener.api.held_bytes == push_api.MAX_HELD_BYTES
    writer.close()


async def test_bodies_are_held_no_longer_than_their_requests(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(post("/v1/groups/g", 9) + b"a" * 9)
    assert await status_of(reader) == 503  # Redis is away
    assert listener.api.held_bytes == 0
    writer.close()


async def test_connection_goes_on_after_an_error(listener: Listener) -> None:
    reader, writer = await listener.connect()
    for _ in range(2):
        writer.write(post("/v1/groups/g", 1) + b"a" + post("/nothing", 0))
        assert await status_of(reader) == 503
        assert await status_of(reader) == 404
    writer.close()


async def test_idle_connection_is_closed(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(post("/nothing", 0))
    assert await status_of(reader) == 404
    listener.let_time_pass()
    assert await ends(reader)
    writer.close()


async def test_head_that_stays_incomplete_is_answered_408(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(post("/nothing", 0) + b"GET")
    assert await status_of(reader) == 404
    listener.let_time_pass()
    assert await status_of(reader) == 408
    writer.close()


async def test_draining_closes_idle_connections(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(post("/nothing", 0))
    assert await status_of(reader) == 404
    for client in list(listener.services.clients):
        client.drain()
    assert await ends(reader)
    writer.close()
