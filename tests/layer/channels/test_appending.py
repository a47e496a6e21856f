"""How messages come into their lists: in one piece or in a transaction, with an end in any case."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import nothing_comes, numbers

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import sync_client

SIZES = pytest.mark.parametrize("size", [0, 5_000], ids=["small", "large"])


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(redis_url) as client:
        yield client


def transactions(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_exec", {"calls": 0})["calls"])


@pytest.mark.parametrize("count", [1, 700])
@pytest.mark.parametrize("own", [False, True], ids=["plain", "own"])
@SIZES
async def test_list_has_an_end(
    make: MakeLayer, client: redis.Redis, size: int, count: int, own: bool
) -> None:
    layer = make(capacity=1000, expiry=50)
    channel = await make().new_channel() if own else "plain"
    message = {"text": "x" * size}
    await asyncio.gather(*(layer.send(channel, message) for _ in range(count)))
    (key,) = client.keys("asgi:{*}:in" if own else "asgi:{q:*}")
    assert client.llen(key) == count
    assert 0 < client.pttl(key) <= 50_000


async def test_what_is_small_and_alone_needs_no_transaction(
    layer: RedisChannelLayer, client: redis.Redis
) -> None:
    before = transactions(client)
    for number in range(3):
        await layer.send("plain", {"n": number})
    assert transactions(client) == before
    await layer.send("plain", {"n": 3, "text": "x" * 2_000})
    assert transactions(client) == before + 1
    await asyncio.gather(*(layer.send("plain", {"n": number}) for number in (4, 5, 6)))
    assert transactions(client) == before + 2  # of the second and the third
    assert await numbers(layer, "plain", 7) == list(range(7))


@SIZES
async def test_server_that_refuses_an_end_is_said(
    make: MakeLayer, redis_url: str, client: redis.Redis, size: int
) -> None:
    rights = ["+@all", "-pexpire"]
    client.acl_setuser("endless", enabled=True, nopass=True, keys=["*"], commands=rights)
    try:
        layer = make(hosts=[{"address": redis_url, "username": "endless", "password": "any"}])
        with pytest.raises(LayerUnavailable, match="NOPERM"):
            await layer.send("plain", {"text": "x" * size})
        assert not client.exists("asgi:{q:plain}")
    finally:
        client.acl_deluser("endless")


@SIZES
async def test_key_of_another_kind_is_said(
    layer: RedisChannelLayer, client: redis.Redis, size: int
) -> None:
    client.set("asgi:{q:plain}", "no list")
    with pytest.raises(LayerUnavailable, match="WRONGTYPE"):
        await layer.send("plain", {"text": "x" * size})


@SIZES
async def test_connection_that_breaks_before_the_answer_is_said(
    layer: RedisChannelLayer, client: redis.Redis, size: int
) -> None:
    await layer.send("other", {"n": 0})  # connects
    client.client_pause(10_000, all=False)
    sending = asyncio.create_task(layer.send("plain", {"n": 1, "text": "x" * size}))
    async with asyncio.timeout(10):
        while not client.info("clients")["blocked_clients"]:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(LayerUnavailable):
        await sending
    client.client_unpause()
    await nothing_comes(layer, "plain")
    await layer.send("plain", {"n": 2})
    assert await numbers(layer, "plain", 1) == [2]


async def test_many_names_are_found_and_few_are_kept(make: MakeLayer) -> None:
    layer = make()
    names = [f"channel-{number}" for number in range(2_500)]
    for _ in range(2):
        await asyncio.gather(*(layer.send(name, {"n": 1}) for name in names))
    for name in (names[0], names[-1]):
        assert await numbers(layer, name, 2) == [1, 1]
    assert 0 < len(layer._routes._known) <= 1000


async def test_member_with_a_forged_name_keeps_nobody_from_the_message(
    make: MakeLayer, redis_url: str, client: redis.Redis
) -> None:
    layer = make(hosts=[redis_url, redis_url])
    await layer.group_add("g", "plain")
    client.zadd("asgi:{g:g}", {"@a b": 2**52, "@": 2**52})
    await layer.group_send("g", {"n": 1})
    assert await numbers(layer, "plain", 1) == [1]
