"""The extension `groups` of the channel layer specification, on a real server."""

import asyncio

import pytest
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import nothing_comes, numbers

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.redis.address import sync_client


async def test_group_message_reaches_every_member_once(
    layer: RedisChannelLayer, make: MakeLayer
) -> None:
    other = make()
    channels = [(one, await one.new_channel()) for one in (layer, layer, other)]
    channels.append((layer, "plain"))
    for one, channel in channels:
        await one.group_add("g", channel)
        await one.group_add("g", channel)
    assert await layer.group_channels_count("g") == 4
    await make().group_send("g", {"n": 1})
    for one, channel in channels:
        assert await numbers(one, channel, 1) == [1]
        await nothing_comes(one, channel)


async def test_members_share_no_dict(layer: RedisChannelLayer) -> None:
    channels = [await layer.new_channel() for _ in range(2)]
    for channel in channels:
        await layer.group_add("g", channel)
    await layer.group_send("g", {"list": [1]})
    first, second = [await layer.receive(channel) for channel in channels]
    first["list"].append(2)
    assert second == {"list": [1]}
    await layer.group_send("g", {"n": 1})
    first, second = [await layer.receive(channel) for channel in channels]
    first["n"] = 2
    assert second == {"n": 1}


async def test_member_that_left_gets_nothing(layer: RedisChannelLayer) -> None:
    stays, leaves = await layer.new_channel(), await layer.new_channel()
    for channel in (stays, leaves):
        await layer.group_add("g", channel)
    await layer.group_discard("g", leaves)
    await layer.group_discard("g", leaves)
    await layer.group_send("g", {"n": 1})
    assert await numbers(layer, stays, 1) == [1]
    await nothing_comes(layer, leaves)
    assert await layer.group_channels_count("g") == 1


async def test_left_group_leaves_nothing_in_redis(layer: RedisChannelLayer, redis_url: str) -> None:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await layer.group_discard("g", channel)
    with sync_client(redis_url) as client:
        assert client.keys("*g:g*") == []


async def test_another_process_adds_and_discards(layer: RedisChannelLayer, make: MakeLayer) -> None:
    other = make()
    channel = await layer.new_channel()
    await other.group_add("g", channel)
    await other.group_send("g", {"n": 1})
    await other.group_discard("g", channel)
    await other.group_send("g", {"n": 2})
    assert await numbers(layer, channel, 1) == [1]
    await nothing_comes(layer, channel)


async def test_excluded_members_go_without(layer: RedisChannelLayer) -> None:
    first, second = await layer.new_channel(), await layer.new_channel()
    for channel in (first, second, "plain"):
        await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 1}, exclude=[first, "plain"])
    assert await numbers(layer, second, 1) == [1]
    await nothing_comes(layer, first)
    await nothing_comes(layer, "plain")


async def test_full_member_goes_without_counted_and_logged(
    make: MakeLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.channels")
    layer = make(capacity=3)
    full, empty = await layer.new_channel(), await layer.new_channel()
    for channel in (full, empty):
        await layer.group_add("g", channel)
    for number in range(3):
        await layer.send(full, {"n": number})
    for number in range(3, 6):
        await layer.group_send("g", {"n": number})
    assert await numbers(layer, empty, 3) == [3, 4, 5]
    assert await numbers(layer, full, 3) == [0, 1, 2]
    await nothing_comes(layer, full)
    assert layer.statistics["dropped"] == 3
    assert caplog.text.count("1 of 2 channels over capacity in group g") == 3
    assert caplog.text.count("a channel is full") == 1


async def test_membership_ends_with_group_expiry(make: MakeLayer) -> None:
    layer = make(group_expiry=0.02)
    await layer.group_add("g", await layer.new_channel())
    while await layer.group_channels_count("g"):  # noqa: ASYNC110 - the clock
        await asyncio.sleep(0.005)


async def test_dead_process_is_forgotten(
    layer: RedisChannelLayer, make: MakeLayer, redis_url: str
) -> None:
    await make().group_add("g", "plain")
    dead = make()
    await dead.group_add("g", await dead.new_channel())
    with sync_client(redis_url) as client:
        await dead.close_pools()
        client.delete(*client.keys("asgi:{*}:up"))
        assert await layer.group_channels_count("g") == 1
        await layer.group_send("g", {"n": 1})
        assert await numbers(layer, "plain", 1) == [1]
        while client.zcard("asgi:{g:g}") != 1:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)


# Messages that clients of a gateway would get, where there is none.

SEND = {"type": "websocket.send", "text": "hello"}


async def test_layer_without_a_gateway_connects_to_none(redis_url: str) -> None:
    layer = RedisChannelLayer([redis_url])
    own = await layer.new_channel()
    await layer.group_add("g", own)
    await layer.group_send("g", SEND)
    assert await layer.group_channels_count("g") == 1
    assert await layer.receive(own) == SEND
    with sync_client(redis_url) as client:
        names = [str(one["name"]) for one in client.client_list()]
    assert [name for name in names if "push" in name] == []
    await layer.close_pools()


async def test_user_without_a_right_to_the_gateway_has_no_clients(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        client.acl_setuser("app", enabled=True, nopass=True, keys=["asgi:*"], commands=["+@all"])
        try:
            layer = RedisChannelLayer([{"address": redis_url, "username": "app", "password": "x"}])
            own = await layer.new_channel()
            await layer.group_add("g", own)
            await layer.group_send("g", SEND)
            assert await layer.receive(own) == SEND
            assert await layer.group_channels_count("g") == 1
            await layer.close_pools()
        finally:
            client.acl_deluser("app")
