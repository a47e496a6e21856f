"""Channels and groups of connections whose worker goes: nothing that is sent to them is missed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from signal import SIGHUP, SIGKILL

import pytest
from tests.end_to_end.processes import Gateway, Launcher, send_signal, wait_until
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.redis.address import sync_client

StartGateway = Callable[..., Gateway]

APP = "channel_apps:application"


@pytest.fixture
async def layer(redis_server: EmbeddedServer, launch: Launcher) -> AsyncIterator[RedisChannelLayer]:
    """The layer of the consumers, in another process."""
    layer = RedisChannelLayer([redis_server.url], prefix=f"{launch.namespace}-channels")
    yield layer
    await layer.close_pools()


@asynccontextmanager
async def listening(gateway: Gateway, name: str) -> AsyncIterator[ClientConnection]:
    async with connect(f"{gateway.ws_url}/?{name}") as socket:
        await asyncio.to_thread(gateway.launcher.wait_for_note, name, 1)
        yield socket


async def tell(layer: RedisChannelLayer, number: int, **more: object) -> None:
    await layer.group_send("everybody", {"type": "told", "n": number, **more})


async def hear(socket: ClientConnection) -> object:
    async with asyncio.timeout(20):
        return json.loads(await socket.recv())


def connected(gateway: Gateway, name: str) -> list[str]:
    return [one for one in gateway.launcher.notes(name) if one.startswith("connected")]


async def test_group_is_heard_once_in_order_while_workers_are_replaced(
    start: StartGateway, layer: RedisChannelLayer
) -> None:
    gateway = start(app=APP)
    async with listening(gateway, "rolling") as socket:
        number = 0
        for restarts in range(1, 4):
            gateway.worker.signal(SIGHUP)
            while len(connected(gateway, "rolling")) <= restarts:
                number += 1
                await tell(layer, number, slow=not number % 7)
                await asyncio.sleep(0.005)
        assert [await hear(socket) for _ in range(number)] == [
            [one, one] for one in range(1, number + 1)
        ]


async def test_message_in_hand_of_a_killed_worker_is_handled_by_the_next_instance(
    start: StartGateway, layer: RedisChannelLayer
) -> None:
    gateway = start(app=APP)
    async with listening(gateway, "killed") as socket:
        await tell(layer, 1)
        assert await hear(socket) == [1, 1]
        await tell(layer, 2, wait=True)
        gateway.launcher.wait_for_note("killed", 2)
        await tell(layer, 3)
        send_signal(int(connected(gateway, "killed")[0].split()[2]), SIGKILL)
        gateway.launcher.open_gate("killed")
        assert [await hear(socket), await hear(socket)] == [[2, 2], [3, 3]]


async def test_group_message_wakes_a_socket_that_hibernates(
    start: StartGateway, layer: RedisChannelLayer
) -> None:
    gateway = start(app=APP, worker=("--hibernate-after", "0.3"))
    async with listening(gateway, "asleep") as socket:
        await tell(layer, 1)
        assert await hear(socket) == [1, 1]
        wait_until(lambda: gateway.launcher.notes("asleep")[-1] == "disconnected 1012", "sleep")
        await tell(layer, 2)
        assert await hear(socket) == [2, 2]
        assert len(connected(gateway, "asleep")) == 2


async def test_channel_keeps_its_name_and_the_groups_that_it_once_joined(
    start: StartGateway, layer: RedisChannelLayer
) -> None:
    gateway = start(app=APP)
    async with listening(gateway, "joined") as socket:
        await socket.send(json.dumps({"join": "chosen"}))
        assert await hear(socket) == {"joined": "chosen"}
        gateway.worker.signal(SIGHUP)
        wait_until(lambda: len(connected(gateway, "joined")) == 2, "the next instance")
        await layer.group_send("chosen", {"type": "told", "n": 7})
        assert await hear(socket) == [7, 1]
        first, second = (one.split()[3] for one in connected(gateway, "joined"))
        assert first == second
        await layer.send(first, {"type": "told", "n": 8})
        assert await hear(socket) == [8, 2]


async def test_who_left_is_in_no_group_any_more(
    start: StartGateway, layer: RedisChannelLayer
) -> None:
    gateway = start(app=APP)
    async with listening(gateway, "left"):
        assert await layer.group_channels_count("everybody") == 1
    async with asyncio.timeout(10):
        while await layer.group_channels_count("everybody"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.02)


async def test_groups_are_heard_again_when_redis_was_emptied(
    start: StartGateway, layer: RedisChannelLayer, redis_server: EmbeddedServer
) -> None:
    gateway = start("--lease", "1", app=APP)
    async with listening(gateway, "emptied") as socket:
        with sync_client(redis_server.url) as client:
            client.flushall()
        heard = asyncio.create_task(hear(socket))
        async with asyncio.timeout(20):
            while not heard.done():
                await tell(layer, 1)
                await asyncio.sleep(0.05)
        assert await heard == [1, 1]
