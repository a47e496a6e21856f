"""One simulated process: a real interface server or worker on a loop of its own."""

import asyncio
from typing import Any, Protocol

from gateway_interface.config import InterfaceConfig
from gateway_interface.server import InterfaceServer
from gateway_layer.node import Node
from gateway_worker.config import WorkerConfig
from gateway_worker.instances import WebSocketInstance
from gateway_worker.worker import Worker
from tests.model.client import LEFT, Client
from tests.model.layer import ModelLayer, Watcher
from tests.model.loop import Clock, Loop
from tests.model.redis import Redis


class Surroundings(Protocol):
    """What a process finds in its world."""

    clock: Clock
    redis: Redis
    clients: list[Client]
    gates: list[tuple["Process", "asyncio.Future[None]"]]
    hurried: bool

    @property
    def judge(self) -> "Observer": ...


class Observer(Watcher, Protocol):
    """Who is told of faults, too."""

    def violate(self, what: str) -> None: ...


class Process:
    """One process of the world.

    Attributes:
        name: Its pid.
        server: What runs in it.
        crashed: It was killed, or held for dead: what its instances did may be done again.
        stopped: It stands still.
        ended: There is nothing left of it.
    """

    def __init__(
        self, world: Surroundings, kind: str, name: str, config: InterfaceConfig | WorkerConfig
    ) -> None:
        self.world = world
        self.kind = kind
        self.name = name
        self.crashed = False
        self.stopped = False
        self.ended = False
        self.loop = Loop(world.clock, world.judge.violate)  # type: ignore[abstract] # what is missing does I/O
        self.loop.witness = self  # the application finds it there
        self.layer = ModelLayer(world.redis, self.loop, kind, name, world.judge)
        self.server: InterfaceServer | Worker
        if isinstance(config, InterfaceConfig):
            self.server = InterfaceServer(config, sockets=(), layer=self.layer)
            self.task: asyncio.Task[Any] = self.loop.start(self.server.serve())
        else:
            self.server = Worker(config, layer=self.layer)
            self.task = self.loop.start(self.server.serve())

    @property
    def node(self) -> Node:
        return self.server._node

    @property
    def runs(self) -> bool:
        return not self.stopped and not self.ended

    @property
    def settled(self) -> bool:
        """Whether its living peers have all that it sent."""
        return all(link.settled for link in self.node._links.values())

    def instances(self) -> list[WebSocketInstance]:
        """The WebSockets of a worker."""
        sessions = self.node.sessions.values()
        return [one for one in sessions if isinstance(one, WebSocketInstance)]

    def hibernate(self) -> None:
        """Let go of the WebSockets of a worker that are idle, as if they had been so for long."""
        for instance in self.instances():
            if instance.resumable and instance.idle:
                instance.let_go("hibernate")

    # What the application calls.

    async def hesitate(self) -> None:
        if not self.world.hurried:
            gate: asyncio.Future[None] = self.loop.create_future()
            self.world.gates.append((self, gate))
            await gate

    def told(self, path: str, code: int) -> None:
        if code == LEFT:
            self.world.clients[int(path[1:])].told.append(self.name)

    def refused(self, path: str) -> None:
        for instance in self.instances():
            # One that departs hears of that by the same error.
            departs = instance._departed
            if instance.scope["path"] == path and instance.inbox and not departs:
                self.told(path, instance.inbox[-1][1].get("code", 0))
