"""The embedded interface server: drains, and the deadlines of its clients."""

import asyncio
import logging

import pytest

from gateway_interface.config import InterfaceConfig, WebSocketOptions
from gateway_interface.server import InterfaceServer
from gateway_interface.services import Services
from gateway_layer.config import LayerConfig
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_worker.config import WorkerConfig
from gateway_worker.worker import Worker

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_server_that_waits_for_redis_drains_at_once() -> None:
    layer = LayerConfig(redis="unix:///nowhere/redis.sock")
    server = InterfaceServer(InterfaceConfig(bind=("127.0.0.1:0",), layer=layer, access_log=False))
    serving = asyncio.create_task(server.serve())
    await asyncio.sleep(0)
    server.drain()
    async with asyncio.timeout(20):
        await serving


class Client:
    """A client whose deadline has passed."""

    deadline = 0.0

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.seen: list[str] = []

    def on_deadline(self, now: float) -> None:
        self.seen.append("deadline")
        if self.fails:
            raise ZeroDivisionError

    def drain(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.seen.append("abort")


async def test_a_fault_at_one_deadline_keeps_no_other_client_from_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "gateway.interface")
    services = Services(InterfaceConfig(), Node(MemoryLayer(MemoryBroker())), None)
    clients = [Client(fails=True), Client(fails=False), Client(fails=True)]
    services.clients.update(clients)
    services.owner.check_deadlines()
    failed, fine = ["deadline", "abort"], ["deadline"]
    assert [client.seen for client in clients] == [failed, fine, failed]
    assert caplog.text.count("a deadline of a client failed") == 2


async def test_pings_go_on_where_a_pong_may_take_for_ever(unused_tcp_port: int) -> None:
    broker = MemoryBroker()
    options = WebSocketOptions(ping_interval_s=0.01, ping_timeout_s=0)
    bind = (f"127.0.0.1:{unused_tcp_port}",)
    server = InterfaceServer(
        InterfaceConfig(bind=bind, access_log=False, websocket=options),
        layer=MemoryLayer(broker, "interface"),
    )
    worker = Worker(
        WorkerConfig(app="tests.end_to_end.apps:site", lifespan="off"),
        layer=MemoryLayer(broker, "worker"),
    )
    ready = asyncio.Event()
    serving = asyncio.gather(server.serve(on_ready=ready.set), worker.serve())
    async with asyncio.timeout(20):
        await ready.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        writer.write(HANDSHAKE.replace(b"GET /", b"GET /echo"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        for _ in range(3):  # none of them is answered
            assert (await reader.readexactly(10))[0] == 0x89
        writer.close()
        await writer.wait_closed()
        worker.drain()
        server.drain()
        await serving
