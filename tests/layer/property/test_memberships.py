"""Groups over several processes: joins, leaves, sends, deaths, zombies and losses in any order.

The owners are the real ones (`Pushes`), on the layer in memory and a clock of the test's; the
pusher finds them as the clients do (`Owners`). What a model says has to arrive arrives, once, and
nothing else does.
"""

import asyncio
from collections import Counter, defaultdict
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway_layer.codec import Message, pack
from gateway_layer.groups import LINGER_S
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.names import new_pid
from gateway_layer.node import Node
from gateway_layer.owner import Pushable, Pushes
from gateway_layer.push.frames import GROUP_ADD, GROUP_DISCARD, OK
from gateway_layer.push.owners import LOST_S, Owners
from gateway_layer.push.requests import group_send_request
from gateway_layer.wire import envelope_head, write_entry

GROUPS = st.sampled_from(["g", "h"])
NUMBERS = st.integers(0, 5)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes when the test says so."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Client(Pushable):
    """A connection that counts what it gets; no worker has it."""

    peer = None

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self.got: Counter[str] = Counter()

    @property
    def keeps_groups(self) -> bool:
        return False

    @property
    def frame_form(self) -> None:
        return None

    def encode(self, payload: str | bytes) -> bytes:
        raise AssertionError("no form was given")

    def push(self, event: Message) -> str:
        self.got[event["text"]] += 1
        return OK

    def push_frame(self, frame: bytes) -> bool:
        raise AssertionError("no form was given")

    def flushed(self) -> str:
        return OK

    def info(self) -> dict[str, Any]:
        return {}

    def describe(self) -> str:
        return self.connection


