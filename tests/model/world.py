"""A whole gateway in one process: real interface servers and workers over a simulated Redis.

Everything above the channel layer is the product's own: `InterfaceServer` with its WebSocket
clients, `Worker` with its instances, nodes, links and sessions. Each process has a loop of its own,
so that it can stand still in the middle of a turn, or end there.
"""

import asyncio
from itertools import count

from gateway_interface.config import InterfaceConfig, Limits, WebSocketOptions
from gateway_interface.http_connection import HttpConnection
from gateway_interface.server import InterfaceServer
from gateway_layer.codec import pack
from gateway_layer.wire import DEAD, envelope_head, write_entry
from gateway_worker.config import WorkerConfig
from tests.model.client import Client
from tests.model.judge import Judge
from tests.model.loop import Clock
from tests.model.process import Process
from tests.model.redis import LEASE_S, Entry, Redis

QUEUE = "websocket"

_LONG_S = 100_000.0
"""For what has a time-out that is not what is looked at here."""


class World:
    """Processes, clients, and a Redis between them.

    Attributes:
        judge: Who sees what must never happen.
        gates: Where applications wait until they may go on.
        hurried: Applications wait for nothing any more.
    """

    def __init__(self, interfaces: int, workers: int, window: int) -> None:
        self.clock = Clock()
        self.redis = Redis(self.clock)
        self.processes: list[Process] = []
        self.clients: list[Client] = []
        self.gates: list[tuple[Process, asyncio.Future[None]]] = []
        self.hurried = False
        self.judge = Judge(self.redis.next_order, self.processes, self.clients)
        self._names = count(1)
        self._interface_config = InterfaceConfig(
            access_log=False,
            queue_deadline_s=_LONG_S,
            resume_timeout_s=_LONG_S,
            redis_grace_s=_LONG_S,
            http="h11",
            limits=Limits(window_bytes=window, response_timeout_s=0),
            websocket=WebSocketOptions(ping_interval_s=0, deflate=False),
        )
        self._worker_config = WorkerConfig(
            app="tests.model.application:application",
            lifespan="off",
            window_bytes=window,
            graceful_timeout_s=_LONG_S,
        )
        for _ in range(interfaces):
            self.start("interface")
        for _ in range(workers):
            self.start("worker")
        self.settle()

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            if not process.ended:
                process.layer.vanish()
                process.loop.kill()
        self.judge.close()

    # Processes.

    def start(self, kind: str) -> Process:
        """Start a process."""
        name = f"{kind}{next(self._names)}"
        config = self._interface_config if kind == "interface" else self._worker_config
        process = Process(self, kind, name, config)
        self.processes.append(process)
        return process

    def living(self, kind: str) -> list[Process]:
        """Return the processes that have not ended, also those that stand still."""
        return [one for one in self.processes if one.kind == kind and not one.ended]

    def kill(self, process: Process, *, announced: bool, late: bool) -> None:
        """SIGKILL: what was written is written; perhaps its supervisor tells everybody."""
        wire = process.layer.wire
        process.crashed = True
        self._end(process)
        for client in self.clients:
            client.gone |= self.judge.owner_of(client) is process
        wire.open = False
        if late and wire.commands:
            self.judge.disturbed = True
            self.redis.late.append(wire)
        else:
            self.redis.execute(wire)
        if announced:
            self.announce(process)

    def _end(self, process: Process) -> None:
        process.layer.vanish()
        process.loop.kill()
        process.ended = True

    def announce(self, process: Process) -> None:
        """Tell what a supervisor tells when its child has ended."""
        entry = write_entry(envelope_head("super"), None, [pack(("", DEAD, 0, process.name))])
        for peer in self.redis.bury(process.name, tombstone=True):
            self.redis.append(peer, Entry(entry, "super", self.redis.next_order()))
        self.redis.data.lists.pop(process.name, None)

    def stop(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True
        process.layer.frozen_s = self.clock.now_s

    def wake(self, process: Process) -> None:
        """SIGCONT."""
        since_s, process.layer.frozen_s = process.layer.frozen_s, None
        process.stopped = False
        # Its lease has lapsed, so that it asks its peers what is missing.
        self.judge.disturbed |= since_s is not None and self.clock.now_s - since_s > LEASE_S / 2

    def _reap(self) -> None:
        """See which workers have ended by themselves; their supervisor starts others."""
        for process in self.processes:
            if not process.ended and process.task.done():
                error = None if process.task.cancelled() else process.task.exception()
                if error is not None:
                    self.judge.violate(f"{process.name} ended with {error!r}")
                # It has waited for as long as a drain may, and what it did may be done again.
                process.crashed |= not process.settled
                self._end(process)
                if process.kind == "worker":
                    self.announce(process)
                    if not [one for one in self.living("worker") if not one.stopped]:
                        self.start("worker")

    # Redis, and the way to it.

    def restart_redis(self, saved: int | None, away_s: float) -> None:
        """Let Redis crash and begin anew, empty or with what was saved, after a while."""
        self.judge.disturbed = True
        self.redis.restart(saved=saved)
        for process in self.processes:
            if not process.ended:
                process.layer.cut_writer(late=False)
                process.layer.cut_reader()
                process.layer.cut_pulls()
        if away_s:
            self.redis.up = False
            self.advance(away_s)
            self.redis.up = True

    def flush(self) -> None:
        """Let Redis forget everything."""
        self.judge.disturbed = True
        self.redis.flush_all()

    def lose(self, key: str, count: int) -> None:
        """Let the first entries of a list be lost."""
        self.judge.disturbed = True
        self.redis.take(key, count)

    def fail_over(self, saved: int) -> None:
        """Let Redis forget its last writes and reads, unseen."""
        self.judge.disturbed = True
        self.redis.fail_over(saved)

    def cut_writer(self, process: Process, *, late: bool) -> None:
        """Break the connection that a process writes to."""
        self.judge.disturbed = True
        process.layer.cut_writer(late=late)

    def cut_reader(self, process: Process, *, taken: bool) -> None:
        """Break the connection by which a process reads, perhaps with entries under way."""
        self.judge.disturbed = True
        if taken:
            process.layer.read()
        process.layer.cut_reader()

    # Time.

    def turn(self, process: Process, handles: int | None, *, reached: bool = False) -> None:
        """Let one process do something, and no other.

        Args:
            process: Which one.
            handles: How many steps of its loop, perhaps of several turns; None: a turn.
            reached: First the others do all that needs no time, so that it comes to this one.
        """
        if reached:
            self.settle(without=process)
        process.layer.read()
        if process.runs:
            process.layer.lapse()
            if handles is None:
                process.loop.turn()
            for _ in range(handles or 0):
                process.loop.turn(1)

    def let_go_on(self) -> None:
        """Let the applications that wait go on."""
        gates, self.gates = self.gates, []
        for process, gate in gates:
            if not process.ended:
                process.loop.call_soon(_open, gate)

    def settle(self, *, without: Process | None = None) -> None:
        """Let everything happen that needs no time; one process may stand aside."""
        redis = self.redis
        for _ in range(500):
            moved = False
            for process in self.processes:
                if process.ended or process is without:
                    continue
                wire = process.layer.wire
                if not wire.delayed:
                    moved |= redis.execute(wire)
                moved |= process.layer.read()
                if process.runs and process.loop.busy:
                    process.layer.lapse()
                    process.loop.turn()
                    moved = True
            if redis.up:
                redis.serve(QUEUE)
            self._reap()
            if not moved:
                return
        raise AssertionError(
            [f"{one.name} does not come to rest: {one.loop.ready}" for one in self.processes]
        )

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.clock.now_s + seconds
        self.settle()
        while True:
            timers = [one.loop.next_timer_s() for one in self.processes if one.runs]
            next_s = min(timers, default=float("inf"))
            if next_s > until:
                break
            self.clock.now_s = max(next_s, self.clock.now_s)
            self.settle()
        self.clock.now_s = until
        self.settle()

    # Clients.

    def connect(self, interface: Process) -> Client:
        """Let a client come."""
        assert isinstance(interface.server, InterfaceServer)
        services = interface.server._services
        assert services is not None, "it serves"
        client = Client(
            len(self.clients), interface.loop, HttpConnection(services), self.judge.on_answer
        )
        self.clients.append(client)
        return client

    # The end.

    def heal(self) -> None:
        """End all disturbances, and wait until everything is as if there had been none."""
        redis = self.redis
        redis.up = True
        self.hurried = True
        for wire in redis.late:
            redis.execute(wire)
        redis.late.clear()
        for process in self.processes:
            process.layer.wire.delayed = False
            if process.stopped and not process.ended:
                self.wake(process)
        if not self.living("worker"):
            self.start("worker")
        self.let_go_on()
        for _ in range(60):
            self.advance(1.0)
            self.judge.check()
            if not self.judge.unsettled():
                return
        raise AssertionError(self.judge.unsettled())


def _open(gate: "asyncio.Future[None]") -> None:
    if not gate.done():
        gate.set_result(None)
