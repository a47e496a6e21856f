"""Proofs about interface servers: stopped, killed, and between those who do not read."""

import os
import signal
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import procfs
from benchmarks.report import Row

from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import ORPHAN_TTL_S
from tests.chaos import judge
from tests.chaos.fleet import Fleet, fleet, kill_both, kill_child
from tests.chaos.scale import Scale
from tests.end_to_end.processes import wait_until

_WAITING = 20
_ABNORMAL = "1006"
_SOON_S = 1.0
_GROWTH_PERCENT = 5.0
_SLOWER = 2.0
_LOOK_S = 0.5


def open_on_each(one: Fleet) -> None:
    """Open half of the WebSockets on the first interface server, half on the other."""
    for server in (0, 1):
        one.clients.ask("open", count=one.scale.sockets // 2, server=server)
    one.clients.ask("begin", period_s=one.scale.period_s, askers=one.scale.askers)
    one.clients.ask("join", **one.at_redis)


def stopped_interface(folder: Path, scale: Scale) -> list[Row]:
    """Proof 4: SIGSTOP an interface server for longer than its lease, then let it go on."""
    half = scale.sockets // 2
    with fleet(folder, scale) as one:
        open_on_each(one)
        zombie = one.interfaces[0].child
        stopped = time.monotonic()
        os.kill(zombie, signal.SIGSTOP)
        try:
            limit_s = scale.stopped_s + scale.lease_s + 20
            wait_until(lambda: len(heard_1006(one)) >= half, "the end of its instances", limit_s)
            time.sleep(max(0.0, stopped + scale.stopped_s - time.monotonic()))
        finally:
            os.kill(zombie, signal.SIGCONT)
        since = time.monotonic()
        wait_until(
            lambda: len(one.clients.ask("latencies", since=since)) >= scale.sockets, "service", 60
        )
        reached = one.clients.ask("group", number=1, within_s=20.0, **one.at_redis)
        report = one.finish()
        posts, heard = one.notes("post"), heard_1006(one)
    moved = {index for index, *_hello in report["hellos"]}
    statuses = [status for *_one, status in report["requests"]]
    bad = [status for status in statuses if status not in (200, 502, 503, 504)]
    return [
        *judge.sockets(report),
        judge.at_least("instances that heard 1006", len(heard), half),
        judge.at_least("hand-overs of its connections", sum(i < half for i in moved), half),
        judge.at_most("hand-overs of other connections", sum(i >= half for i in moved), 0),
        judge.at_least("group afterwards", reached, scale.sockets),
        judge.none("requests cut or hung", bad),
        judge.at_least("requests answered 200", statuses.count(200), 1),
        judge.posts_once(posts),
    ]


def heard_1006(one: Fleet) -> set[str]:
    """Return the reply channels whose application heard that the interface server is gone."""
    return {channel for channel, *_event, code in one.notes("heard") if code == _ABNORMAL}


def killed_interface(folder: Path, scale: Scale) -> list[Row]:
    """Proof 6: SIGKILL an interface server, seen by its supervisor, and together with it."""
    rows = []
    for name, kill, limit_s in (
        ("its supervisor tells", lambda command: kill_child(command)[0], _SOON_S),
        ("nobody tells", kill_both, scale.lease_s * 1.3 + _SOON_S),
    ):
        with fleet(folder / name.partition(" ")[0], scale) as one:
            rows += _kill_interface(one, name, kill, limit_s)
    return rows


def _kill_interface(one: Fleet, name: str, kill: Callable[[Any], int], limit_s: float) -> list[Row]:
    half = one.scale.sockets // 2
    open_on_each(one)
    one.clients.ask("ask", path="/wait", count=_WAITING, server=0)
    wait_until(lambda: _begun(one, "/wait") == _WAITING, "the requests")
    channels = one.clients.ask("channels")[:half]
    (pid,) = {channel.partition("!")[0] for channel in channels}
    at = time.monotonic()
    kill(one.interfaces[0])
    requests: list[list[str]] = []

    def all_heard() -> bool:
        nonlocal requests
        requests = [words for words in one.notes("heard") if words[-1] == "http.disconnect"]
        return heard_1006(one).issuperset(channels) and len(requests) == _WAITING

    wait_until(all_heard, "the end of its instances", limit_s + 20)
    took_s = time.monotonic() - at
    if kill is kill_both:
        _age_groups(one)
        one.interface().wait_ready()  # whoever starts, sweeps
    wait_until(lambda: not _left(one, pid), "the cleaning", 20)
    report = one.clients.ask("report")
    others = [index for index, *_close in report["closed"] if index >= half]
    return [
        judge.at_most(f"{half} + {_WAITING} instances ended, {name}", took_s, limit_s, "s"),
        judge.none(f"left in Redis, {name}", _left(one, pid)),
        judge.none(f"sockets closed of the other, {name}", others),
    ]


def _begun(one: Fleet, path: str) -> int:
    return sum(words[1] == path for words in one.notes("begin"))


def _age_groups(one: Fleet) -> None:
    """As if a sweep were due, and all registrations for groups older than it looks at."""
    prefix = one.launcher.namespace
    with sync_client(one.redis.url) as client:
        client.delete(f"{prefix}:{{p}}:sweep")
        for key in client.scan_iter(match=f"{prefix}:{{g:*"):
            for member in client.zrange(key, 0, -1):
                client.zincrby(key, -2000 * ORPHAN_TTL_S, member)


def _left(one: Fleet, pid: str) -> list[str]:
    """Return what names a process; but for its tombstone, which says for a minute that it died."""
    prefix = one.launcher.namespace
    found = []
    with sync_client(one.redis.url) as client:
        for raw in client.scan_iter(match=f"{prefix}:*", count=1000):
            key = raw.decode()
            in_zset = client.type(key) == b"zset" and client.zscore(key, pid) is not None
            if pid in key or (in_zset and not key.endswith("{p}:dead")):
                found.append(key)
    return found


def stuck(folder: Path, scale: Scale) -> list[Row]:
    """Proof 8: clients that do not read, applications that do not receive, beside the others."""
    with fleet(folder, scale, options=("--send-timeout", "600")) as one:
        one.begin()
        time.sleep(1)
        before = _latencies(one, scale.stuck_s)
        one.clients.ask("stick", readers=scale.stuck, writers=scale.stuck)
        pids = {f"{c.folder.name}": c.child for c in (*one.interfaces, *one.workers)}
        pids["redis"] = one.redis.pid
        _wait_until_filled(pids)
        first = _rss(pids)
        peak = dict(first)
        begun = time.monotonic()
        while time.monotonic() < begun + scale.stuck_s:
            time.sleep(_LOOK_S)
            peak = {part: max(peak[part], now) for part, now in _rss(pids).items()}
        during = one.clients.ask("latencies", since=begun)
        lost = one.clients.ask("unstick")
        after = _latencies(one, scale.stuck_s)
        report = one.finish()
    growth = {part: (peak[part] / first[part] - 1) * 100 for part in pids}
    worst = max(growth, key=growth.__getitem__)
    sizes = ", ".join(f"{part} {size / 2**20:.0f} MiB" for part, size in first.items())
    p99, p99_without = _p99(during), max(_p99(before), _p99(after))
    told = f"{p99_without * 1000:.1f} ms without, {p99 * 1000:.1f} ms beside them"
    return [
        *judge.sockets(report),
        judge.at_most(f"growth of {worst}", growth[worst], _GROWTH_PERCENT, "%", sizes),
        judge.at_most("p99 of others", p99 / max(p99_without, scale.noise_s), _SLOWER, "x", told),
        judge.at_most("stuck clients dropped", lost, 0),
        *judge.requests(report),
    ]


def _latencies(one: Fleet, seconds: float) -> list[float]:
    since = time.monotonic()
    time.sleep(seconds)
    found: list[float] = one.clients.ask("latencies", since=since)
    return found


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _rss(pids: Mapping[str, int]) -> dict[str, int]:
    return {part: procfs.rss_bytes(pid) for part, pid in pids.items()}


def _wait_until_filled(pids: Mapping[str, int]) -> None:
    """Wait until every window and every buffer of the stuck ones is full."""
    seen = _rss(pids)

    def still() -> bool:
        nonlocal seen
        time.sleep(2 * _LOOK_S)
        before, seen = seen, _rss(pids)
        return all(seen[part] <= before[part] * 1.02 for part in pids)

    wait_until(still, "the filling of the windows", 60)
