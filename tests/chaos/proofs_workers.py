"""Proofs about workers: killed, replaced, stopped, and killed with thousands of connections."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from benchmarks.report import Row

from tests.chaos import judge
from tests.chaos.fleet import Fleet, fleet, kill_child, serving
from tests.chaos.scale import Scale
from tests.end_to_end.processes import runs, wait_until

_HAND_OVER_MS = 300.0


def killed_workers(folder: Path, scale: Scale) -> list[Row]:
    """Proof 1: SIGKILL a random worker again and again."""
    chance = random.Random(1)
    kills: dict[int, judge.Kill] = {}
    with fleet(folder, scale) as one:
        one.begin()
        for _ in range(scale.kills):
            time.sleep(scale.kill_every_s)
            child, kill = kill_child(chance.choice([w for w in one.workers if serving(w)]))
            kills[child] = kill
        time.sleep(scale.kill_every_s)
        report = one.finish()
        posts = one.notes("post")
    return [
        *judge.sockets(report, repeated=True),
        *judge.repeats(report, kills),
        *judge.hand_overs(report, kills, _HAND_OVER_MS),
        *judge.requests(report, methods="GET"),
        *judge.failed_posts(report, kills),
        judge.posts_once(posts),
    ]


def rolling_deploy(folder: Path, scale: Scale) -> list[Row]:
    """Proof 2: replace one worker after another by SIGTERM, several times over."""
    statuses: list[int] = []
    with fleet(folder, scale) as one:
        one.begin()
        for _ in range(scale.deploys):
            for old in one.workers[-3:]:
                one.worker().wait_ready()
                statuses.append(old.end())
        report = one.finish()
        posts = one.notes("post")
    return [
        *judge.sockets(report),
        *judge.requests(report),
        judge.none("workers that did not drain", [status for status in statuses if status]),
        judge.at_least("hand-overs", len(report["hellos"]), report["sockets"]),
        judge.posts_once(posts),
    ]


def stopped_worker(folder: Path, scale: Scale) -> list[Row]:
    """Proof 4: SIGSTOP a worker for longer than its lease, then let it go on."""
    with fleet(folder, scale) as one:
        one.begin("/chatter")
        one.clients.ask("join", **one.at_redis)
        wait_until(lambda: one.clients.ask("others") > scale.sockets, "some chatter")
        zombie = one.workers[0].child
        stopped = time.monotonic()
        os.kill(zombie, signal.SIGSTOP)
        try:
            _wait_until_replaced(one, zombie)
            _rest_of(stopped + scale.stopped_s)
        finally:
            os.kill(zombie, signal.SIGCONT)
        wait_until(lambda: not runs(zombie), "the end of the zombie")
        report = one.finish()
        refused = len(one.notes("refused", zombie))
        begun, ended = len(one.notes("begin", zombie)), len(one.notes("end", zombie))
        posts = one.notes("post")
    # Replaced after its lease at the earliest; what it had said before it stopped came at once.
    buried = stopped + scale.lease_s / 2
    late = [
        f"{kind} to socket {index} {when - stopped:.2f} s after the stop"
        for index, when, kind, worker in report["others"]
        if worker == zombie and when > buried
    ]
    moved = sum(old == zombie for _i, _when, old, _new in report["hellos"])
    return [
        *judge.sockets(report, repeated=True),
        *judge.repeats(report, {zombie: judge.Kill(stopped, stopped)}),
        judge.none("of the zombie after its burial", late),
        judge.at_least("hand-overs", moved, 1),
        judge.at_least("pushes and group sends refused to the zombie", refused, 1),
        judge.none("instances of the zombie that did not end", range(begun - ended)),
        judge.at_least("instances of the zombie", begun, 1),
        judge.posts_once(posts),
    ]


def _wait_until_replaced(one: Fleet, zombie: int) -> None:
    limit_s = one.scale.stopped_s + one.scale.lease_s + 20
    wait_until(
        lambda: zombie not in one.clients.ask("served_by"), "the hand-over", timeout_s=limit_s
    )


def _rest_of(until: float) -> None:
    time.sleep(max(0.0, until - time.monotonic()))


def crowd(folder: Path, scale: Scale) -> list[Row]:
    """Proof 9: kill a worker that has all connections; the others get them."""
    limit_s = 10.0
    with fleet(folder, scale, workers=1) as one:
        one.clients.ask("open", count=scale.resumable, timeout_s=120)
        others = [one.worker(), one.worker()]
        for command in others:
            command.wait_ready()
        one.clients.ask("begin", period_s=scale.resumable / 100, askers=scale.askers)
        begun = time.monotonic()
        wait_until(lambda: len(one.clients.ask("latencies", since=begun)) > 50, "some answers")
        child, kill = kill_child(one.workers[0], replaced=False)
        places = [command.child for command in others]
        wait_until(lambda: child not in one.clients.ask("served_by"), "the hand-over", 40)
        took_s = time.monotonic() - kill.at
        served = Counter(one.clients.ask("served_by"))
        report = one.finish()
    counts = [served[place] for place in places]
    statuses = [one[3] for one in report["requests"]]
    told = ", ".join(map(str, counts))
    mean = sum(counts) / len(counts)
    return [
        *judge.sockets(report, repeated=True),
        *judge.repeats(report, {child: kill}),
        judge.at_most("all back", took_s, limit_s, "s", f"{report['sockets']} sockets"),
        judge.at_most("most on one worker / mean", max(counts) / mean, scale.uneven, "x", told),
        judge.at_most("mean / fewest on one worker", mean / max(1, min(counts)), scale.uneven, "x"),
        judge.at_most("requests answered 503", statuses.count(503), 0),
        judge.at_least("requests answered 200", statuses.count(200), 1),
    ]