class Process:
    """One owner with its connections."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.layer = MemoryLayer(broker)
        self.node = Node(self.layer)
        self.pushes = Pushes(self.layer, self.node)
        self.node.on_available = self.pushes.assert_groups
        self.node.on_fenced = self.layer.rejoin
        self.clients: list[Client] = []

    def take(self, *frames: bytes) -> None:
        self.layer.on_pushes([write_entry(envelope_head("pusher"), None, list(frames))])

    def end(self, client: Client) -> None:
        self.clients.remove(client)
        del self.node.sessions[client.connection]
        self.pushes.left(client)


class Groups(RuleBasedStateMachine):
    """The machine; `expected` is the model."""

    @initialize()
    def begin(self) -> None:
        self.loop = Clock()
        self.broker = MemoryBroker()
        self.owners = Owners()
        self.processes: list[Process] = []
        self.zombies: list[Process] = []
        self.unaware: list[Process] = []
        self.expected: defaultdict[str, set[Client]] = defaultdict(set)
        self.sent = 0
        for at in range(2):
            self.start()
            self.connect(at)
            self.join("g", at)
        self.look("g")

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()

    def turn(self) -> None:
        """Let everything happen that happens at once."""

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    @precondition(lambda self: len(self.processes) < 4)
    @rule()
    def start(self) -> None:
        async def start() -> Process:
            process = Process(self.broker)
            await process.layer.start()
            return process

        self.processes.append(self.loop.run_until_complete(start()))

    @rule(at=NUMBERS)
    def connect(self, at: int) -> None:
        process = self.processes[at % len(self.processes)]
        client = Client(new_pid())
        process.clients.append(client)
        process.node.sessions[client.connection] = client  # type: ignore[assignment] # enough of one

    def some_client(self, at: int) -> tuple[Process, Client] | None:
        everyone = [(process, one) for process in self.processes for one in process.clients]
        return everyone[at % len(everyone)] if everyone else None

    @rule(group=GROUPS, at=NUMBERS)
    def join(self, group: str, at: int) -> None:
        if found := self.some_client(at):
            process, client = found
            self.call(process.take, pack((client.connection, GROUP_ADD, None, group)))
            self.expected[group].add(client)

    @rule(group=GROUPS, at=NUMBERS)
    def leave(self, group: str, at: int) -> None:
        if found := self.some_client(at):
            process, client = found
            self.call(process.take, pack((client.connection, GROUP_DISCARD, None, group)))
            self.expected[group].discard(client)

    @rule(at=NUMBERS)
    def disconnect(self, at: int) -> None:
        if found := self.some_client(at):
            process, client = found
            self.call(process.end, client)
            self.forget([client])

    def forget(self, clients: list[Client]) -> None:
        for members in self.expected.values():
            members.difference_update(clients)

    @precondition(lambda self: len(self.processes) > 1)
    @rule(at=NUMBERS)
    def die(self, at: int) -> None:
        """A process is gone for good; its registrations stay until somebody sweeps."""
        process = self.processes.pop(at % len(self.processes))
        self.broker.kill(process.layer.pid)
        self.forget(process.clients)
        if process in self.unaware:
            self.unaware.remove(process)

    @rule()
    def sweep(self) -> None:
        for members in self.broker.groups.values():
            members.intersection_update(self.broker.layers)

    @precondition(lambda self: len(self.processes) > 1)
    @rule(at=NUMBERS)
    def stand_still(self, at: int) -> None:
        """A process is held for dead, but is not."""
        self.notice()
        process = self.processes.pop(at % len(self.processes))
        self.zombies.append(process)
        self.broker.kill(process.layer.pid)

    @precondition(lambda self: self.zombies)
    @rule()
    def come_back(self) -> None:
        process = self.zombies.pop()
        self.processes.append(process)
        self.call(process.layer.on_fenced)

    @rule()
    def lose(self) -> None:
        """Redis comes back empty; no process knows yet, and a pusher was busy before."""
        self.notice()
        self.look("g")
        self.broker.groups.clear()
        self.broker.incarnation = new_pid()
        self.unaware = list(self.processes)
        self.send("g")

    @rule()
    def notice(self) -> None:
        """All that live see that Redis is another one."""
        unaware, self.unaware = self.unaware, []
        for process in unaware:
            self.call(process.layer.on_lost)
            self.call(process.layer.on_available)

    def call(self, function: Any, *args: Any) -> None:
        async def run() -> None:
            function(*args)

        self.loop.run_until_complete(run())
        self.turn()

    @rule(seconds=st.sampled_from([0.5, LINGER_S, LOST_S + 1]))
    def wait(self, seconds: float) -> None:
        """Time passes; whoever lives hears of a loss within that of one renewal."""
        self.notice()
        self.loop.now += seconds
        self.turn()
        self.send("g")
        self.send("h")

    def look(self, group: str) -> list[str]:
        """Return the pids to which a pusher sends."""
        broker = self.broker
        known = [pid.encode() for pid in sorted(broker.groups[group])]
        aware = [
            process.layer.pid.encode() for process in self.processes if process not in self.unaware
        ]
        incarnation = broker.incarnation.encode()
        asked, besides = self.owners.take_in(known, incarnation, aware, self.loop.now)
        return asked + besides

    @rule(group=GROUPS)
    def send(self, group: str) -> None:
        self.sent += 1
        text = str(self.sent)
        request = group_send_request(group, {"type": "websocket.send", "text": text})
        everyone = [one for process in self.processes + self.zombies for one in process.clients]
        for pid in self.look(group):
            # The script finds a lease, or the process is gone.
            process = next((one for one in self.processes if one.layer.pid == pid), None)
            if process is not None:
                self.call(process.take, request.packed(None))
        living = {one for process in self.processes for one in process.clients}
        got = {one.connection: one.got[text] for one in everyone if one.got[text]}
        assert got == {one.connection: 1 for one in self.expected[group] & living}

    @invariant()
    def no_process_forgets_its_members(self) -> None:
        for process in getattr(self, "processes", ()):
            for client in process.clients:
                groups = {group for group, members in self.expected.items() if client in members}
                assert set(process.pushes.memberships.of(client)) == groups


Groups.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestGroups = Groups.TestCase
