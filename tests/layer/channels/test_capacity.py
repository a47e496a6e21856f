"""How much a channel holds, and for how long (channel layer specification, on a real server)."""

import asyncio
import re
import time
from importlib import import_module

import pytest
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import CHANNELS, SHORT_S, a_channel, nothing_comes, numbers

from gateway_layer.channels.plain import read_script
from gateway_layer.errors import ChannelFull
from gateway_layer.redis.address import sync_client


@CHANNELS
async def test_full_channel_refuses(make: MakeLayer, own: bool) -> None:
    layer = make(capacity=3)
    channel = await a_channel(layer, own)
    for number in range(3):
        await layer.send(channel, {"n": number})
    with pytest.raises(import_module("channels.exceptions").ChannelFull):
        await layer.send(channel, {"n": 3})
    assert await numbers(layer, channel, 3) == [0, 1, 2]
    await nothing_comes(layer, channel)


async def test_concurrent_senders_cannot_exceed_the_capacity(make: MakeLayer) -> None:
    senders = [make(capacity=10) for _ in range(4)]
    sends = [sender.send("jobs", {"n": 1}) for sender in senders for _ in range(5)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert sum(isinstance(result, ChannelFull) for result in results) == 10


async def test_messages_of_one_turn_fit_as_far_as_there_is_room(make: MakeLayer) -> None:
    layer = make(capacity=3)
    sends = [layer.send("jobs", {"n": number}) for number in range(6)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [isinstance(result, ChannelFull) for result in results] == [False] * 3 + [True] * 3
    assert await numbers(layer, "jobs", 3) == [0, 1, 2]
    await nothing_comes(layer, "jobs")


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
async def test_full_channel_refuses_while_another_of_the_process_is_read(
    make: MakeLayer, together: bool
) -> None:
    layer = make(capacity=3)
    channel, other = await layer.new_channel(), await layer.new_channel()
    reading = asyncio.create_task(layer.receive(other))
    results: list[object] = []
    for burst in [8] if together else [1] * 8:
        sends = [layer.send(channel, {"n": 1}) for _ in range(burst)]
        results += await asyncio.gather(*sends, return_exceptions=True)
        await asyncio.sleep(SHORT_S / 2)  # for what was sent to be read
    assert sum(isinstance(result, ChannelFull) for result in results) == 5
    assert layer.statistics["dropped"] == 0
    assert await numbers(layer, channel, 3) == [1, 1, 1]
    reading.cancel()


def test_what_was_read_meanwhile_is_not_taken_back(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        client.rpush("list", b"a", b"b", b"of another")  # "c" was read
        assert client.eval(read_script("withdraw"), 1, "list", 0, 2, b"c", b"b") == 0
        assert client.eval(read_script("withdraw"), 1, "list", 0, 2, b"b", b"a") == 1
        assert client.lrange("list", 0, -1) == [b"a", b"of another"]


async def test_capacity_of_a_channel_is_by_the_first_pattern(make: MakeLayer) -> None:
    layer = make(capacity=4, channel_capacity={re.compile("one.*"): 1, "on*": 2, "two!*": 3})
    assert [layer.get_capacity(name) for name in ("one.x", "on", "two!x", "else")] == [1, 2, 3, 4]
    await layer.send("one", {})
    with pytest.raises(ChannelFull) as caught:
        await layer.send("one", {})
    assert (caught.value.channel, caught.value.capacity) == ("one", 1)


@CHANNELS
async def test_expired_message_is_not_received(make: MakeLayer, own: bool) -> None:
    brief, layer = make(expiry=0.02), make()
    channel = await a_channel(layer, own)
    await layer.send(channel, {"n": 0})
    await brief.send(channel, {"n": 1})
    await layer.send(channel, {"n": 2})
    expired = time.time() + 0.021
    while time.time() <= expired:  # noqa: ASYNC110 - it is the clock that is waited for
        await asyncio.sleep(0.005)
    assert await numbers(layer, channel, 2) == [0, 2]
    assert layer.statistics["expired"] == 1


async def test_expired_messages_take_no_room(make: MakeLayer) -> None:
    layer, brief = make(capacity=1), make(capacity=1, expiry=0.02)
    await brief.send("jobs", {"n": 1})
    sent = False
    while not sent:
        try:
            await layer.send("jobs", {"n": 3})
            sent = True
        except ChannelFull:
            await asyncio.sleep(0.005)
    assert await numbers(layer, "jobs", 1) == [3]
