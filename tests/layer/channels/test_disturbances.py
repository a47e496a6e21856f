"""`flush`, what is left behind, and what a lost Redis or foreign bytes do to a layer."""

import asyncio
from itertools import pairwise

import pytest
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import CHANNELS, a_channel, nothing_comes, numbers, waiting

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import sync_client


@CHANNELS
async def test_flush_drops_everything_and_leaves_the_layer_usable(
    layer: RedisChannelLayer, own: bool
) -> None:
    channel, brim = await a_channel(layer, own), await layer.new_channel()
    await layer.group_add("g", channel)
    for name in (channel, brim, channel):
        await layer.send(name, {"n": 1})
    await numbers(layer, brim, 1)
    await layer.flush()
    await nothing_comes(layer, channel)
    assert await layer.group_channels_count("g") == 0
    await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 2})
    assert await numbers(layer, channel, 1) == [2]


async def test_flush_reaches_other_processes(layer: RedisChannelLayer, make: MakeLayer) -> None:
    left, channel = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("g", left)
    await layer.send(left, {"n": 1})
    task = await waiting(layer, channel)
    other = make()
    await other.flush()
    await layer.group_add("g", channel)
    await other.group_send("g", {"n": 2})
    assert await task == {"n": 2}
    await nothing_comes(layer, left)


async def test_flush_spares_other_prefixes(make: MakeLayer) -> None:
    layer, other = make(), make(prefix="asgi2")
    await other.send("a", {"n": 1})
    await layer.send("a", {"n": 2})
    await layer.flush()
    assert await numbers(other, "a", 1) == [1]
    await nothing_comes(layer, "a")


async def test_finished_consumers_leave_nothing(layer: RedisChannelLayer) -> None:
    for _ in range(50):
        channel = await layer.new_channel()
        await layer.group_add("g", channel)
        task = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        task.cancel()
        await layer.group_discard("g", channel)
    mailbox = layer._mailbox
    assert (mailbox.groups, mailbox._unread, mailbox._waiters) == ({}, {}, {})


# Disturbances.


@CHANNELS
async def test_cut_connection_heals_under_a_blocked_receive(
    layer: RedisChannelLayer, redis_url: str, own: bool
) -> None:
    channel = await a_channel(layer, own)
    task = await waiting(layer, channel)
    with sync_client(redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0)
        sent = False
        while not sent:
            try:
                await layer.send(channel, {"n": 1})
                sent = True
            except LayerUnavailable:
                await asyncio.sleep(0.01)
    assert await asyncio.wait_for(task, 5) == {"n": 1}


async def count_once_redis_is_back(layer: RedisChannelLayer) -> int:
    try:
        return await layer.group_channels_count("g")
    except LayerUnavailable:
        return 0


async def test_groups_come_back_after_redis_lost_everything(
    layer: RedisChannelLayer, redis_server: EmbeddedServer
) -> None:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    task = await waiting(layer, channel)
    redis_server.kill()
    redis_server.start()
    while not await count_once_redis_is_back(layer):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.01)
    await layer.group_send("g", {"n": 1})
    assert await asyncio.wait_for(task, 5) == {"n": 1}


async def test_idle_receive_waits_longer_than_a_read_blocks(layer: RedisChannelLayer) -> None:
    own = await layer.new_channel()
    tasks = [asyncio.create_task(layer.receive(name)) for name in (own, "plain")]
    await asyncio.wait(tasks, timeout=2.5)
    for channel in (own, "plain"):
        await layer.send(channel, {"n": 1})
    assert await asyncio.gather(*tasks) == [{"n": 1}, {"n": 1}]


async def test_bytes_that_are_no_entry_disturb_nothing(
    layer: RedisChannelLayer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await layer.new_channel()
    with sync_client(redis_url) as client:
        for raw in (
            b"\xc1",
            b"\x92\x01\x02",
            b"\x93\x01\x00\x02",
            b"\x91\x01",
            b"{}",
            b"\x92\x01\x80",
            b"\x94\x01\xc2\xa1x\xc4\x00",
        ):
            client.rpush(f"asgi:{{{layer._mailbox.client}}}:in", raw)
            client.rpush("asgi:{q:plain}", raw)
    for name in (channel, "plain"):
        await layer.send(name, {"n": 1})
        assert await numbers(layer, name, 1) == [1]
    assert "cannot be read" in caplog.text


def test_consecutive_versions_grow(redis_url: str) -> None:
    mailbox = RedisChannelLayer(hosts=[redis_url])._mailbox
    versions = [mailbox.version() for _ in range(100)]
    assert all(before < after for before, after in pairwise(versions))
