from typing import Any

import pytest
from tests.layer.endpoints import WORKER, Owner, packed, read

from gateway_layer.codec import Message
from gateway_layer.errors import ProtocolError
from gateway_layer.session import State
from gateway_layer.wire import CLAIM, CREDIT, DATA, DONE, EVENTS, REFUSE, RESET


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


def claim(epoch: int = 1, window: object = 1000, events: Any = (), confirmed: Any = None) -> Any:
    return ("c", CLAIM, epoch, events, confirmed, None, window)


def data(*events: Any, epoch: int = 1, confirmed: Any = None) -> Any:
    return ("c", DATA, epoch, events, confirmed, None)


@pytest.fixture
def queued() -> Owner:
    session = Owner()
    session.next_epoch()
    return session


@pytest.fixture
def bound(queued: Owner) -> Owner:
    assert queued.handle(WORKER, claim()) is None
    return queued


# Opening and claim.


def test_a_session_begins_queued_without_a_peer(queued: Owner) -> None:
    assert (queued.state, queued.peer, queued.epoch) == (State.QUEUED, None, 1)


def test_a_claim_binds(bound: Owner) -> None:
    assert (bound.state, bound.peer) == (State.BOUND, WORKER)
    assert bound.told("claimed") == [WORKER]


def test_a_claim_brings_what_the_first_turn_did(queued: Owner) -> None:
    queued.handle(WORKER, claim(events=(event("a"),), confirmed=0))
    assert queued.calls == [("events", 1), ("confirmed", 0), ("claimed", WORKER)]


class Hasty(Owner):
    """Is over with its first event."""

    def on_events(self, events: tuple[Message, ...]) -> None:
        self.close()


def test_a_claim_that_ends_the_connection_is_not_told() -> None:
    session = Hasty()
    session.next_epoch()
    session.handle(WORKER, claim(events=(event(),), confirmed=0))
    assert session.calls == []


@pytest.mark.parametrize("window", [None, "1", 1.5, -1, True, ()])
def test_a_claim_without_a_window_does_not_bind(queued: Owner, window: object) -> None:
    with pytest.raises(ProtocolError, match="without a window"):
        queued.handle(WORKER, claim(window=window))
    assert queued.state is State.QUEUED


def test_a_refusal_gives_the_opening_back(queued: Owner) -> None:
    assert queued.handle(WORKER, ("c", REFUSE, 1, "draining")) is None
    assert queued.told("refused") == [1]


def test_the_next_epoch_forgets_the_worker(bound: Owner) -> None:
    assert bound.next_epoch() == 2
    assert (bound.state, bound.peer) == (State.QUEUED, None)


# Fencing.


@pytest.mark.parametrize("frame", [claim(epoch=2), data(event(), epoch=0), ("c", DONE, 7, "error")])
def test_a_frame_of_another_epoch_is_answered_with_a_reset(bound: Owner, frame: Any) -> None:
    answer = bound.handle(WORKER, frame)
    assert answer == packed("c", RESET, frame[2])
    assert bound.calls == [("claimed", WORKER)]


@pytest.mark.parametrize(
    "frame", [claim(), data(event()), ("c", DONE, 1, "error"), ("c", REFUSE, 1, "draining")]
)
def test_a_frame_of_another_worker_is_answered_with_a_reset(bound: Owner, frame: Any) -> None:
    assert bound.handle("other", frame) == packed("c", RESET, 1)
    assert (bound.peer, bound.calls) == (WORKER, [("claimed", WORKER)])


@pytest.mark.parametrize("frame", [data(event()), ("c", DONE, 1, "error")])
def test_before_the_claim_nothing_else_counts(queued: Owner, frame: Any) -> None:
    assert queued.handle(WORKER, frame) == packed("c", RESET, 1)
    assert queued.calls == []


def test_a_closed_session_resets_who_claims(bound: Owner) -> None:
    bound.close()
    assert bound.handle("other", claim()) == packed("c", RESET, 1)


def test_a_closed_session_lets_late_data_pass_in_silence(bound: Owner) -> None:
    bound.close()
    assert bound.handle(WORKER, data(event())) is None
    assert bound.events == []


@pytest.mark.parametrize("op", [CLAIM, REFUSE, CREDIT, 99, None, "x"])
def test_the_bound_worker_says_nothing_else(bound: Owner, op: object) -> None:
    with pytest.raises(ProtocolError, match="from the bound worker"):
        bound.handle(WORKER, ("c", op, 1, (), None, None, 5))


# What the application sent.


def test_events_arrive_in_order(bound: Owner) -> None:
    bound.handle(WORKER, data(event("a"), event("b")))
    assert [one["text"] for one in bound.events] == ["a", "b"]


def test_a_frame_may_bring_a_confirmation_alone(bound: Owner) -> None:
    bound.handle(WORKER, data(confirmed=0))
    assert (bound.told("events"), bound.told("confirmed")) == ([], [0])


