"""The in-memory channel layer takes and refuses what the real one does."""

import asyncio

import pytest

from gateway_layer.errors import ChannelFull
from gateway_worker.testing import InMemoryChannelLayer


async def test_message_arrives_as_a_copy() -> None:
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    message = {"type": "a", "list": [1, (2,)], "bytes": b"\xff"}
    await layer.send(channel, message)
    message["type"] = "changed"
    assert await layer.receive(channel) == {"type": "a", "list": [1, [2]], "bytes": b"\xff"}


async def test_names_and_messages_are_checked() -> None:
    layer = InMemoryChannelLayer()
    for call in (
        layer.send("a b", {}),
        layer.receive("é"),
        layer.group_add("a!b", "c"),
        layer.group_send("", {}),
        layer.send("a", {"value": object()}),
        layer.new_channel("x" * 99),
    ):
        with pytest.raises(TypeError):
            await call


async def test_full_channel_is_an_error_for_one_and_none_for_a_group() -> None:
    layer = InMemoryChannelLayer(capacity=1)
    await layer.group_add("group", "a")
    await layer.send("a", {"n": 1})
    with pytest.raises(ChannelFull):
        await layer.send("a", {"n": 2})
    await layer.group_send("group", {"n": 3})
    assert await layer.receive("a") == {"n": 1}


async def test_excluded_members_go_without_and_are_counted() -> None:
    layer = InMemoryChannelLayer()
    for channel in ("one", "two"):
        await layer.group_add("group", channel)
    await layer.group_send("group", {"n": 1}, exclude=["two", "three"])
    await layer.group_send("group", {"n": 2})
    assert [(await layer.receive("one"))["n"] for _ in range(2)] == [1, 2]
    assert (await layer.receive("two"))["n"] == 2
    assert await layer.group_channels_count("group") == 2
    assert await layer.group_channels_count("nobody") == 0


async def test_members_and_no_others_get_a_group_message() -> None:
    layer = InMemoryChannelLayer()
    one, two, three = [await layer.new_channel() for _ in range(3)]
    for channel in (one, two, three):
        await layer.group_add("group", channel)
    await layer.group_discard("group", two)
    await layer.group_discard("other", two)
    await layer.group_send("group", {"n": 1})
    assert await layer.receive(one) == await layer.receive(three) == {"n": 1}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(two), 0.01)


async def test_cancelled_receive_loses_nothing() -> None:
    layer = InMemoryChannelLayer()
    for number in range(50):
        waiting = asyncio.create_task(layer.receive("a"))
        for _ in range(number % 3):
            await asyncio.sleep(0)
        await layer.send("a", {"n": number})
        for _ in range(number % 4):
            await asyncio.sleep(0)
        waiting.cancel()
        try:
            got = await waiting
        except asyncio.CancelledError:
            got = await layer.receive("a")
        assert got == {"n": number}


async def test_flushed_it_is_empty() -> None:
    layer = InMemoryChannelLayer()
    await layer.group_add("group", "a")
    await layer.group_send("group", {"n": 1})
    await layer.flush()
    await layer.group_send("group", {"n": 2})
    await layer.send("a", {"n": 3})
    assert await layer.receive("a") == {"n": 3}
