"""What a Redis that answers, but refuses to write, means for those who wait for the answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from gateway_layer.config import LayerConfig
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.layer import RedisLayer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


@pytest.fixture
async def layer(redis_url: str) -> AsyncIterator[RedisLayer]:
    layer = RedisLayer(LayerConfig(redis=redis_url, lease_s=120), "test")
    await layer.start()
    yield layer
    await layer.close()


async def refused_push(layer: RedisLayer) -> None:
    """Come back when Redis has refused what was written before, and this."""
    answers: list[int | Exception] = []
    layer.push("q", b"a", answers.append)
    await until(lambda: bool(answers))
    assert isinstance(answers[0], Exception)
    assert not isinstance(answers[0], LayerUnavailable)


async def test_an_entry_that_redis_has_no_memory_for_is_lost_and_logged_once(
    layer: RedisLayer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "gateway")
    told: list[str] = []
    layer.on_lost = lambda: told.append("lost")
    with sync_client(redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            for entry in (b"a", b"b"):
                layer.deliver("peer", entry)
                await refused_push(layer)
        finally:
            client.config_set("maxmemory", 0)
        layer.deliver("peer", b"c")
        await until(lambda: client.lrange("gw:{peer}:in", 0, -1) == [b"c"])
    assert (layer.available, told) == (True, [])
    assert len([one for one in caplog.messages if "OOM" in one]) == 1


async def test_a_server_that_became_a_replica_is_left_and_tried_again(redis_url: str) -> None:
    layer = RedisLayer(LayerConfig(redis=redis_url, lease_s=2), "test")
    await layer.start()
    told: list[str] = []
    layer.on_lost = lambda: told.append("lost")
    with sync_client(redis_url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            # The blocked read of the inbox ends by itself; the lease cannot be renewed there.
            await until(lambda: bool(told) and not layer.available)
            with pytest.raises(LayerUnavailable):
                layer.deliver("peer", b"a")
        finally:
            client.replicaof("NO", "ONE")
    await until(lambda: layer.available)
    await layer.close()


async def test_a_start_without_redis_is_given_up_for_a_stop() -> None:
    layer = RedisLayer(LayerConfig(redis="unix:///nowhere/redis.sock"), "test")
    stopped = asyncio.Event()
    starting = asyncio.create_task(layer.start_unless(stopped))
    await asyncio.sleep(0)
    stopped.set()
    async with asyncio.timeout(20):
        assert not await starting
        await layer.close()


async def test_a_start_that_nobody_stops_starts(redis_url: str) -> None:
    layer = RedisLayer(LayerConfig(redis=redis_url), "test")
    assert await layer.start_unless(asyncio.Event())
    assert layer.available
    await layer.close()