def test_the_end_of_the_instance_is_told(bound: Owner) -> None:
    bound.handle(WORKER, ("c", DONE, 1, "returned"))
    assert bound.told("done") == ["returned"]


# What the client sent: numbering and the worker's window.


def test_events_of_a_turn_are_one_numbered_frame(bound: Owner) -> None:
    bound.emit([event("a")], 10)
    bound.emit([event("b")], 10)
    assert read(bound.take_frames()) == [("c", EVENTS, 1, 0, 1, (event("a"), event("b")))]
    bound.emit([event("c")], 10)
    assert read(bound.take_frames()) == [("c", EVENTS, 1, 0, 3, (event("c"),))]


def test_a_session_without_news_has_no_frames(bound: Owner) -> None:
    assert bound.take_frames() == []


def test_before_the_claim_events_are_held(queued: Owner) -> None:
    queued.emit([event("a")], 10)
    assert (queued.congested, queued.take_frames()) == (True, [])
    queued.handle(WORKER, claim())
    assert read(queued.take_frames())[0][5] == (event("a"),)


def test_events_over_the_window_are_held_until_confirmed(bound: Owner) -> None:
    bound.emit([event("a")], 600)
    bound.emit([event("b")], 600)
    assert read(bound.take_frames())[0][5] == (event("a"),)
    bound.handle(WORKER, data(confirmed=1))
    assert read(bound.take_frames())[0][5] == (event("b"),)


def test_a_small_event_does_not_overtake_a_held_one(bound: Owner) -> None:
    for text, cost in (("a", 600), ("b", 600), ("c", 1)):
        bound.emit([event(text)], cost)
    bound.handle(WORKER, data(confirmed=1))
    assert [one["text"] for one in read(bound.take_frames())[0][5]] == ["a", "b", "c"]


def test_an_event_larger_than_the_window_passes_when_nothing_is_outstanding(bound: Owner) -> None:
    bound.emit([event("large")], 5000)
    bound.emit([event("b")], 1)
    assert read(bound.take_frames())[0][5] == (event("large"),)
    assert bound.congested


def test_an_event_in_parts_is_confirmed_by_its_last(bound: Owner) -> None:
    bound.emit([event("a"), event("b")], 600)
    bound.emit([event("c")], 600)
    bound.handle(WORKER, data(confirmed=1))
    assert len(read(bound.take_frames())[0][5]) == 2
    bound.handle(WORKER, data(confirmed=2))
    assert read(bound.take_frames())[0][5] == (event("c"),)


@pytest.mark.parametrize("seq", [2, 2**63, "1", 1.0, True, (1,)])
def test_what_was_never_sent_cannot_be_confirmed(bound: Owner, seq: object) -> None:
    bound.emit([event()], 10)
    with pytest.raises(ProtocolError, match="confirmation of event"):
        bound.handle(WORKER, data(confirmed=seq))


def test_a_repeated_confirmation_frees_nothing_twice(bound: Owner) -> None:
    for text in ("a", "b", "c"):
        bound.emit([event(text)], 600)
    for _ in range(3):
        bound.handle(WORKER, data(confirmed=1))
    assert read(bound.take_frames())[0][5] == (event("a"), event("b"))


# Credit for the application.


def test_credit_is_granted_when_half_a_window_has_drained(bound: Owner) -> None:
    bound.drained(4999)
    assert bound.take_frames() == []
    bound.drained(1)
    assert read(bound.take_frames()) == [("c", CREDIT, 1, 15_000)]


def test_grants_of_a_turn_are_one_total(bound: Owner) -> None:
    bound.drained(5000)
    bound.drained(5000)
    assert read(bound.take_frames()) == [("c", CREDIT, 1, 20_000)]
    assert bound.take_frames() == []


# The end.


def test_close_sends_what_is_held_and_a_last_event_past_the_window(bound: Owner) -> None:
    bound.emit([event("a")], 900)
    bound.emit([event("b")], 900)
    bound.close(event("bye"))
    assert [one["text"] for one in read(bound.take_frames())[0][5]] == ["a", "b", "bye"]


def test_close_of_a_queued_session_sends_nothing(queued: Owner) -> None:
    queued.close(event("bye"))
    assert queued.take_frames() == []


def test_after_close_nothing_is_emitted(bound: Owner) -> None:
    bound.close()
    bound.emit([event()], 10)
    assert (bound.take_frames(), bound.congested) == ([], False)


def test_whoever_has_something_to_send_is_marked() -> None:
    marked: list[Owner] = []
    session = Owner(on_mark=marked.append)
    session.next_epoch()
    session.handle(WORKER, claim())
    assert marked == []
    session.emit([event()], 10)
    session.drained(10_000)
    assert marked == [session, session]
