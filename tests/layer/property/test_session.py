"""Both sides of a session joined by a wire that keeps the order and cuts turns anywhere."""

from collections import deque
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.layer.endpoints import INTERFACE, WORKER, Owner, Runner, opening, packed

from gateway_layer.codec import Message, unpack
from gateway_layer.session import PART, State, event_cost, split_event
from gateway_layer.wire import CLAIM, DATA, DONE, EVENTS, RESET

SIZES = st.sampled_from([0, 1, 300, 900, 3000, 20_000, 70_000])
KEYS = st.sampled_from(["text", "bytes"])


def make(number: int, key: str, size: int) -> Message:
    return {"type": "t", "number": number, key: "é" * size if key == "text" else b"x" * size}


class Sessions(RuleBasedStateMachine):
    """A client and an application that send, receive and drain as they please."""

    @initialize(down=st.sampled_from([600, 2001, 50_000]), up=st.sampled_from([0, 600, 2000]))
    def begin(self, down: int, up: int) -> None:
        self.window_down, self.window_up = down, up
        self.owner = Owner(window=down)
        epoch = self.owner.next_epoch()
        self.runner = Runner(opening(epoch=epoch, credit=down), window=up)
        self.to_worker: deque[tuple[Any, ...]] = deque()
        self.to_owner: deque[tuple[Any, ...]] = deque()
        self.from_client: list[Message] = []  # emitted, in order
        self.on_the_way: deque[tuple[int, int]] = deque()  # (last number, cost), unconfirmed
        self.seq = 0
        self.received: list[Message] = []
        self.waiting: deque[Message] = deque()  # what the application wants to send
        self.from_application: list[Message] = []
        self.largest = 0
        self.drained = 0  # events that the client's socket took

    # The client and its socket.

    @rule(key=KEYS, size=SIZES)
    def client_sends(self, key: str, size: int) -> None:
        event = make(len(self.from_client), key, size)
        self.from_client.append(event)
        self.owner.emit(split_event(event, key), event_cost(event))

    @rule(count=st.integers(1, 4))
    def socket_drains(self, count: int) -> None:
        for event in self.owner.events[self.drained :][:count]:
            if PART not in event:
                self.drained += 1
                self.owner.drained(event_cost(event))

    # The application.

    @rule()
    def application_asks(self) -> None:
        self.runner.confirm()
        if self.runner.inbox:
            self.received.append(self.runner.take_event())

    @rule(key=KEYS, size=st.sampled_from([0, 1, 300, 900, 3000, 16_000]))
    def application_sends(self, key: str, size: int) -> None:
        self.waiting.append(make(len(self.from_application) + len(self.waiting), key, size))
        self.send_waiting()

    def send_waiting(self) -> None:
        while self.waiting and self.runner.may_send(event_cost(self.waiting[0])):
            event = self.waiting.popleft()
            self.from_application.append(event)
            self.largest = max(self.largest, event_cost(event))
            self.runner.emit([event], event_cost(event))

    # The wire.

    @rule()
    def owner_flushes(self) -> None:
        for frame in map(unpack, self.owner.take_frames()):
            self.to_worker.append(frame)
            if frame[1] == EVENTS:
                self.note_sent(frame[5])

    def note_sent(self, events: tuple[Message, ...]) -> None:
        for event in events:
            self.seq += 1
            if PART not in event:
                whole = self.from_client[event["number"]]
                self.on_the_way.append((self.seq, event_cost(whole)))

    @rule()
    def worker_flushes(self) -> None:
        self.to_owner.extend(map(unpack, self.runner.take_frames()))

    @rule(count=st.integers(1, 3))
    def reach_worker(self, count: int) -> None:
        for _ in range(min(count, len(self.to_worker))):
            assert self.runner.handle(INTERFACE, self.to_worker.popleft()) is None

    @rule(count=st.integers(1, 3))
    def reach_owner(self, count: int) -> None:
        for _ in range(min(count, len(self.to_owner))):
            self.owner_flushes()  # before the window opens: what left under the old one counts
            assert self.owner.handle(WORKER, self.to_owner.popleft()) is None
        confirmed = [seq for seq in self.owner.told("confirmed") if isinstance(seq, int)]
        while self.on_the_way and self.on_the_way[0][0] <= max(confirmed, default=0):
            self.on_the_way.popleft()

    # Those who have no say.

    @rule(op=st.sampled_from([CLAIM, DATA, DONE]), sender=st.sampled_from([WORKER, "other"]))
    def an_older_epoch_speaks(self, op: int, sender: str) -> None:
        frame = ("c", op, 0, ({"type": "t"},), None, None, 5)
        assert self.owner.handle(sender, frame) == packed("c", RESET, 0)

    @rule(op=st.sampled_from([CLAIM, DATA, DONE]))
    def another_worker_speaks(self, op: int) -> None:
        if self.owner.state is State.BOUND:
            frame = ("c", op, 1, ({"type": "t"},), None, None, 5)
            assert self.owner.handle("other", frame) == packed("c", RESET, 1)

    @rule(sender=st.sampled_from([INTERFACE, "other"]), op=st.sampled_from([EVENTS, RESET]))
    def another_interface_speaks(self, sender: str, op: int) -> None:
        epoch = 0 if sender == INTERFACE else 1
        assert self.runner.handle(sender, ("c", op, epoch, 0, 1, ({"type": "t"},))) is None
        assert self.runner.told("lost") == []

    # What always holds.

    @invariant()
    def the_application_gets_what_the_client_sent_in_order(self) -> None:
        assert self.received == self.from_client[: len(self.received)]

    @invariant()
    def the_client_gets_what_the_application_sent_in_order(self) -> None:
        assert self.owner.events == self.from_application[: len(self.owner.events)]

    @invariant()
    def the_window_up_holds_but_for_a_first_event(self) -> None:
        costs = [cost for _, cost in self.on_the_way]
        assert sum(costs) <= self.window_up or len(costs) == 1

    @invariant()
    def the_window_down_holds_but_for_a_large_event(self) -> None:
        under_way = sum(map(event_cost, self.from_application[self.drained :]))
        assert under_way <= max(self.window_down, self.window_down / 2 + self.largest)

    @rule()
    def settle(self) -> None:
        """Whatever was held back: with both sides willing, all of it comes through."""
        for _ in range(4 * (len(self.from_client) + len(self.waiting)) + 4):
            self.application_asks()
            self.send_waiting()
            self.worker_flushes()
            self.reach_owner(len(self.to_owner))
            self.socket_drains(len(self.owner.events))
            self.owner_flushes()
            self.reach_worker(len(self.to_worker))
        assert self.received == self.from_client
        assert self.owner.events == self.from_application
        assert (list(self.waiting), list(self.on_the_way)) == ([], [])
        assert not self.owner.congested
        # Nothing leaks: whole windows are there again, up at once, down in halves.
        assert self.runner.may_send(self.window_down // 2)

    def teardown(self) -> None:
        if hasattr(self, "owner"):
            self.settle()


Sessions.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase
