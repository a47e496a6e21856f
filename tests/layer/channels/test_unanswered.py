"""Group messages whose senders do not wait for Redis: what is bounded, counted and raised."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
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


async def test_senders_wait_while_much_waits_to_be_written(
    layer: RedisChannelLayer, redis_server: EmbeddedServer
) -> None:
    await layer.group_add("g", "plain")

    async def send() -> None:
        for _ in range(MOST - 1):
            await layer.group_send("g", {"b": b"x" * 2**18})

    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        sender = asyncio.create_task(send())
        done, _ = await asyncio.wait([sender], timeout=0.2)
        assert not done
        assert layer._state().unanswered.count < MOST // 2
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await asyncio.wait_for(sender, 10)


@pytest.mark.parametrize("own", [True, False], ids=["own", "plain"])
async def test_order_holds_between_groups_and_channels(make: MakeLayer, own: bool) -> None:
    receiver, sender = make(capacity=1000), make(capacity=1000)
    channel = await receiver.new_channel() if own else "plain"
    await receiver.group_add("g", channel)
    for number in range(0, 100, 2):
        await sender.group_send("g", {"n": number})
        await sender.send(channel, {"n": number + 1})
    assert await numbers(receiver, channel, 100) == list(range(100))


async def test_bound_is_of_messages_not_of_members(make: MakeLayer) -> None:
    layer = make(capacity=1000)
    for index in range(10):
        await layer.group_add("g", f"plain{index}")
    most = 0
    for number in range(3 * MOST):
        await layer.group_send("g", {"n": number})
        most = max(most, layer._state().unanswered.count)
    assert 0 < most <= MOST
    for index in range(10):
        assert await numbers(layer, f"plain{index}", 3 * MOST) == list(range(3 * MOST))


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


async def test_refused_group_does_not_hide_behind_a_good_one(
    layer: RedisChannelLayer, redis_url: str
) -> None:
    await a_member(layer)
    with sync_client(redis_url) as client:
        client.set("asgi:{g:bad}", "no zset")
    await layer.group_send("bad", {})
    while not layer.statistics["dropped"]:  # noqa: ASYNC110 - nobody waits for it
        await asyncio.sleep(0.005)
    for _ in range(3):
        await layer.group_send("g", {})
        with pytest.raises(LayerUnavailable, match="WRONGTYPE"):
            await layer.group_send("bad", {})
    assert layer.statistics["dropped"] == 1


async def test_plain_member_that_cannot_be_written_harms_no_other(
    layer: RedisChannelLayer, redis_url: str
) -> None:
    channel = await a_member(layer)
    await layer.group_add("g", "plain")
    with sync_client(redis_url) as client:
        client.set("asgi:{q:plain}", "no list")
        await layer.group_send("g", {"n": 0})
        while not layer.statistics["dropped"]:  # noqa: ASYNC110 - nobody waits for it
            await asyncio.sleep(0.005)
        for number in (1, 2):
            with pytest.raises(LayerUnavailable, match="WRONGTYPE"):
                await layer.group_send("g", {"n": number})
        with pytest.raises(LayerUnavailable, match="WRONGTYPE"):
            await asyncio.wait_for(layer.send("plain", {}), 5)
        client.delete("asgi:{q:plain}")
    await layer.group_send("g", {"n": 3})
    assert await numbers(layer, channel, 4) == [0, 1, 2, 3]
    assert await numbers(layer, "plain", 1) == [3]


async def test_plain_member_that_is_full_is_counted_and_logged(
    make: MakeLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    layer = make(capacity=2)
    await layer.group_add("g", "plain")
    await layer.group_add("g", "other")
    for _ in range(2):
        await layer.send("other", {})
    for number in range(5):
        await layer.group_send("g", {"n": number})
    await layer.group_send("nobody", {})
    while layer.statistics["dropped"] < 8:  # noqa: ASYNC110 - nobody waits for them
        await asyncio.sleep(0.005)
    assert await numbers(layer, "plain", 2) == [0, 1]
    assert layer.statistics["dropped"] == 8
    assert caplog.text.count("1 of 2 channels over capacity in group g") == 8


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


def test_loop_ends_without_an_answer_that_never_comes(
    redis_url: str, redis_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    layer = RedisChannelLayer(hosts=[redis_url])

    async def send() -> None:
        await layer.group_add("g", "plain")  # connects
        os.kill(redis_server.pid, signal.SIGSTOP)
        await layer.group_send("g", {})

    began = time.monotonic()
    try:
        asyncio.run(send())
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert time.monotonic() - began < 15
    assert layer.statistics["dropped"] == 1
    assert "a message may be lost" in caplog.text


CLEANS_UP = """
import asyncio, sys
from gateway_layer.channels import RedisChannelLayer
layer = RedisChannelLayer([sys.argv[1]])

async def consume():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)  # a database, and the layer's connections have ended
        await layer.group_send("g", {"n": 1})

async def main():
    await layer.group_add("g", "plain")
    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)
    return consumer

asyncio.run(main())
"""


async def test_what_is_sent_while_the_loop_cancels_all_tasks_arrives(
    layer: RedisChannelLayer, redis_url: str
) -> None:
    # In a process of its own: asyncio warns of connections that are made so late.
    program = [sys.executable, "-W", "ignore", "-c", CLEANS_UP, redis_url]
    await asyncio.to_thread(subprocess.run, program, check=True, capture_output=True, timeout=20)
    assert await asyncio.wait_for(numbers(layer, "plain", 1), 5) == [1]
