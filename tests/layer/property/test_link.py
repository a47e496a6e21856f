"""Two nodes joined by a wire that keeps the order and may lose any entry."""

from collections import defaultdict, deque
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway_layer.base import ChannelLayer, OnEntries, OnPushed
from gateway_layer.codec import pack
from gateway_layer.node import Node
from gateway_layer.wire import DATA


class Wire(ChannelLayer):
    """A layer that delivers nothing by itself: the machine carries, or loses, each entry."""

    def __init__(self, pid: str, entries: deque[tuple[str, bytes]]) -> None:
        super().__init__("test", pid=pid)
        self.entries = entries

    @property
    def available(self) -> bool:
        return True

    async def start(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def now_ms(self) -> int:
        raise NotImplementedError

    def push(self, queue: str, entry: bytes, on_pushed: OnPushed) -> None:
        raise NotImplementedError

    def recall(self, queue: str, entry: bytes, on_recalled: Any) -> None:
        raise NotImplementedError

    def pull(self, queue: str, count: int, on_entries: OnEntries) -> None:
        raise NotImplementedError

    def register_group(self, group: str, on_registered: Any) -> None:
        raise NotImplementedError

    def unregister_group(self, group: str) -> None:
        raise NotImplementedError

    def answer(self, reply_id: str, raw: bytes) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    def deliver(self, pid: str, entry: bytes) -> None:
        self.entries.append((pid, entry))


class Sessions:
    """Stands for all sessions with one peer: their era ends with each loss."""

    dirty = False

    def __init__(self, peer: str) -> None:
        self.connection = self.peer = peer
        self.era = 0
        self.sent = 0

    def handle(self, _sender: str, _frame: tuple[Any, ...]) -> bytes | None:
        raise NotImplementedError

    def take_frames(self) -> list[bytes]:
        raise NotImplementedError

    def on_lost(self, _reason: str) -> None:
        self.era += 1
        self.sent = 0

    def on_malformed(self, _reason: str) -> None:
        raise NotImplementedError


class Process:
    """A node that sends numbered batches and checks those that arrive."""

    def __init__(self, pid: str, outgoing: deque[tuple[str, bytes]]) -> None:
        self.node = Node(Wire(pid, outgoing))
        self.node.on_unknown = self._arrived
        self.pid = pid
        self.delivered: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)

    def sessions(self, peer: str) -> Sessions:
        found = self.node.sessions.setdefault(f"sessions with {peer}", Sessions(peer))
        assert isinstance(found, Sessions)
        return found

    def send(self, peer: str) -> None:
        sessions = self.sessions(peer)
        frame = pack(("unknown", DATA, sessions.era, sessions.sent))
        sessions.sent += 1
        self.node.send(peer, [frame])

    def _arrived(self, sender: str, frame: tuple[Any, ...]) -> None:
        _connection, _op, their_era, number = frame
        our_era = self.sessions(sender).era
        before = self.delivered[sender]
        assert (their_era, number) not in [(era, known) for _, era, known in before], "twice"
        in_this_era = [(era, known) for ours, era, known in before if ours == our_era]
        expected = [(their_era, earlier) for earlier in range(number)]
        assert in_this_era == expected, "out of order, after a gap, or of two eras of the peer"
        before.append((our_era, their_era, number))


class Links(RuleBasedStateMachine):
    """Disturbs two processes in every way that Redis and the system can."""

    sides = st.sampled_from([0, 1])

    @initialize()
    def begin(self) -> None:
        self.born = 0
        self.wires: list[deque[tuple[str, bytes]]] = [deque(), deque()]
        self.processes = [self.new_process(0), self.new_process(1)]

    def new_process(self, side: int) -> Process:
        self.born += 1
        return Process(f"{'ab'[side]}{self.born}", self.wires[side])

    @rule(side=sides, count=st.integers(1, 3))
    def send(self, side: int, count: int) -> None:
        for _ in range(count):
            self.processes[side].send(self.processes[1 - side].pid)

    @rule(side=sides, count=st.integers(1, 3))
    def arrive(self, side: int, count: int) -> None:
        wire, receiver = self.wires[side], self.processes[1 - side]
        for _ in range(min(count, len(wire))):
            pid, entry = wire.popleft()
            if pid == receiver.pid:
                receiver.node.layer.on_inbox([entry])

    @rule(side=sides, index=st.integers(0, 5))
    def lose(self, side: int, index: int) -> None:
        wire = self.wires[side]
        if index < len(wire):
            del wire[index]

    @rule(side=sides)
    def reconnect(self, side: int) -> None:
        layer = self.processes[side].node.layer
        layer.on_lost()
        layer.on_available()

    @rule(side=sides)
    def reconnect_without_a_word(self, side: int) -> None:
        self.processes[side].node.layer.on_lost()

    @rule(side=sides)
    def start_anew(self, side: int) -> None:
        old = self.processes[side]
        self.processes[side] = self.new_process(side)
        self.processes[1 - side].node.layer.on_peer_dead(old.pid)

    @rule()
    def settle(self) -> None:
        """However disturbed: when all arrives again, all is soon delivered, both ways."""
        for _ in range(4):
            self.round()
        for _ in range(2):
            before = self.counts()
            self.round()
            assert [now - then for now, then in zip(self.counts(), before, strict=True)] == [1, 1]

    def round(self) -> None:
        for side in (0, 1):
            self.send(side, 1)
        while self.wires[0] or self.wires[1]:
            for side in (0, 1):
                self.arrive(side, 1)

    def counts(self) -> list[int]:
        one, other = self.processes
        return [len(one.delivered[other.pid]), len(other.delivered[one.pid])]

    def teardown(self) -> None:
        if hasattr(self, "processes"):
            self.settle()


Links.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLinks = Links.TestCase
