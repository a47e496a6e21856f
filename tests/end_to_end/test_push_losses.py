"""Pushes while Redis does not know the interface server of a client, because it lost its data."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from asgiref.sync import async_to_sync
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.processes import Gateway
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.config import LayerConfig
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ConnectionGone, LayerUnavailable, PushTimeout
from gateway_layer.names import new_pid
from gateway_layer.push import Push, SyncPush
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.liveness import Lease

Pusher = Callable[[str, str], Awaitable[None]]
"""Sends a text to a reply channel."""


@asynccontextmanager
async def all_pushers(gateway: Gateway) -> AsyncIterator[dict[str, Pusher]]:
    """Everything that pushes: in Python, by the channel layer from plain code, over HTTP."""
    url, namespace = gateway.launcher.layer[1], gateway.launcher.namespace
    layer = RedisChannelLayer([url], namespace=namespace)
    async with AsyncExitStack() as stack:
        push = await stack.enter_async_context(Push(url, namespace=namespace))
        sync = stack.enter_context(SyncPush(url, namespace=namespace))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=gateway.interface.urls[1])
        )

        async def push_async(address: str, text: str) -> None:
            await push.send(address, text=text)

        async def push_sync(address: str, text: str) -> None:
            await asyncio.to_thread(lambda: sync.send(address, text=text))

        async def send(address: str, text: str) -> None:
            message = {"type": "websocket.send", "text": text}
            await asyncio.to_thread(async_to_sync(layer.send), address, message)

        async def post(address: str, text: str) -> None:
            answer = await http.post(f"/@connections/{address}", content=text.encode())
            if answer.status_code == 410:
                raise ConnectionGone(answer.text)
            if answer.status_code in (503, 504):
                raise LayerUnavailable(answer.text)
            assert answer.status_code == 200, answer.text

        yield {"Push": push_async, "SyncPush": push_sync, "layer": send, "HTTP": post}


async def sent(pusher: Pusher, address: str, text: str) -> None:
    """Push until it works, which never fails because the connection were gone."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await pusher(address, text)
            except (LayerUnavailable, PushTimeout):
                await asyncio.sleep(0.02)


async def hears(client: ClientConnection, texts: set[str]) -> None:
    async with asyncio.timeout(10):
        while texts:
            texts.discard(str(await client.recv()))


@pytest.mark.parametrize("how", ["emptied", "emptied, and another comes first", "restarted"])
async def test_nobody_is_called_gone_because_redis_lost_its_data(
    start: StartGateway, redis_server: EmbeddedServer, how: str
) -> None:
    gateway = start(interface=("--push-bind", "127.0.0.1:0"))
    async with connect(f"{gateway.ws_url}/address?push") as listener, all_pushers(gateway) as by:
        address = str(await listener.recv())
        for name in ("Push", "SyncPush", "layer"):  # over HTTP nobody has pushed before
            await by[name](address, f"before {name}")
        if how == "restarted":
            redis_server.kill()
            redis_server.start()
        else:
            with sync_client(redis_server.url) as client:
                client.flushall()
        if "another" in how:
            url, namespace = gateway.launcher.layer[1], gateway.launcher.namespace
            config = LayerConfig(redis=url, namespace=namespace)
            Lease(config, new_pid(), "worker", None, lambda _renewal: None).renew()
        await asyncio.gather(*(sent(by[name], address, name) for name in by))
        await hears(listener, {*(f"before {name}" for name in by if name != "HTTP"), *by})


async def test_interface_server_that_died_is_gone_in_the_end(start: StartGateway) -> None:
    gateway = start("--lease", "1", interface=("--push-bind", "127.0.0.1:0"))
    other = gateway.launcher.interface("--lease", "1")
    url = other.urls[0].replace("http", "ws", 1)
    async with connect(f"{url}/address?push") as listener, all_pushers(gateway) as by:
        address = str(await listener.recv())
        other.kill()
        for pusher in by.values():
            with pytest.raises(ConnectionGone):
                await sent(pusher, address, "too late")
