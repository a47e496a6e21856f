"""A connection whose instances die or let go: nothing that its client sent is lost."""

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.layer.endpoints import WORKER, Owner, Runner, opening

from gateway_layer.codec import Message, unpack, unpack_state
from gateway_layer.wire import DETACH


class Reopening(RuleBasedStateMachine):
    """The application counts events in its state, so that state and journal must agree."""

    @initialize()
    def begin(self) -> None:
        self.owner = Owner(window=100_000)
        self.sent = 0
        self.start()

    def start(self) -> None:
        owner = self.owner
        epoch = owner.next_epoch()
        self.runner = Runner(opening(epoch=epoch, state=owner.kept), interface="i", window=700)
        self.runner.keeps = {} if owner.kept is None else unpack_state(owner.kept)
        self.leaving = False

    @rule(count=st.integers(1, 3))
    def client_sends(self, count: int) -> None:
        for _ in range(count):
            event: Message = {"type": "t", "number": self.sent}
            self.sent += 1
            self.owner.emit([event], 256)

    @rule()
    def application_asks(self) -> None:
        keeps = self.runner.keeps
        assert keeps is not None
        self.runner.confirm()
        if self.runner.inbox:
            number = self.runner.take_event()["number"]
            assert number == keeps.get("handled", 0), "an event was lost, or came twice"
            keeps["handled"] = number + 1

    @rule()
    def turn_of_the_worker(self) -> None:
        for frame in map(unpack, self.runner.take_frames()):
            assert self.owner.handle(WORKER, frame) is None
            if frame[1] == DETACH:
                self.start()
                return

    @rule()
    def turn_of_the_owner(self) -> None:
        for raw in self.owner.take_frames():
            assert self.runner.handle("i", unpack(raw)) is None
        if self.runner.told("released"):
            assert not self.owner.unconfirmed

    @rule()
    def worker_dies(self) -> None:
        self.start()

    @precondition(lambda self: not self.leaving)
    @rule()
    def worker_wants_to_let_go(self) -> None:
        self.leaving = True
        self.runner.release("drain")

    @precondition(lambda self: self.leaving)
    @rule()
    def worker_lets_go(self) -> None:
        """With or without the answer: it waits for so long and no longer."""
        self.runner.detach("drain")
        self.turn_of_the_worker()

    def teardown(self) -> None:
        """With an instance that lives, all that the client sent is handled."""
        if not hasattr(self, "owner"):
            return
        self.worker_dies()
        for _ in range(4 * self.sent + 8):
            self.turn_of_the_worker()
            self.turn_of_the_owner()
            self.application_asks()
        assert self.runner.keeps is not None
        assert self.runner.keeps.get("handled", 0) == self.sent
        assert not self.owner.waiting or self.sent == 0


Reopening.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestReopening = Reopening.TestCase
