"""The channel layer specification of Django Channels 4, on a real server: messages and names."""

import asyncio
import random
from typing import Any

import pytest
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import CHANNELS, a_channel, numbers, waiting

from gateway_layer.channels import RedisChannelLayer


@CHANNELS
async def test_message_arrives_as_it_was_sent(layer: RedisChannelLayer, own: bool) -> None:
    channel = await a_channel(layer, own)
    message = {
        "type": "a.b",
        "b": b"\xff",
        "i": -(2**63),
        "f": 1.5,
        "l": [1, (2,)],
        "d": {"x": None},
    }
    await layer.send(channel, message)
    assert await layer.receive(channel) == {**message, "l": [1, [2]]}


@CHANNELS
async def test_message_of_a_megabyte_passes(layer: RedisChannelLayer, own: bool) -> None:
    channel = await a_channel(layer, own)
    await layer.send(channel, {"text": "x" * 2**20})
    assert len((await layer.receive(channel))["text"]) == 2**20


@CHANNELS
async def test_messages_of_one_sender_keep_their_order(
    layer: RedisChannelLayer, make: MakeLayer, own: bool
) -> None:
    channel = await a_channel(layer, own)
    sender = make()
    for number in range(50):
        await sender.send(channel, {"n": number})
    assert await numbers(layer, channel, 50) == list(range(50))


@CHANNELS
async def test_messages_of_one_turn_keep_their_order(layer: RedisChannelLayer, own: bool) -> None:
    channel = await a_channel(layer, own)
    await asyncio.gather(*(layer.send(channel, {"n": number}) for number in range(100)))
    assert await numbers(layer, channel, 100) == list(range(100))


@CHANNELS
async def test_cancelled_receive_loses_nothing(layer: RedisChannelLayer, own: bool) -> None:
    channel = await a_channel(layer, own)
    await layer.send(channel, {"n": 0})
    got = await numbers(layer, channel, 1)
    for number in range(1, 60):
        task = asyncio.create_task(layer.receive(channel))
        send = asyncio.create_task(layer.send(channel, {"n": number}))
        for _ in range(random.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await send
        try:
            got.append((await task)["n"])
        except asyncio.CancelledError:
            got += await asyncio.wait_for(numbers(layer, channel, 1), 5)
    assert got == list(range(60))


async def test_cancelled_receive_leaves_the_message_to_another_process(
    layer: RedisChannelLayer, make: MakeLayer
) -> None:
    task = await waiting(layer, "thumbnails")
    task.cancel()
    other = make()
    await other.send("thumbnails", {"n": 1})
    assert await numbers(other, "thumbnails", 1) == [1]


@CHANNELS
async def test_readers_of_one_channel_share_its_messages(
    layer: RedisChannelLayer, make: MakeLayer, own: bool
) -> None:
    channel = await a_channel(layer, own)
    readers = [layer, layer, layer] if own else [layer, layer, make()]
    got: list[int] = []

    async def read(reader: RedisChannelLayer) -> None:
        while len(got) < 300:
            got.extend(await numbers(reader, channel, 1))

    tasks = [asyncio.create_task(read(reader)) for reader in readers]
    sender = make(capacity=1000)
    await asyncio.gather(*(sender.send(channel, {"n": number}) for number in range(300)))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert sorted(got) == list(range(300))


async def test_channels_of_one_process_get_their_own(layer: RedisChannelLayer) -> None:
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.send(second, {"n": 2})
    await layer.send(first, {"n": 1})
    assert await numbers(layer, first, 1) == [1]
    assert await numbers(layer, second, 1) == [2]


async def test_name_with_a_bang_of_ones_own_is_a_channel(layer: RedisChannelLayer) -> None:
    await layer.send("x!y", {"n": 1})
    await layer.send("x!z", {"n": 2})
    assert await numbers(layer, "x!z", 1) == [2]
    assert await numbers(layer, "x!y", 1) == [1]


async def test_channel_of_another_process_cannot_be_read(
    layer: RedisChannelLayer, make: MakeLayer
) -> None:
    with pytest.raises(ValueError, match="another process"):
        await layer.receive(await make().new_channel())


async def test_new_channels_differ_under_the_same_seed(layer: RedisChannelLayer) -> None:
    names = []
    for _ in range(3):
        random.seed(1)
        names.append(await layer.new_channel("pre.fix"))
    assert len(set(names)) == 3
    assert all(name.startswith("pre.fix.") and name.count("!") == 1 for name in names)


@pytest.mark.parametrize("name", ["", "a b", "ä", "a!b!c", "x" * 100, b"a", None, "a\n", "a/b"])
async def test_bad_channel_names_are_refused(layer: RedisChannelLayer, name: Any) -> None:
    for call in (layer.send(name, {}), layer.receive(name), layer.group_add("g", name)):
        with pytest.raises(TypeError, match="channel name"):
            await call


@pytest.mark.parametrize("name", ["", "a!b", "ä", "x" * 100, b"a", None])
async def test_bad_group_names_are_refused(layer: RedisChannelLayer, name: Any) -> None:
    calls = (layer.group_add(name, "a"), layer.group_discard(name, "a"), layer.group_send(name, {}))
    for call in (*calls, layer.group_channels_count(name)):
        with pytest.raises(TypeError, match="group name"):
            await call


@pytest.mark.parametrize("message", [None, "text", [("type", "a")], {"__asgi_channel__": "x"}])
async def test_what_is_no_message_is_refused(layer: RedisChannelLayer, message: Any) -> None:
    for call in (layer.send("a", message), layer.group_send("a", message)):
        with pytest.raises(AssertionError):
            await call


@pytest.mark.parametrize("value", [object(), 2**64, {1: 2}, float("nan"), "\ud800"])
async def test_value_that_cannot_travel_is_named(layer: RedisChannelLayer, value: Any) -> None:
    with pytest.raises(TypeError, match=r'message\["deep"\]\[0\]'):
        await layer.send("a", {"deep": [value]})


async def test_message_is_not_changed_by_sending(layer: RedisChannelLayer) -> None:
    message = {"type": "a", "list": [1]}
    await layer.send(await layer.new_channel(), message)
    assert message == {"type": "a", "list": [1]}
