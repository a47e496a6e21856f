"""Proofs about Redis: killed, emptied, away, set back, behind a bad network, and left clean."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
from benchmarks.report import Row

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import GROUP_TTL_S
from tests.chaos import judge
from tests.chaos.fleet import Fleet, fleet
from tests.chaos.proxy import Proxy
from tests.chaos.scale import Scale
from tests.end_to_end.processes import TIMEOUT_S, Command, wait_until

_HTTP = (200, 503)
_GROUP_S = 20.0
_DISTURB_EVERY_S = 0.25


def lost_redis(folder: Path, scale: Scale) -> list[Row]:
    """Proof 3: Redis is killed and empty, set back, emptied while it runs, and away for long."""
    faults: list[tuple[str, Callable[[EmbeddedServer], None]]] = [
        *[("killed and started empty", EmbeddedServer.restart)] * scale.redis_kills,
        ("set back to a snapshot", set_back),
        ("emptied", empty),
        ("away", lambda server: be_away(server, scale.redis_away_s)),
    ]
    rows: list[Row] = []
    with fleet(folder, scale) as one:
        one.begin()
        one.clients.ask("join", **one.at_redis)
        for number, (name, fault) in enumerate(faults):
            wait_until_served(one)
            fault(one.redis)
            wait_until_served(one)
            reached = one.clients.ask("group", number=number, within_s=_GROUP_S, **one.at_redis)
            rows.append(judge.at_least(f"group after Redis was {name}", reached, scale.sockets))
        report = one.finish()
        posts = one.notes("post")
    return [
        *judge.sockets(report),
        *judge.requests(report, allowed=_HTTP),
        judge.at_most("hand-overs: who was held for dead", len(report["hellos"]), 0),
        *rows,
        judge.posts_once(posts),
    ]


def wait_until_served(one: Fleet) -> None:
    """Wait until as many messages have come and gone as there are WebSockets."""
    since, enough = time.monotonic(), one.scale.sockets
    wait_until(lambda: len(one.clients.ask("latencies", since=since)) >= enough, "service", 60)


def set_back(server: EmbeddedServer) -> None:
    """Write a snapshot, go on for a moment, then restart from the snapshot."""
    with sync_client(server.url) as client:
        client.save()
        wait_until(lambda: _changes(client) > 100, "changes after the snapshot")
        directory = Path(str(client.config_get("dir")["dir"]))
    server.kill()
    server.start()
    (directory / "dump.rdb").unlink()


def _changes(client: "redis.Redis") -> int:
    found: Any = client.info("persistence")
    return int(found["rdb_changes_since_last_save"])


def empty(server: EmbeddedServer) -> None:
    """Delete everything while all are connected."""
    with sync_client(server.url) as client:
        client.flushall()


def be_away(server: EmbeddedServer, away_s: float) -> None:
    """Kill the server and start it, empty, much later."""
    server.kill()
    time.sleep(away_s)
    server.start()


def bad_network(folder: Path, scale: Scale) -> list[Row]:
    """Proof 5: a proxy before an interface server and before a worker cuts, delays, truncates."""
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer())
        path = server.url.removeprefix("unix://")
        proxies = [stack.enter_context(Proxy(path, seed)) for seed in (1, 2)]
        ways = [proxy.url for proxy in proxies]
        one = stack.enter_context(fleet(folder, scale, redis=server, ways=ways))
        one.begin()
        wait_until_served(one)
        until = time.monotonic() + scale.proxied_s
        while time.monotonic() < until:
            for proxy in proxies:
                proxy.disturb()
                time.sleep(_DISTURB_EVERY_S / 2)
        report = one.finish()
        posts = one.notes("post")
        faults = {kind: sum(p.faults[kind] for p in proxies) for kind in proxies[0].faults}
    told = ", ".join(f"{count} x {kind}" for kind, count in faults.items())
    return [
        *judge.sockets(report),
        *judge.requests(report, allowed=_HTTP),
        judge.posts_once(posts),
        judge.at_least("faults of the network", min(faults.values()), 1, note=told),
    ]


def left_clean(folder: Path, scale: Scale) -> list[Row]:
    """Proof 7: after all have stopped, and the longest expiry is over, Redis is empty.

    The expiries are a thousandth of what the processes have set.
    """
    rows = []
    with fleet(folder / "drained", scale) as one:
        _use(one)
        one.finish()
        one.clients.ask("leave")
        _end(one.workers)
        _end(one.interfaces)
        rows += _after_expiry(one, "all had drained")
    with fleet(folder / "killed", scale) as one:
        _use(one)
        for command in (*one.workers, *one.interfaces):
            command.kill()
        _sweep(one)
        rows += _after_expiry(one, "all were killed at once")
    return rows


def _end(commands: Sequence[Command]) -> None:
    """End them as operators do, all at once."""
    for command in commands:
        command.signal(signal.SIGTERM)
    for command in commands:
        assert command.process.wait(TIMEOUT_S) == 0, command.stderr


def _use(one: Fleet) -> None:
    """Have a bit of everything."""
    one.begin()
    one.clients.ask("join", **one.at_redis)
    wait_until_served(one)
    one.clients.ask("group", number=1, within_s=_GROUP_S, **one.at_redis)


def _sweep(one: Fleet) -> None:
    """Have the next start sweep: when the leases of the dead are over, and a minute is."""
    wait_until(lambda: not any(key.endswith(":up") for key in _expiries(one)), "the leases' end")
    with sync_client(one.redis.url) as client:
        client.delete(f"{one.launcher.namespace}:{{p}}:sweep")
    heir = one.interface()
    heir.wait_ready()
    wait_until(lambda: sum(ttl == -1 for ttl in _expiries(one).values()) == 0, "the sweep")
    assert heir.end() == 0, heir.stderr


def _expiries(one: Fleet) -> dict[str, int]:
    with sync_client(one.redis.url) as client:
        keys = [key.decode() for key in client.scan_iter(match="*", count=1000)]
        found: dict[str, Any] = {key: client.pttl(key) for key in keys}
    return {key: ttl for key, ttl in found.items() if ttl != -2}  # gone meanwhile


def _after_expiry(one: Fleet, when: str) -> list[Row]:
    found = _expiries(one)
    longest_s = max(found.values(), default=0) / 1000
    endless = [key for key, ttl in found.items() if ttl == -1]
    with sync_client(one.redis.url) as client:
        for key, ttl in found.items():
            if ttl != -1:
                client.pexpire(key, max(1, ttl // 1000))
    wait_until(lambda: not set(_expiries(one)) - set(endless), "the expiry")
    return [
        judge.none(f"keys left, {when}", endless),
        judge.at_most(f"longest expiry, {when}", longest_s, GROUP_TTL_S, "s"),
    ]
