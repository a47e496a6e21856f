"""Whole gateways under random schedules of crashes, zombies, drains and losses of Redis.

GATEWAY_MODEL_EXAMPLES sets how many schedules are tried, others each time: `make chaos` looks for
what nobody has found yet. Without it they are the same ones each time: a change that breaks
something is told of what it broke.
"""

import os
from typing import Final

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway_worker.worker import Worker
from tests.model.client import Client
from tests.model.process import Process
from tests.model.world import QUEUE, World

_WANTED = os.environ.get("GATEWAY_MODEL_EXAMPLES")
EXAMPLES: Final = int(_WANTED or 200)

WHICH = st.integers(0, 5)
"""One of those that there are."""

HANDLES = st.integers(0, 10)
"""How many steps of its loop a process still does before it stands still, or dies."""

HOW = st.tuples(st.booleans(), st.booleans())
"""Whether a supervisor tells of a death, and whether what was written last comes late."""

THEN = st.sampled_from([None, None, 0.0, 0.0, 0.1, 0.6, 2.0])
"""What follows a rule: nothing yet, whatever needs no time, or so many seconds."""

_MOST_CLIENTS: Final = 3
_MOST_WORKERS: Final = 4


class Survival(RuleBasedStateMachine):
    """Clients that send, and everything that may befall the processes that serve them."""

    @initialize(
        interfaces=st.integers(1, 2),
        workers=st.integers(2, 3),
        window=st.sampled_from([300, 800, 262_144]),
        clients=st.integers(1, _MOST_CLIENTS),
    )
    def begin(self, interfaces: int, workers: int, window: int, clients: int) -> None:
        self.world = World(interfaces, workers, window)
        for index in range(clients):
            self.world.connect(self.interface(index))
        self.then(0.0)

    def then(self, seconds: float | None) -> None:
        if seconds is not None:
            self.world.advance(seconds)

    # Whom a rule is about.

    def interface(self, which: int) -> Process:
        interfaces = self.world.living("interface")
        return interfaces[which % len(interfaces)]

    def worker(self, which: int) -> Process:
        workers = self.world.living("worker") or [self.world.start("worker")]
        return workers[which % len(workers)]

    def anybody(self, which: int) -> Process:
        living = [*self.world.living("worker"), *self.world.living("interface")]
        return living[which % len(living)]

    def client(self, which: int) -> Client | None:
        clients = [one for one in self.world.clients if one.open]
        return clients[which % len(clients)] if clients else None

    # Clients and their application.

    @rule(which=WHICH, count=st.integers(1, 3), slow=st.booleans(), then=THEN)
    def client_sends(self, which: int, count: int, slow: bool, then: float | None) -> None:
        client = self.client(which)
        if client is not None:
            for _ in range(count):
                client.send(slow=slow)
        self.then(then)

    @rule(which=WHICH, then=THEN)
    def client_leaves(self, which: int, then: float | None) -> None:
        client = self.client(which)
        if client is not None and client.accepted:
            client.leave()
        self.then(then)

    @precondition(lambda self: len(self.world.clients) < _MOST_CLIENTS)
    @rule(which=WHICH, then=THEN)
    def client_comes(self, which: int, then: float | None) -> None:
        self.world.connect(self.interface(which))
        self.then(then)

    @rule(then=THEN)
    def application_goes_on(self, then: float | None) -> None:
        self.world.let_go_on()
        self.then(then)

    # One process does something, and no other.

    @rule(which=WHICH, handles=st.sampled_from([1, 3, None]), reached=st.booleans())
    def turn(self, which: int, handles: int | None, reached: bool) -> None:
        self.world.turn(self.anybody(which), handles, reached=reached)

    @rule(which=WHICH, commands=st.sampled_from([1, None]))
    def writes_are_carried_out(self, which: int, commands: int | None) -> None:
        self.world.redis.execute(self.anybody(which).layer.wire, commands)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    # Processes.

    @rule(which=WHICH, handles=HANDLES, reached=st.booleans(), how=HOW)
    def kill_worker(self, which: int, handles: int, reached: bool, how: tuple[bool, bool]) -> None:
        worker = self.worker(which)
        announced, late = how
        self.world.turn(worker, handles, reached=reached)
        self.world.kill(worker, announced=announced, late=late)

    @precondition(lambda self: len(self.world.living("interface")) > 1)
    @rule(which=WHICH, how=HOW, then=THEN)
    def kill_interface(self, which: int, how: tuple[bool, bool], then: float | None) -> None:
        announced, late = how
        self.world.kill(self.interface(which), announced=announced, late=late)
        self.then(then)

    @precondition(lambda self: len(self.world.living("worker")) < _MOST_WORKERS)
    @rule(then=THEN)
    def start_worker(self, then: float | None) -> None:
        self.world.start("worker")
        self.then(then)

    @rule(which=WHICH, handles=HANDLES, then=THEN)
    def stop(self, which: int, handles: int, then: float | None) -> None:
        process = self.anybody(which)
        self.world.turn(process, handles)
        self.world.stop(process)
        self.then(then)

    @rule(which=WHICH, handles=HANDLES, reached=st.booleans(), seconds=st.sampled_from([1.2, 4.0]))
    def stop_until_it_is_held_for_dead(
        self, which: int, handles: int, reached: bool, seconds: float
    ) -> None:
        process = self.anybody(which)
        self.world.turn(process, handles, reached=reached)
        self.world.stop(process)
        self.world.advance(seconds)

    @rule(which=WHICH, then=THEN)
    def wake(self, which: int, then: float | None) -> None:
        stopped = [one for one in self.world.processes if one.stopped and not one.ended]
        if stopped:
            self.world.wake(stopped[which % len(stopped)])
        self.then(then)

    @rule(which=WHICH, then=THEN)
    def drain(self, which: int, then: float | None) -> None:
        worker = self.worker(which)
        assert isinstance(worker.server, Worker)
        worker.loop.call_soon(worker.server.drain)
        self.world.start("worker")
        self.then(then)

    @rule(which=WHICH, then=THEN)
    def hibernate(self, which: int, then: float | None) -> None:
        worker = self.worker(which)
        worker.loop.call_soon(worker.hibernate)
        self.then(then)

    # Redis, and the way to it.

    @rule(then=THEN)
    def flush(self, then: float | None) -> None:
        self.world.flush()
        self.then(then)

    @rule(saved=st.none() | WHICH, away_s=st.sampled_from([0.0, 0.2, 3.0]), then=THEN)
    def redis_restarts(self, saved: int | None, away_s: float, then: float | None) -> None:
        self.world.restart_redis(saved, away_s)
        self.then(then)

    @rule(saved=WHICH, then=THEN)
    def redis_fails_over_unseen(self, saved: int, then: float | None) -> None:
        self.world.fail_over(saved)
        self.then(then)

    @rule(which=WHICH, late=st.booleans(), then=THEN)
    def writer_breaks(self, which: int, late: bool, then: float | None) -> None:
        self.world.cut_writer(self.anybody(which), late=late)
        self.then(then)

    @rule(which=WHICH, taken=st.booleans(), then=THEN)
    def reader_breaks(self, which: int, taken: bool, then: float | None) -> None:
        self.world.cut_reader(self.anybody(which), taken=taken)
        self.then(then)

    @rule(which=WHICH, taken=st.booleans(), then=THEN)
    def pull_breaks(self, which: int, taken: bool, then: float | None) -> None:
        if taken:
            self.world.redis.serve(QUEUE)
        self.worker(which).layer.cut_pulls()
        self.then(then)

    @rule(which=WHICH, delayed=st.booleans(), then=THEN)
    def writes_are_delayed(self, which: int, delayed: bool, then: float | None) -> None:
        self.anybody(which).layer.wire.delayed = delayed
        self.then(then)

    @precondition(lambda self: self.world.redis.late)
    @rule(which=WHICH, commands=st.sampled_from([1, None]), then=THEN)
    def late_writes_arrive(self, which: int, commands: int | None, then: float | None) -> None:
        late = self.world.redis.late
        self.world.redis.execute(late[which % len(late)], commands)
        self.then(then)

    @rule(which=WHICH, count=st.sampled_from([1, 32]), then=THEN)
    def inbox_is_lost(self, which: int, count: int, then: float | None) -> None:
        self.world.lose(self.anybody(which).name, count)
        self.then(then)

    @rule(then=THEN)
    def queue_is_lost(self, then: float | None) -> None:
        self.world.lose(QUEUE, 32)
        self.then(then)

    # What holds.

    @invariant()
    def nothing_has_happened_that_must_not(self) -> None:
        if hasattr(self, "world"):
            self.world.judge.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.judge.check()
            self.world.heal()
        finally:
            self.world.close()


Survival.TestCase.settings = settings(
    max_examples=EXAMPLES,
    derandomize=_WANTED is None,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSurvival = Survival.TestCase
