"""A channel of a connection: whatever becomes of its instances, no message is lost or overtaken."""

from collections import deque

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway_layer.errors import ProtocolError
from gateway_layer.session import OwnerStream, WorkerStream, event_cost, split_event
from gateway_layer.session.streams import STREAM_BYTES

CAPACITY = 3
"""Messages that may be unread where the instance is."""


class Streams(RuleBasedStateMachine):
    """Messages are numbered; an instance may die at any moment, and the next goes on."""

    @initialize()
    def begin(self) -> None:
        self.owner = OwnerStream()
        self.sent = 0
        self.dropped: set[int] = set()
        self.confirmed = 0
        self.instance_begins()

    def instance_begins(self) -> None:
        self.worker = WorkerStream()
        self.unread: deque[int] = deque()
        self.taken: list[int] = []
        self.owner.begin_epoch()

    @rule(size=st.sampled_from([0, 10, 70_000, 200_000]))
    def message_comes(self, size: int) -> None:
        message = {"type": "t", "number": self.sent + 1, "bytes": b"x" * size}
        full = self.owner.cost and self.owner.cost + event_cost(message) > STREAM_BYTES
        assert self.owner.put(split_event(message, "bytes"), event_cost(message)) is not bool(full)
        self.sent += not full

    @rule()
    def turn_of_the_owner(self) -> None:
        self.owner.release()
        for first, run in self.owner.take_turn():
            for message in self.worker.take_in(first, tuple(run)):
                if len(self.unread) < CAPACITY:
                    self.unread.append(message["number"])
                else:
                    self.dropped.add(message["number"])
                    self.worker.dropped()

    @rule()
    def application_asks(self) -> None:
        seq = self.worker.taken(len(self.unread))
        if seq != self.worker.confirmed:
            self.worker.confirm(seq)
            self.owner.confirm(seq)
        if self.taken:
            self.confirmed = self.taken[-1]
        if self.unread:
            number = self.unread.popleft()
            skipped = set(range(self.confirmed + 1, number))
            assert number > self.confirmed, "it came twice"
            assert skipped <= self.dropped, "it was lost, or overtaken"
            self.taken.append(number)

    @rule()
    def instance_dies(self) -> None:
        self.instance_begins()

    def teardown(self) -> None:
        if not hasattr(self, "owner"):
            return
        self.instance_dies()
        for _ in range(self.sent + 2):
            self.turn_of_the_owner()
            while self.unread:
                self.application_asks()
            self.application_asks()
        assert self.owner.cost == 0
        assert not self.owner.unconfirmed


Streams.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestStreams = Streams.TestCase


def test_more_than_was_given_cannot_be_confirmed() -> None:
    stream = OwnerStream()
    stream.put([{"type": "t"}], 256)
    stream.release()
    with pytest.raises(ProtocolError, match="1 were sent"):
        stream.confirm(2)


def test_messages_that_do_not_follow_are_refused() -> None:
    with pytest.raises(ProtocolError, match="message 2 of a channel after 0"):
        list(WorkerStream().take_in(2, ({"type": "t"},)))
