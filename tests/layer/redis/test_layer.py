"""What RedisLayer does beyond the contract: ends of keys, losses, refusals, namespaces."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway_layer.base import PULL_TIMEOUT_S
from gateway_layer.config import LayerConfig
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ConfigError, LayerUnavailable
from gateway_layer.redis import layer as module
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import Keys
from gateway_layer.redis.layer import RedisLayer
from gateway_layer.redis.liveness import announce_death

KEYS = Keys("gw")
Join = Callable[..., Awaitable[RedisLayer]]


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


@pytest.fixture
async def join(redis_url: str) -> AsyncIterator[Join]:
    """Starts layers that are closed with the test; they renew seldom unless told otherwise."""
    async with AsyncExitStack() as stack:

        async def join_one(lease_s: float = 120.0, namespace: str = "gw", **options: Any) -> Any:
            config = LayerConfig(redis=redis_url, lease_s=lease_s, namespace=namespace)
            layer = RedisLayer(config, "test", **options)
            await layer.start()
            stack.push_async_callback(layer.close)
            return layer

        yield join_one


def calls(url: str, name: str) -> int:
    with sync_client(url) as client:
        stats: dict[str, dict[str, int]] = client.info("commandstats")
    return stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]


def ends(url: str, key: bytes) -> int:
    with sync_client(url) as client:
        found: int = client.ttl(key)
    return found


def place(layer: RedisLayer, queue: str = "q", entry: bytes = b"a") -> "asyncio.Future[Any]":
    placed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    layer.push(queue, entry, placed.set_result)
    return placed


# The ends of keys.


async def test_an_inbox_that_nobody_reads_gets_an_end(join: Join, redis_url: str) -> None:
    layer = await join()
    layer.deliver("absent", b"a")
    await place(layer)
    layer.deliver("absent", b"b")
    await until(lambda: 0 < ends(redis_url, KEYS.inbox("absent")) <= 60)


async def test_a_backlog_in_a_queue_gets_an_end_at_most_once_a_second(
    join: Join, redis_url: str
) -> None:
    layer = await join()
    with sync_client(redis_url) as client:
        client.config_resetstat()
    started = asyncio.get_running_loop().time()
    for _ in range(100):
        await place(layer)
    seconds = asyncio.get_running_loop().time() - started
    await until(lambda: 0 < ends(redis_url, KEYS.queue("q")) <= 120)
    assert 1 <= calls(redis_url, "expire") <= 1 + seconds


async def test_a_healthy_queue_costs_no_expire(join: Join, redis_url: str) -> None:
    layer = await join()
    with sync_client(redis_url) as client:
        client.config_resetstat()
    for _ in range(20):
        pulled: asyncio.Future[Sequence[bytes]] = asyncio.get_running_loop().create_future()
        layer.pull("q", 1, pulled.set_result)
        await place(layer)
        assert list(await pulled) == [b"a"]
    assert calls(redis_url, "expire") == 0


async def test_close_leaves_nothing_of_the_process(redis_url: str) -> None:
    layer = RedisLayer(LayerConfig(redis=redis_url), "test")
    await layer.start()
    layer.deliver(layer.pid, b"a")
    await layer.close()
    with sync_client(redis_url) as client:
        keys = list(client.scan_iter())
        assert not [key for key in keys if layer.pid.encode() in key]
        assert client.zrange(KEYS.alive, 0, -1) == []
        assert all(client.ttl(key) > 0 for key in keys)


async def test_close_gives_what_it_wrote_to_others_an_end(redis_url: str) -> None:
    # One entry is no backlog; whom it is for may have left, and nobody else may be there to sweep.
    layer = RedisLayer(LayerConfig(redis=redis_url), "test")
    await layer.start()
    layer.deliver("absent", b"a")
    await layer.close()
    assert 0 < ends(redis_url, KEYS.inbox("absent")) <= 60


async def test_what_was_on_its_way_to_a_dead_process_gets_an_end(
    join: Join, redis_url: str
) -> None:
    layer = await join()
    layer.deliver("dead", b"a")
    await place(layer)
    layer.found_dead("dead")
    await until(lambda: ends(redis_url, KEYS.inbox("dead")) != -1)


# Losses.


def record(layer: RedisLayer) -> list[str]:
    told: list[str] = []
    layer.on_lost = lambda: told.append("lost")
    layer.on_available = lambda: told.append("available")
    return told


async def test_a_restart_of_redis_is_one_loss(
    join: Join, redis_server: EmbeddedServer, redis_url: str
) -> None:
    layer = await join(lease_s=1)
    told, before = record(layer), layer.incarnation
    await asyncio.to_thread(redis_server.kill)
    await until(lambda: told == ["lost"])
    assert not layer.available
    with pytest.raises(LayerUnavailable):
        layer.deliver("pid", b"a")
    await asyncio.to_thread(redis_server.start)
    await until(lambda: layer.available)
    assert layer.incarnation != before
    # The next renewals find other data there: that is no second loss.
    await until(lambda: calls(redis_url, "eval") >= 3)
    assert told == ["lost", "available"]


async def test_data_that_were_emptied_are_a_loss_without_a_broken_connection(
    join: Join, redis_url: str
) -> None:
    layer = await join(lease_s=1)
    told = record(layer)
    with sync_client(redis_url) as client:
        client.flushall()
    await until(lambda: told == ["lost", "available"])
    assert layer.available


async def test_a_search_while_redis_is_away_says_that_nobody_knows(
    join: Join, redis_server: EmbeddedServer
) -> None:
    layer = await join()
    await place(layer)
    await asyncio.to_thread(redis_server.kill)
    await until(lambda: not layer.available)
    found: list[bool | None] = []
    layer.find("q", b"a", found.append)
    await until(lambda: found == [None])
    await asyncio.to_thread(redis_server.start)


async def test_a_pull_ends_empty_while_redis_is_away(
    join: Join, redis_server: EmbeddedServer
) -> None:
    layer = await join()
    ended: list[Sequence[bytes]] = []
    layer.pull("q", 1, ended.append)
    await asyncio.to_thread(redis_server.kill)
    await until(lambda: len(ended) == 1)
    layer.pull("q", 1, ended.append)
    await until(lambda: len(ended) == 2, 10 * PULL_TIMEOUT_S)
    await asyncio.to_thread(redis_server.start)
    await until(lambda: layer.available)
    layer.pull("q", 1, ended.append)
    await place(layer)
    await until(lambda: len(ended) > 2)
    assert [list(one) for one in ended[:2]] == [[], []]


async def test_a_start_waits_for_redis(redis_server: EmbeddedServer, redis_url: str) -> None:
    await asyncio.to_thread(redis_server.stop)
    layer = RedisLayer(LayerConfig(redis=redis_url), "test")
    starting = asyncio.create_task(layer.start())
    await asyncio.to_thread(redis_server.start)
    async with asyncio.timeout(20):
        await starting
    assert layer.available
    await layer.close()


async def test_a_start_tries_on_where_redis_refuses_its_lease(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gateway.layer")
    layer = RedisLayer(LayerConfig(redis=redis_url), "test")
    with sync_client(redis_url) as client:
        client.set(KEYS.alive, "no sorted set")
        starting = asyncio.create_task(layer.start())
        await until(lambda: "not registered yet" in caplog.text)
        client.delete(KEYS.alive)
    async with asyncio.timeout(20):
        await starting
    await layer.close()


async def test_a_server_that_cannot_serve_ends_the_start() -> None:
    with EmbeddedServer(extra=["--cluster-enabled", "yes"]) as server:
        layer = RedisLayer(LayerConfig(redis=server.url), "test")
        with pytest.raises(ConfigError, match="cluster"):
            await layer.start()
        await layer.close()


async def test_an_evicting_server_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gateway.layer")
    with EmbeddedServer(extra=["--maxmemory-policy", "allkeys-lru"]) as server:
        layer = RedisLayer(LayerConfig(redis=server.url), "test")
        await layer.start()
        await layer.close()
    assert len([one for one in caplog.records if "noeviction" in one.getMessage()]) == 1


# Deaths.


async def test_a_peer_absent_from_the_living_is_dead_after_a_lease(
    join: Join, redis_url: str
) -> None:
    layer = await join(lease_s=0.5)
    told: list[str] = []
    layer.on_peer_dead = told.append
    layer.deliver("never-there", b"a")
    await until(lambda: told == ["never-there"])
    await until(lambda: ends(redis_url, KEYS.inbox("never-there")) == -2)


async def test_who_was_held_for_dead_rejoins_and_may_die_again(join: Join, redis_url: str) -> None:
    layer, peer = await join(lease_s=1), await join(lease_s=1)
    config = LayerConfig(redis=redis_url, lease_s=1)
    told: list[str] = []
    layer.on_peer_dead = told.append
    events = record(peer)

    def rejoin() -> None:
        events.append("fenced")
        peer.rejoin()

    peer.on_fenced = rejoin
    got: list[bytes] = []
    peer.on_inbox = got.extend
    await asyncio.to_thread(announce_death, config, peer.pid)
    await until(lambda: events[:1] == ["fenced"] and events[-1] == "available")
    await until(lambda: told == [peer.pid])
    layer.deliver(peer.pid, b"welcome back")
    await until(lambda: b"welcome back" in got)
    await until(lambda: alive(redis_url, peer.pid))
    before = calls(redis_url, "eval")
    await until(lambda: calls(redis_url, "eval") >= before + 4)  # all have seen it alive
    await asyncio.to_thread(announce_death, config, peer.pid)
    await until(lambda: told == [peer.pid, peer.pid])


def alive(url: str, pid: str) -> bool:
    with sync_client(url) as client:
        return client.zscore(KEYS.alive, pid) is not None


async def test_a_peer_whose_inbox_overflows_counts_as_dead(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INBOX_CAPACITY", 3)
    layer = await join()
    told: list[str] = []
    layer.on_peer_dead = told.append
    for _ in range(6):
        layer.deliver("slow", b"a")
        await place(layer)
    assert told == ["slow"]


# Content of Redis that nobody of ours has written.


async def test_an_inbox_of_another_type_is_logged_once_and_read_again(
    join: Join, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with sync_client(redis_url) as client:
        client.set(KEYS.inbox("victim"), "no list")
        layer = await join(pid="victim")
        await until(lambda: any("its inbox" in one.getMessage() for one in caplog.records))
        before = calls(redis_url, "blmpop")
        await until(lambda: calls(redis_url, "blmpop") > before)
        client.delete(KEYS.inbox("victim"))
    got: list[bytes] = []
    layer.on_inbox = got.extend
    layer.deliver("victim", b"a")
    await until(lambda: got == [b"a"])
    assert len([one for one in caplog.records if "its inbox" in one.getMessage()]) == 1


async def test_a_queue_of_another_type_refuses_pushes_and_pulls_in_peace(
    join: Join, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    layer = await join()
    with sync_client(redis_url) as client:
        client.set(KEYS.queue("q"), "no list")
    assert isinstance(await place(layer), Exception)
    found: list[bool | None] = []
    layer.find("q", b"a", found.append)
    await until(lambda: found == [None])
    ended: list[Sequence[bytes]] = []
    for number in range(2):
        layer.pull("q", 1, ended.append)
        await until(lambda number=number: len(ended) > number)  # type: ignore[misc]
    assert [list(one) for one in ended] == [[], []]
    assert calls(redis_url, "blmpop") < 100
    assert len([one for one in caplog.records if "{q:q}" in one.getMessage()]) == 1


# Namespaces.


async def test_two_gateways_on_one_redis_do_not_meet(join: Join, redis_url: str) -> None:
    one, other = await join(pid="same"), await join(pid="same", namespace="second")
    got: list[tuple[str, bytes]] = []
    one.on_inbox = lambda entries: got.extend(("one", entry) for entry in entries)
    other.on_inbox = lambda entries: got.extend(("other", entry) for entry in entries)
    one.deliver("same", b"a")
    other.deliver("same", b"b")
    await place(one, "q", b"to one")
    pulled: asyncio.Future[Sequence[bytes]] = asyncio.get_running_loop().create_future()
    other.pull("q", 1, pulled.set_result)
    await until(lambda: len(got) == 2)
    assert sorted(got) == [("one", b"a"), ("other", b"b")]
    assert list(await pulled) == []
    with sync_client(redis_url) as client:
        assert all(key.startswith((b"gw:", b"second:")) for key in client.scan_iter())
