"""What tests of the channel layer receive, and how they wait for it."""

import asyncio
from typing import Any

import pytest

from gateway_layer.channels import RedisChannelLayer

SHORT_S = 0.05
"""Long enough for what must not come to come all the same."""


async def nothing_comes(layer: RedisChannelLayer, channel: str) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), SHORT_S)


async def numbers(layer: RedisChannelLayer, channel: str, count: int) -> list[int]:
    return [(await layer.receive(channel))["n"] for _ in range(count)]


async def waiting(layer: RedisChannelLayer, channel: str) -> asyncio.Task[dict[str, Any]]:
    task = asyncio.create_task(layer.receive(channel))
    while not await blocked_clients(layer):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0)
    return task


async def blocked_clients(layer: RedisChannelLayer) -> int:
    info: Any = await layer._state().call("", "INFO", "clients")
    return int(info.split(b"blocked_clients:")[1].split()[0])


CHANNELS = pytest.mark.parametrize("own", [True, False], ids=["own", "plain"])


async def a_channel(layer: RedisChannelLayer, own: bool) -> str:
    return await layer.new_channel() if own else "thumbnails"
