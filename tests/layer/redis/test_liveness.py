import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from gateway_layer.config import LayerConfig
from gateway_layer.names import new_pid
from gateway_layer.node import Node
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import Keys
from gateway_layer.redis.layer import RedisLayer
from gateway_layer.redis.liveness import Lease, Renewal, announce_death, sweep

KEYS = Keys("gw")


def wait_for(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def make_lease(
    url: str, lease_s: float = 10.0, on_renewed: Callable[[Renewal], None] = lambda _: None
) -> Lease:
    return Lease(LayerConfig(redis=url, lease_s=lease_s), new_pid(), "test", None, on_renewed)


@contextmanager
def leased(url: str, lease_s: float = 10.0) -> Iterator[Lease]:
    """A lease that is renewed by hand."""
    lease = make_lease(url, lease_s)
    try:
        yield lease
    finally:
        lease.stop(leave=False)


def living(url: str) -> dict[str, float]:
    with sync_client(url) as client:
        found = client.zrange(KEYS.alive, 0, -1, withscores=True)
    return {pid.decode(): ends for pid, ends in found}


# The lease.


def test_a_started_lease_is_renewed_again_and_again(redis_url: str) -> None:
    renewals: list[Renewal] = []

    def on_renewed(renewal: Renewal) -> None:
        lease.beat = time.monotonic()
        renewals.append(renewal)

    lease = make_lease(redis_url, 0.5, on_renewed)
    lease.start()
    try:
        wait_for(lambda: len(renewals) >= 5)
        assert len(living(redis_url)) == 1
    finally:
        lease.stop(leave=True)
    assert living(redis_url) == {}


def awaited_until_ms(client: redis.Redis) -> int:
    """Until when processes come back that Redis had forgotten, or was away for."""
    value = client.get(KEYS.incarnation)
    assert isinstance(value, bytes)
    return int(value.decode().partition(".")[2])


def now_ms(client: redis.Redis) -> int:
    return int(client.time()[0]) * 1000


def test_after_a_first_start_nobody_is_awaited(redis_url: str) -> None:
    with leased(redis_url) as one, leased(redis_url) as other, sync_client(redis_url) as client:
        ids = {lease.renew().data_id for lease in (one, other, one, other)}
        assert len(ids) == 1
        assert awaited_until_ms(client) == 0


@pytest.mark.parametrize(("lease_s", "awaited_s"), [(1.0, 5), (60.0, 24)])
def test_others_are_awaited_when_one_comes_back_that_redis_has_forgotten(
    redis_url: str, lease_s: float, awaited_s: int
) -> None:
    with (
        leased(redis_url, lease_s) as one,
        leased(redis_url, 1.0) as new,
        sync_client(redis_url) as client,
    ):
        before = one.renew().data_id
        client.flushall()
        start_ms = now_ms(client)
        data_id = new.renew().data_id
        assert awaited_until_ms(client) == 0
        assert one.renew().data_id == data_id != before
        until_ms = awaited_until_ms(client)
        assert start_ms + awaited_s * 1000 <= until_ms <= start_ms + awaited_s * 1000 + 10_000
        assert new.renew().data_id == one.renew().data_id == data_id
        assert awaited_until_ms(client) == until_ms


def test_longest_wait_stands(redis_url: str) -> None:
    with (
        leased(redis_url, 60.0) as patient,
        leased(redis_url, 1.0) as quick,
        sync_client(redis_url) as client,
    ):
        patient.renew()
        quick.renew()
        client.flushall()
        patient.renew()
        until_ms = awaited_until_ms(client)
        quick.renew()
        assert awaited_until_ms(client) == until_ms


def test_others_are_awaited_where_redis_goes_on_with_what_it_had_saved(redis_url: str) -> None:
    with leased(redis_url) as one, leased(redis_url) as new, sync_client(redis_url) as client:
        data_id = one.renew().data_id
        long_ago = now_ms(client) - 60_000
        client.set(KEYS.renewed, long_ago)
        assert new.renew().data_id == data_id
        assert awaited_until_ms(client) == 0  # the first after a while may be the first of all
        client.set(KEYS.renewed, long_ago)
        assert one.renew().data_id == data_id
        assert awaited_until_ms(client) > now_ms(client)


def test_all_that_a_lease_writes_has_an_end(redis_url: str) -> None:
    with leased(redis_url) as lease, sync_client(redis_url) as client:
        lease.renew()
        announce_death(LayerConfig(redis=redis_url), new_pid())
        lease.renew()
        sweep(client, KEYS)
        ends = {key: client.pttl(key) for key in client.scan_iter()}
    assert {KEYS.alive, KEYS.dead, KEYS.incarnation, KEYS.renewed, KEYS.sweep} < set(ends)
    assert all(0 < end <= 120_000 for end in ends.values())


def test_the_clock_is_that_of_redis(redis_url: str) -> None:
    with leased(redis_url) as one, leased(redis_url) as other:
        assert abs(one.renew().clock_offset_ms - other.renew().clock_offset_ms) < 500


def test_the_data_have_one_name_until_they_are_lost(redis_url: str) -> None:
    with leased(redis_url) as one, leased(redis_url) as other, sync_client(redis_url) as client:
        name = one.renew().data_id
        assert other.renew().data_id == name
        client.flushall()
        assert one.renew().data_id != name


def test_who_does_not_renew_is_found_dead_by_the_others(redis_url: str) -> None:
    with leased(redis_url, 0.5) as silent, leased(redis_url, 60) as other:
        silent.renew()
        (pid,) = living(redis_url)
        assert pid in other.renew().alive
        wait_for(lambda: pid in other.renew().dead)
        assert pid not in living(redis_url)


def test_who_was_held_for_dead_learns_it_and_may_rejoin(redis_url: str) -> None:
    with leased(redis_url) as lease:
        lease.renew()
        (pid,) = living(redis_url)
        announce_death(LayerConfig(redis=redis_url), pid)
        assert lease.renew().fenced
        assert living(redis_url) == {}
        assert not lease.renew(rejoin=True).fenced
        assert pid in living(redis_url)


def test_leaving_leaves_no_tombstone(redis_url: str) -> None:
    lease = make_lease(redis_url)
    lease.renew()
    lease.stop(leave=True)
    with leased(redis_url) as other:
        assert other.renew().dead == ()


def test_leaving_an_absent_redis_is_quiet(tmp_path: Path) -> None:
    make_lease(f"unix://{tmp_path}/none.sock").stop(leave=True)


def test_an_absent_redis_does_not_end_the_thread(tmp_path: Path) -> None:
    lease = make_lease(f"unix://{tmp_path}/none.sock", 0.5)
    lease.start()
    before = time.monotonic()
    wait_for(lambda: time.monotonic() - before > 0.5)  # three renewals have failed
    assert any(thread.name == "gateway-lease" for thread in threading.enumerate())
    lease.stop(leave=False)


def test_a_redis_that_refuses_renewals_is_logged_once_and_tried_again(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    renewals: list[Renewal] = []
    lease = make_lease(redis_url, 0.5, renewals.append)
    with sync_client(redis_url) as client:
        client.set(KEYS.alive, "no sorted set")
        client.config_resetstat()
        lease.start()
        wait_for(lambda: client.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"] > 2)
        client.delete(KEYS.alive)
    wait_for(lambda: bool(renewals))
    lease.stop(leave=True)
    refusals = [one for one in caplog.records if "refuses to renew" in one.getMessage()]
    assert len(refusals) == 1
    assert refusals[0].levelno == logging.ERROR


@pytest.mark.parametrize("fault", [ZeroDivisionError, RuntimeError])
def test_an_unexpected_fault_does_not_end_the_thread(
    redis_url: str, caplog: pytest.LogCaptureFixture, fault: type[Exception]
) -> None:
    told: list[Renewal] = []

    def on_renewed(renewal: Renewal) -> None:
        told.append(renewal)
        if len(told) == 1:
            raise fault

    lease = make_lease(redis_url, 0.5, on_renewed)
    lease.start()
    wait_for(lambda: len(told) >= 2)
    lease.stop(leave=True)
    faults = [one for one in caplog.records if "renewing the lease failed" in one.getMessage()]
    assert len(faults) == 1


# The word of a supervisor.


async def test_an_announced_death_is_known_long_before_the_lease_would_tell(
    redis_url: str,
) -> None:
    config = LayerConfig(redis=redis_url, lease_s=120)
    layer = RedisLayer(config, "test")
    node = Node(layer)
    dead = asyncio.Event()
    told: list[str] = []

    def on_dead(pid: str) -> None:
        told.append(pid)
        dead.set()

    node.on_dead = on_dead
    await layer.start()
    try:
        await asyncio.to_thread(announce_death, config, "the-dead")
        async with asyncio.timeout(10):  # the next renewal is 36 s away
            await dead.wait()
    finally:
        await layer.close()
    assert told == ["the-dead"]


def test_an_announced_death_takes_the_keys_of_the_dead_along(redis_url: str) -> None:
    with leased(redis_url) as lease, sync_client(redis_url) as client:
        lease.renew()
        (pid,) = living(redis_url)
        client.rpush(KEYS.inbox(pid), "a")
        client.rpush(KEYS.pushes(pid), "a")
        announce_death(LayerConfig(redis=redis_url), pid)
        assert [key for key in client.scan_iter() if pid.encode() in key] == []


@pytest.mark.parametrize("url", ["unix:///nowhere/none.sock", "http://no-redis"])
def test_a_death_that_cannot_be_announced_is_no_error(url: str) -> None:
    announce_death(LayerConfig(redis=url), "pid")


# The sweep.


def test_the_sweep_gives_orphans_an_end_and_leaves_the_living_alone(redis_url: str) -> None:
    with leased(redis_url) as lease, sync_client(redis_url) as client:
        lease.renew()
        (pid,) = living(redis_url)
        orphans = [KEYS.inbox("gone"), KEYS.pushes("gone"), KEYS.queue("http")]
        others = [KEYS.inbox(pid), KEYS.pushes(pid), b"other:{gone}:in", b"gw:{p}:something"]
        for key in (*orphans, *others):
            client.rpush(key, "a")
        assert sweep(client, KEYS) == 3
        assert all(0 < client.ttl(key) <= 60 for key in orphans)
        assert [client.ttl(key) for key in others] == [-1] * 4


def test_the_sweep_takes_the_dead_out_of_groups(redis_url: str) -> None:
    with sync_client(redis_url) as client, leased(redis_url) as lease:
        lease.renew()
        (alive,) = living(redis_url)
        now_ms = client.time()[0] * 1000
        # One who registered a moment ago may not have renewed its lease since Redis was emptied.
        client.zadd(KEYS.group("g"), {alive: 0, "dead": 0, "fresh": now_ms})
        client.zadd(KEYS.group("h"), {"dead": 0})
        sweep(client, KEYS)
        assert {pid.decode() for pid in client.zrange(KEYS.group("g"), 0, -1)} == {alive, "fresh"}
        assert not client.exists(KEYS.group("h"))


def test_announced_death_ends_all_memberships(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        client.zadd(KEYS.group("g"), {"dead": client.time()[0] * 1000, "other": 0})
        announce_death(LayerConfig(redis=redis_url), "dead")
        assert client.zrange(KEYS.group("g"), 0, -1) == [b"other"]


def test_the_sweep_leaves_an_end_as_it_is(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        client.rpush(KEYS.queue("http"), "a")
        client.expire(KEYS.queue("http"), 5000)
        assert sweep(client, KEYS) == 0
        assert client.ttl(KEYS.queue("http")) > 60


def test_one_process_sweeps_a_minute(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        sweep(client, KEYS)
        client.rpush(KEYS.queue("http"), "a")
        assert sweep(client, KEYS) == 0


# Processes that hang, or stand still.

PROCESS = """
import asyncio, sys, time
from gateway_layer.config import LayerConfig
from gateway_layer.redis import liveness
from gateway_layer.redis.layer import RedisLayer

liveness._HANG_S = 1.0

async def main():
    layer = RedisLayer(LayerConfig(redis=sys.argv[1], lease_s=0.5), "test", pid="process")
    layer.on_fenced = layer.rejoin
    await layer.start()
    print("ready", flush=True)
    if sys.argv[2] == "hang":
        time.sleep(60)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@contextmanager
def process(url: str, manner: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, url, manner],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            yield running
        finally:
            running.kill()


def test_a_process_whose_loop_hangs_is_ended(redis_url: str) -> None:
    with process(redis_url, "hang") as running:
        assert running.wait(20) == -signal.SIGABRT


def test_a_process_that_stood_still_lives_on_and_rejoins(redis_url: str) -> None:
    with process(redis_url, "run") as running, leased(redis_url, 60) as other:
        running.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_for(lambda: "process" in other.renew().dead)
        wait_for(lambda: time.monotonic() - stopped > 1.5)  # longer than a loop may hang
        running.send_signal(signal.SIGCONT)
        wait_for(lambda: "process" in other.renew().alive)
        assert running.poll() is None


LOOPLESS = """
import asyncio, sys, threading
from gateway_layer.config import LayerConfig
from gateway_layer.redis.layer import RedisLayer

async def main():
    await RedisLayer(LayerConfig(redis=sys.argv[1], lease_s=0.5), "test").start()

asyncio.run(main())
(thread,) = [one for one in threading.enumerate() if one.name == "gateway-lease"]
thread.join(20)
sys.exit(thread.is_alive())
"""


def test_a_lease_without_an_event_loop_is_not_renewed_for_ever(redis_url: str) -> None:
    run = subprocess.run([sys.executable, "-c", LOOPLESS, redis_url], timeout=50, check=False)
    assert run.returncode == 0
