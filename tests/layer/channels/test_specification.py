"""The channel layer specification of Django Channels 4, against a real server."""

import asyncio
import random
import re
import time
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
from tests.layer.channels.conftest import MakeLayer

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.channels.plain import read_script
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ChannelFull, LayerUnavailable
from gateway_layer.redis.address import sync_client

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


# Capacity and expiry.


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


# Groups.


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


# Flush, and what is left.


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
        for raw in (b"\xc1", b"\x92\x01\x02", b"\x93\x01\x00\x02", b"\x91\x01", b"{}"):
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
