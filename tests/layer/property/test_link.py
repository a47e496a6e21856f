"""Two links over two lists that keep the order, and everything that Redis and processes do to them.

Lists lose entries, are emptied, and get writes of a connection that broke after those of the next
one; either side forgets, or holds the other for dead. What must hold: a generation gets the batches
of one generation of its peer, from the first on, without a hole, each once; nothing is sent again
because of a timer alone; and once the disturbances stop, all that waits arrives soon.
"""

from collections import defaultdict, deque
from typing import NamedTuple

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway_layer.link import Generations, Link
from gateway_layer.wire import LinkHeader

MIB = 2**20
TICK_S = 0.5
SIZES = st.sampled_from([1, 1, 1, 300_000, 700_000, 2 * MIB])
SIDES = st.sampled_from([0, 1])


class Entry(NamedTuple):
    header: LinkHeader
    frames: list[bytes]
    size: int


class Process:
    """One side, which may forget its link and begin another."""

    def __init__(self, first_generation: int, outgoing: deque[Entry]) -> None:
        self.generations = Generations()
        for _ in range(first_generation):
            self.generations.next()
        self.link = Link(self.generations)
        self.outgoing = outgoing
        self.heard = False  # since the link was last asked for output
        self.sizes: dict[bytes, int] = {}
        self.numbered: defaultdict[int, list[bytes]] = defaultdict(list)
        self.written: defaultdict[int, int] = defaultdict(int)  # generation -> batches, so far
        self.delivered: dict[int, tuple[int, list[bytes]]] = {}  # own gen -> (their gen, batches)
        self.forgotten = 0

    def send(self, size: int, *, refused: bool = False) -> None:
        link = self.link
        batches = self.numbered[link.gen]
        frame = b"%d:%d" % (link.gen, len(batches))
        batches.append(frame)
        self.sizes[frame] = size
        header = link.number([frame], size)
        if header is None:
            return
        assert header.seq == self.written[link.gen], "a batch overtook one that was held"
        if refused:
            link.not_sent()
        else:
            self.written[link.gen] = header.seq + 1
            self.outgoing.append(Entry(header, [frame], size))

    def turn(self) -> None:
        """Write what the link itself has to say."""
        if not self.link.due:
            return
        again = 0
        output = self.link.take_output()
        for header, frames in output:
            size = self.sizes[frames[0]] if frames else 0
            if not header.flags:
                assert self.heard, "data were sent again, and nobody had asked"
                assert not again or again + size <= MIB, "too much at once"
                again += size
                written = self.written[header.my_gen]
                assert header.seq <= written, "a batch overtook one that was held"
                self.written[header.my_gen] = max(written, header.seq + 1)
            self.outgoing.append(Entry(header, frames, size))
        self.heard = False

    def receive(self, entry: Entry) -> None:
        self.heard = True
        deliver = self.link.receive(entry.header, entry.size)
        if self.link.lost:
            self.link.lost = False
            self.forgotten += 1
        if not deliver:
            return
        theirs, batches = self.delivered.setdefault(self.link.gen, (entry.header.my_gen, []))
        assert theirs == entry.header.my_gen, "batches of two generations of the peer"
        assert entry.frames == [b"%d:%d" % (theirs, len(batches))], "doubled, or after a hole"
        batches.extend(entry.frames)


class Links(RuleBasedStateMachine):
    """Disturbs two processes."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.wires: list[deque[Entry]] = [deque(), deque()]
        self.late: list[deque[Entry]] = [deque(), deque()]
        self.processes = [Process(0, self.wires[0]), Process(5, self.wires[1])]

    @rule(side=SIDES, size=SIZES, count=st.integers(1, 3))
    def send(self, side: int, size: int, count: int) -> None:
        for _ in range(count):
            self.processes[side].send(size)

    @rule(side=SIDES)
    def redis_cannot_be_reached(self, side: int) -> None:
        self.processes[side].send(1, refused=True)

    @rule(side=SIDES)
    def turn(self, side: int) -> None:
        self.processes[side].turn()

    @rule(side=SIDES, count=st.integers(1, 5))
    def arrive(self, side: int, count: int) -> None:
        wire, receiver = self.wires[side], self.processes[1 - side]
        for _ in range(min(count, len(wire))):
            receiver.receive(wire.popleft())

    @rule(side=SIDES, index=st.integers(0, 5))
    def lose(self, side: int, index: int) -> None:
        """Refused for want of memory, or popped into a dead socket."""
        if index < len(self.wires[side]):
            del self.wires[side][index]

    @rule(side=SIDES)
    def clear(self, side: int) -> None:
        self.wires[side].clear()

    @rule(side=SIDES, count=st.integers(1, 3))
    def break_a_connection(self, side: int, count: int) -> None:
        """The last writes are still on their way; Redis gets them after those of the next."""
        wire = self.wires[side]
        for _ in range(min(count, len(wire))):
            self.late[side].appendleft(wire.pop())
        self.processes[side].link.suspect(inbox=True)

    @rule(side=SIDES)
    def the_old_connection_is_served(self, side: int) -> None:
        self.wires[side].extend(self.late[side])
        self.late[side].clear()

    @rule(side=SIDES, inbox=st.booleans())
    def suspect(self, side: int, inbox: bool) -> None:
        self.processes[side].link.suspect(inbox=inbox)

    @rule(side=SIDES)
    def was_held_for_dead(self, side: int) -> None:
        self.processes[side].link.restart()

    @rule(side=SIDES)
    def holds_the_other_for_dead(self, side: int) -> None:
        process = self.processes[side]
        process.link = Link(process.generations)
        process.link.restart()  # as a node begins a link with one that it held for dead

    @rule(seconds=st.sampled_from([TICK_S, TICK_S, 2.0, 9.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        for process in self.processes:
            process.link.tick(self.now)

    # When the disturbances stop.

    def carry(self) -> None:
        """Let all arrive that is under way, and all that it calls for; it has to end."""
        for _ in range(60):
            for process in self.processes:
                process.turn()
            if not (self.wires[0] or self.wires[1]):
                return
            for side in (0, 1):
                self.arrive(side, len(self.wires[side]))
        raise AssertionError("the two never fall silent")

    @rule()
    def settle(self) -> None:
        """All that waits arrives within so many ticks; the longest pause of probes is 8 s."""
        for side in (0, 1):
            self.the_old_connection_is_served(side)
        for _ in range(50):
            self.carry()
            if all(process.link.settled for process in self.processes):
                break
            self.tick(TICK_S)
        assert all(process.link.settled for process in self.processes)
        self.meet()
        one, other = self.processes
        for sender, receiver in ((one, other), (other, one)):
            theirs, batches = receiver.delivered[receiver.link.gen]
            assert theirs == sender.link.gen
            assert batches == sender.numbered[sender.link.gen]

    def meet(self) -> None:
        """Both send until both know each other's generation; then nothing more is forgotten."""
        for quiet in range(5):
            before = [process.forgotten for process in self.processes]
            for process in self.processes:
                process.send(1)
            self.carry()
            if quiet >= 3:
                assert [process.forgotten for process in self.processes] == before
        for _ in range(4):
            self.tick(TICK_S)
            self.carry()

    def teardown(self) -> None:
        if hasattr(self, "processes"):
            self.settle()


Links.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLinks = Links.TestCase
