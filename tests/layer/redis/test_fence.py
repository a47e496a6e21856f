"""A lease that lapses fences its process; a clock of Redis that jumps does not end a lease."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from gateway_layer.config import LayerConfig
from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import Keys
from gateway_layer.redis.layer import RedisLayer
from gateway_layer.redis.liveness import Lease, announce_death

KEYS = Keys("gw")
Client = redis.Redis


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with sync_client(redis_url) as client:
        yield client


@pytest.fixture
async def layer(redis_url: str) -> AsyncIterator[RedisLayer]:
    layer = RedisLayer(LayerConfig(redis=redis_url, lease_s=1), "test")
    await layer.start()
    yield layer
    await layer.close()


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def length(client: Client) -> int:
    found: int = client.llen(KEYS.queue("q"))
    return found


def renewals(client: Client) -> int:
    stats: Any = client.info("commandstats")
    found: int = stats.get("cmdstat_eval", {"calls": 0})["calls"]
    return found


@contextmanager
def no_renewals(client: Client) -> Iterator[None]:
    """Let Redis refuse every renewal, and nothing else."""
    client.set(KEYS.alive, "no sorted set")
    try:
        yield
    finally:
        client.delete(KEYS.alive)


# The fence.


def writes(layer: RedisLayer) -> bool:
    try:
        layer.push("q", b"a", lambda _place: None)
    except LayerUnavailable:
        return False
    return True


async def test_a_process_that_cannot_renew_stops_writing_until_it_has(
    layer: RedisLayer, client: Client
) -> None:
    with no_renewals(client):
        await until(lambda: not writes(layer))
    await until(lambda: writes(layer))


async def test_a_fenced_process_writes_to_no_inbox_either(
    layer: RedisLayer, client: Client
) -> None:
    with no_renewals(client):
        await until(lambda: not writes(layer))
        with pytest.raises(LayerUnavailable, match="lapsed"):
            layer.deliver("peer", b"a")


# The fence of a worker is that of all its process writes.


def process_may_write() -> bool:
    try:
        check_process()
    except LayerUnavailable:
        return False
    return True


async def test_a_worker_that_cannot_renew_pushes_nothing_either(
    redis_url: str, client: Client
) -> None:
    worker = RedisLayer(LayerConfig(redis=redis_url, lease_s=1), "worker")
    await worker.start()
    assert process_may_write()
    with no_renewals(client):
        await until(lambda: not process_may_write())
    await until(process_may_write)
    await worker.close()
    assert process_may_write()


async def test_another_process_pushes_whatever_its_lease(layer: RedisLayer, client: Client) -> None:
    with no_renewals(client):
        await until(lambda: not writes(layer))
        assert process_may_write()


async def test_a_process_held_for_dead_stays_fenced_until_it_rejoins(
    layer: RedisLayer, redis_url: str, client: Client
) -> None:
    fenced: list[None] = []
    layer.on_fenced = lambda: fenced.append(None)
    await asyncio.to_thread(announce_death, LayerConfig(redis=redis_url, lease_s=1), layer.pid)
    await until(lambda: bool(fenced))
    before = renewals(client)
    await until(lambda: renewals(client) >= before + 3)
    assert (writes(layer), len(fenced)) == (False, 1)
    layer.rejoin()
    await until(lambda: writes(layer))


PROCESS = """
import asyncio, sys
from gateway_layer.config import LayerConfig
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.layer import RedisLayer

async def main():
    layer = RedisLayer(LayerConfig(redis=sys.argv[1], lease_s=2), "test", pid="process")
    await layer.start()
    told = ""
    while True:
        try:
            layer.push("q", b"a", lambda _place: None)
            now = "writes"
        except LayerUnavailable:
            now = "refused"
        if now != told:
            told = now
            print(now, flush=True)
        await asyncio.sleep(0.02)

asyncio.run(main())
"""


@contextmanager
def process(url: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_process_that_stood_still_for_a_lease_writes_nothing_before_it_has_renewed(
    redis_url: str, client: Client
) -> None:
    with process(redis_url) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "writes\n"
        running.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_for(lambda: time.monotonic() - stopped > 2)
        before = length(client)
        with no_renewals(client):
            running.send_signal(signal.SIGCONT)
            assert running.stdout.readline() == "refused\n"
            # It may have stood still between checking and writing, with one entry in its hands.
            assert length(client) <= before + 1
        assert running.stdout.readline() == "writes\n"


async def test_a_reconnected_process_renews_at_once(redis_url: str, client: Client) -> None:
    layer = RedisLayer(LayerConfig(redis=redis_url, lease_s=120), "test")
    await layer.start()
    told: list[str] = []
    layer.on_lost = lambda: told.append("lost")
    layer.on_available = lambda: told.append("available")
    client.config_resetstat()
    client.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: told == ["lost", "available"])  # the thread's next renewal: 36 s away
    assert renewals(client) >= 1
    await layer.close()


# The clock of Redis.


@contextmanager
def renewed(url: str, pid: str, lease_s: float = 10.0) -> Iterator[Lease]:
    """A lease that was renewed once, and is from now on only by hand."""
    config = LayerConfig(redis=url, lease_s=lease_s)
    lease = Lease(config, pid, "test", None, lambda _: None)
    try:
        lease.renew()
        yield lease
    finally:
        lease.stop(leave=False)


def now_ms(client: Client) -> int:
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)


def expire(client: Client, pid: str) -> None:
    """Let a lease have ended, as if the time for it had passed."""
    client.zadd(KEYS.alive, {pid: now_ms(client) - 1000})


@pytest.mark.parametrize("jump_ms", [-60_000, 60_000])
def test_a_clock_that_jumped_buries_nobody(redis_url: str, client: Client, jump_ms: int) -> None:
    with renewed(redis_url, "other"), renewed(redis_url, "one") as one:
        expire(client, "other")
        client.set(KEYS.renewed, now_ms(client) - jump_ms)
        renewal = one.renew()
    assert renewal.dead == ()
    assert "other" in renewal.alive


def test_without_a_jump_an_ended_lease_is_a_death(redis_url: str, client: Client) -> None:
    with renewed(redis_url, "other"), renewed(redis_url, "one") as one:
        expire(client, "other")
        client.set(KEYS.renewed, now_ms(client) - 3000)
        renewal = one.renew()
    assert renewal.dead == ("other",)
    assert "other" not in renewal.alive


def test_who_is_dead_is_found_a_lease_after_a_jump(redis_url: str, client: Client) -> None:
    with renewed(redis_url, "other"), renewed(redis_url, "one", 1.0) as one:
        client.set(KEYS.renewed, now_ms(client) + 60_000)
        assert "other" in one.renew().alive
        wait_for(lambda: "other" in one.renew().dead)


def test_a_renewal_says_when_it_was(redis_url: str, client: Client) -> None:
    with renewed(redis_url, "one"):
        raw = client.get(KEYS.renewed)
    assert raw is not None
    assert abs(int(raw) - now_ms(client)) < 5000
