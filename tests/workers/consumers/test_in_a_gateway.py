"""Consumers behind real interface servers and workers, on the channel layer that these offer."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.processes import Launcher
from tests.workers.consumers.gateway_app import SHOWN
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def url(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an interface server with two workers."""
    launcher = Launcher(tmp_path_factory.mktemp("consumers"), server.url, namespace="consumers")
    try:
        command = ("gateway_app:app", "--app-dir", str(Path(__file__).parent), *launcher.layer)
        worker = launcher.run("gateway-worker", *command, "--processes", "2")
        interface = launcher.interface()
        worker.wait_ready()
        yield interface.urls[0].replace("http", "ws", 1)
    finally:
        launcher.close()


async def heard(client: ClientConnection) -> Any:
    async with asyncio.timeout(10):
        return json.loads(await client.recv())


async def test_groups_span_workers_without_any_configuration(
    url: str, server: EmbeddedServer
) -> None:
    async with AsyncExitStack() as stack:
        clients: list[ClientConnection] = []
        workers: set[int] = set()
        while len(clients) < 4 or len(workers) < 2:
            assert len(clients) < 40, "one worker takes all connections"
            path = ("/", "/sync")[len(clients) % 2]
            clients.append(await stack.enter_async_context(connect(url + path)))
            greeting = await heard(clients[-1])
            assert greeting["redis"] == server.url
            workers.add(greeting["worker"])
        for number in range(10):
            await clients[0].send(json.dumps(number))
            assert [await heard(client) for client in clients] == [number] * len(clients)


async def test_group_of_clients_and_consumers_hears_everything_once(
    url: str, server: EmbeddedServer
) -> None:
    layer = RedisChannelLayer([server.url], prefix="consumers-channels", namespace="consumers")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(layer.close_pools)
        clients = [
            await stack.enter_async_context(connect(url + path))
            for path in ("/shown", "/ticker", "/sync-ticker") * 2
        ]
        async with asyncio.timeout(10):
            while await layer.group_channels_count("ticker") < len(clients):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await SHOWN["publish"](layer, "1.08")
        await layer.group_send("ticker", {"type": "websocket.send", "bytes": b"2"})
        await layer.group_send("ticker", {"type": "websocket.close", "code": 4001})
        async with asyncio.timeout(10):
            for client in clients:
                assert [await client.recv(), await client.recv()] == ["1.08", b"2"]
                await client.wait_closed()
                assert client.close_code == 4001
