"""Group messages whose senders do not wait for Redis: what is bounded, counted and raised."""

import asyncio
import contextlib
import os
import signal
import time

import pytest
from asgiref.sync import async_to_sync
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import numbers

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import sync_client

MOST = 32
"""So many of one loop may be unanswered; stated in docs/channels.md."""


async def a_member(layer: RedisChannelLayer) -> str:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    return channel


async def test_as_many_as_the_bound_wait_for_nobody(
    layer: RedisChannelLayer, redis_server: EmbeddedServer
) -> None:
    channel = await a_member(layer)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        for number in range(MOST):
            await asyncio.wait_for(layer.group_send("g", {"n": number}), 1)
        beyond = asyncio.create_task(layer.group_send("g", {"n": MOST}))
        done, _ = await asyncio.wait([beyond], timeout=0.1)
        assert not done
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await asyncio.wait_for(beyond, 5)
    assert await numbers(layer, channel, MOST + 1) == list(range(MOST + 1))
    assert layer._state().unanswered.count == 0


async def test_order_holds_between_groups_and_channels(make: MakeLayer) -> None:
    receiver, sender = make(), make(capacity=1000)
    channel = await a_member(receiver)
    for number in range(0, 100, 2):
        await sender.group_send("g", {"n": number})
        await sender.send(channel, {"n": number + 1})
    assert await numbers(receiver, channel, 100) == list(range(100))


async def test_lost_one_is_counted_and_the_next_sender_is_told(
    layer: RedisChannelLayer, redis_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await a_member(layer)
    os.kill(redis_server.pid, signal.SIGSTOP)
    for number in range(3):
        await layer.group_send("g", {"n": number})
    redis_server.kill()
    while layer.statistics["dropped"] < 3:  # noqa: ASYNC110 - nobody waits for them
        await asyncio.sleep(0.005)
    assert caplog.text.count("a message may be lost") == 1
    began = time.monotonic()
    with pytest.raises(LayerUnavailable):
        await layer.group_send("g", {"n": 3})
    assert time.monotonic() - began < 10
    assert layer.statistics["dropped"] == 3  # its sender knows
    redis_server.start()
    await until_taken(layer, channel)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        for number in (5, 6):  # once one was taken, nobody waits again
            await asyncio.wait_for(layer.group_send("g", {"n": number}), 1)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert await numbers(layer, channel, 2) == [5, 6]
    assert caplog.text.count("a message may be lost") == 1


async def until_taken(layer: RedisChannelLayer, channel: str) -> None:
    """Send until one arrives, for the server came back empty; then read the others of these."""
    arrived = asyncio.create_task(layer.receive(channel))
    while not arrived.done():
        with contextlib.suppress(LayerUnavailable):
            await layer.group_send("g", {"n": 4})
        await asyncio.wait([arrived], timeout=0.02)
    await layer.send(channel, {"n": -1})
    while (await layer.receive(channel))["n"] != -1:
        pass


async def test_refusal_is_told_to_the_second_and_forgotten_when_one_is_taken(
    layer: RedisChannelLayer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await a_member(layer)
    with sync_client(redis_url) as client:
        client.delete("asgi:{g:g}")
        client.set("asgi:{g:g}", "no zset")
        await layer.group_send("g", {"n": 0})
        while not layer.statistics["dropped"]:  # noqa: ASYNC110 - nobody waits for it
            await asyncio.sleep(0.005)
        with pytest.raises(LayerUnavailable, match="WRONGTYPE"):
            await layer.group_send("g", {"n": 1})
        client.delete("asgi:{g:g}")
    await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 2})
    for number in range(3, 6):
        await layer.group_send("g", {"n": number})
    assert await numbers(layer, channel, 4) == [2, 3, 4, 5]
    assert layer.statistics["dropped"] == 1
    assert caplog.text.count("a message may be lost") == 1


async def test_plain_member_that_is_full_is_counted(make: MakeLayer) -> None:
    layer = make(capacity=2)
    await layer.group_add("g", "plain")
    for number in range(5):
        await layer.group_send("g", {"n": number})
    await layer.group_send("nobody", {})
    while layer.statistics["dropped"] < 3:  # noqa: ASYNC110 - nobody waits for them
        await asyncio.sleep(0.005)
    assert await numbers(layer, "plain", 2) == [0, 1]
    assert layer.statistics["dropped"] == 3


def test_loop_that_ends_at_once_has_sent_to_all(redis_url: str) -> None:
    layer = RedisChannelLayer(hosts=[redis_url])
    async_to_sync(layer.group_add)("g", "plain")

    async def send_while_redis_is_slow() -> None:
        await layer.group_send("nobody", {})  # connects
        with sync_client(redis_url) as client:
            client.client_pause(200, all=True)
        for number in range(20):
            await layer.group_send("g", {"n": number})

    asyncio.run(send_while_redis_is_slow())
    assert async_to_sync(numbers)(layer, "plain", 20) == list(range(20))
    assert layer.statistics["dropped"] == 0
