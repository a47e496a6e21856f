"""What an instance has not confirmed is kept, and goes to the next; how a worker lets go."""

from typing import Any

import pytest
from tests.layer.endpoints import WORKER, Owner, packed, read

from gateway_layer.codec import pack
from gateway_layer.errors import ProtocolError
from gateway_layer.session import State
from gateway_layer.wire import (
    CLAIM,
    DATA,
    DETACH,
    EVENTS,
    MAX_STATE_BYTES,
    RELEASE,
    RELEASED,
    RESET,
)


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


def claim(epoch: int, window: int = 1000, *, confirmed: Any = None) -> Any:
    return ("c", CLAIM, epoch, (), confirmed, None, window)


def data(*events: Any, epoch: int = 1, confirmed: Any = None, state: Any = None) -> Any:
    return ("c", DATA, epoch, events, confirmed, state)


def release(reason: Any = "drain") -> Any:
    return ("c", RELEASE, 1, reason)


def detach(reason: Any = "drain", state: Any = None) -> Any:
    return ("c", DETACH, 1, reason, state)


def texts(session: Owner) -> list[str]:
    """What leaves for the worker now."""
    frames = [frame for frame in read(session.take_frames()) if frame[1] == EVENTS]
    return [one["text"] for frame in frames for one in frame[5]]


@pytest.fixture
def bound() -> Owner:
    session = Owner()
    session.next_epoch()
    session.handle(WORKER, claim(1))
    return session


def claim_again(session: Owner, window: int = 1000) -> None:
    session.handle("next", claim(session.next_epoch(), window))


# The journal.


def test_what_was_not_confirmed_goes_to_the_next_instance(bound: Owner) -> None:
    for text in "abc":
        bound.emit([event(text)], 10)
    bound.take_frames()
    bound.handle(WORKER, data(confirmed=1))
    claim_again(bound)
    assert read(bound.take_frames()) == [("c", EVENTS, 2, 0, 1, (event("b"), event("c")))]


def test_it_goes_in_front_of_what_was_held_and_of_what_came_since(bound: Owner) -> None:
    bound.emit([event("given")], 600)
    bound.emit([event("held")], 600)
    epoch = bound.next_epoch()
    bound.emit([event("since")], 10)
    bound.handle("next", claim(epoch, 10_000))
    assert texts(bound) == ["given", "held", "since"]


def test_what_was_taken_on_but_has_not_left_is_not_sent_to_the_last_instance(bound: Owner) -> None:
    bound.emit([event("a")], 10)
    bound.next_epoch()
    assert bound.take_frames() == []


def test_an_event_in_parts_of_which_one_was_confirmed_is_whole_again(bound: Owner) -> None:
    bound.emit([event("first"), event("last")], 20)
    bound.take_frames()
    bound.handle(WORKER, data(confirmed=1))
    claim_again(bound)
    assert texts(bound) == ["first", "last"]


def test_windows_and_totals_begin_anew_with_an_epoch(bound: Owner) -> None:
    bound.emit([event("a")], 900)
    bound.drained(9000)
    claim_again(bound, 2000)
    bound.emit([event("b")], 900)
    assert texts(bound) == ["a", "b"]
    bound.drained(4999)
    assert bound.take_frames() == []


def test_an_instance_may_be_lost_again_and_again(bound: Owner) -> None:
    bound.emit([event("a")], 10)
    for _ in range(3):
        claim_again(bound)
        assert texts(bound) == ["a"]
    bound.handle("next", data(epoch=4, confirmed=1))
    claim_again(bound)
    assert texts(bound) == []


def test_it_is_known_whether_an_instance_has_something_unconfirmed(bound: Owner) -> None:
    assert (bound.unconfirmed, bound.waiting) == (False, False)
    bound.emit([event("a")], 10)
    assert (bound.unconfirmed, bound.waiting) == (True, True)
    bound.handle(WORKER, data(confirmed=1))
    assert (bound.unconfirmed, bound.waiting) == (False, False)


def test_after_an_epoch_the_worker_before_has_no_say(bound: Owner) -> None:
    bound.next_epoch()
    assert bound.handle(WORKER, data(event())) == packed("c", RESET, 1)
    assert bound.events == []


class Counting(Owner):
    """Keeps no events for another instance, only their costs."""

    KEEPS_EVENTS = False


def test_who_keeps_no_events_still_counts_them() -> None:
    session = Counting()
    session.handle(WORKER, claim(session.next_epoch()))
    session.emit([event("a")], 900)
    session.emit([event("b")], 900)
    assert texts(session) == ["a"]
    session.handle(WORKER, data(confirmed=1))
    assert texts(session) == ["b"]


# The last event.


def test_the_last_event_passes_any_credit_and_overtakes_nothing(bound: Owner) -> None:
    for text in "ab":
        bound.emit([event(text)], 900)
    bound.emit_last(event("bye"))
    assert texts(bound) == ["a", "b", "bye"]


def test_the_last_event_is_kept_until_it_is_confirmed(bound: Owner) -> None:
    bound.emit_last(event("bye"))
    claim_again(bound)
    assert texts(bound) == ["bye"]
    bound.handle("next", data(epoch=2, confirmed=1))
    assert not bound.waiting


def test_the_last_event_waits_where_nobody_may_have_it(bound: Owner) -> None:
    bound.gated = True
    bound.emit_last(event("bye"))
    assert texts(bound) == []
    claim_again(bound)
    assert texts(bound) == ["bye"]


# The gate.


def test_a_gated_instance_gets_nothing_until_it_is_opened(bound: Owner) -> None:
    bound.gated = True
    bound.emit([event("a")], 10)
    bound.release_held()
    assert (texts(bound), bound.congested) == ([], True)
    bound.gated = False
    bound.release_held()
    assert texts(bound) == ["a"]


def test_a_new_epoch_is_not_gated(bound: Owner) -> None:
    bound.gated = True
    bound.next_epoch()
    assert not bound.gated


class Blocked(Owner):
    """Its link to the worker is full, at will."""

    full = False

    @property
    def blocked(self) -> bool:
        return self.full


def test_events_wait_while_the_link_is_full() -> None:
    session = Blocked()
    session.handle(WORKER, claim(session.next_epoch()))
    session.full = True
    session.emit([event("a")], 10)
    assert texts(session) == []
    session.full = False
    session.release_held()
    assert texts(session) == ["a"]


# The state.


def test_a_state_is_kept_with_the_confirmation(bound: Owner) -> None:
    bound.emit([event("a")], 10)
    bound.handle(WORKER, data(confirmed=1, state=b"\x81\xa1a\x01"))
    assert (bound.kept, bound.unconfirmed) == (b"\x81\xa1a\x01", False)
    bound.handle(WORKER, data(confirmed=1))
    assert bound.kept == b"\x81\xa1a\x01"


def test_a_claim_may_bring_a_state() -> None:
    session = Owner()
    session.next_epoch()
    session.handle(WORKER, ("c", CLAIM, 1, (), 0, b"\x80", 1000))
    assert session.kept == b"\x80"


def test_a_state_outlives_its_instance(bound: Owner) -> None:
    bound.handle(WORKER, data(confirmed=0, state=b"\x80"))
    bound.next_epoch()
    assert bound.kept == b"\x80"


@pytest.mark.parametrize("state", [{}, "text", 5, True, (), bytes(MAX_STATE_BYTES + 1)])
@pytest.mark.parametrize("frame", ["data", "detach"])
def test_a_state_that_is_none_is_not_kept(bound: Owner, frame: str, state: Any) -> None:
    with pytest.raises(ProtocolError, match="a state that is not"):
        bound.handle(WORKER, data(state=state) if frame == "data" else detach(state=state))
    assert (bound.kept, bound.state) == (None, State.BOUND)


def test_the_largest_state_is_kept(bound: Owner) -> None:
    bound.handle(WORKER, data(state=bytes(MAX_STATE_BYTES)))
    assert bound.kept == bytes(MAX_STATE_BYTES)


def test_a_connection_that_ended_in_the_same_frame_keeps_no_state() -> None:
    class Hasty(Owner):
        def on_events(self, events: tuple[Any, ...]) -> None:
            self.close()

    session = Hasty()
    session.handle(WORKER, claim(session.next_epoch()))
    session.handle(WORKER, data(event(), confirmed=0, state=b"\x80"))
    assert (session.kept, session.told("confirmed")) == (None, [])


# Release and detachment.


def test_a_release_of_an_instance_without_events_is_granted_at_once(bound: Owner) -> None:
    bound.handle(WORKER, release())
    assert (bound.releasing, bound.released) == ("drain", True)
    assert read(bound.take_frames()) == [("c", RELEASED, 1)]


def test_a_release_waits_until_all_that_was_given_is_confirmed(bound: Owner) -> None:
    for text in "ab":
        bound.emit([event(text)], 10)
    bound.take_frames()
    bound.handle(WORKER, release("hibernate"))
    bound.handle(WORKER, data(confirmed=1))
    assert (bound.released, bound.take_frames()) == (False, [])
    bound.handle(WORKER, data(confirmed=2))
    assert read(bound.take_frames()) == [("c", RELEASED, 1)]


def test_a_release_is_granted_behind_the_events_of_its_turn(bound: Owner) -> None:
    bound.emit([event("a")], 10)
    bound.handle(WORKER, release())
    bound.handle(WORKER, data(confirmed=1))
    assert [frame[1] for frame in read(bound.take_frames())] == [EVENTS, RELEASED]


def test_a_release_is_granted_once(bound: Owner) -> None:
    for expected in ([("c", RELEASED, 1)], []):
        bound.handle(WORKER, release())
        bound.handle(WORKER, data(confirmed=0))
        assert read(bound.take_frames()) == expected


def test_events_after_a_release_wait_for_the_next_instance(bound: Owner) -> None:
    bound.handle(WORKER, release())
    bound.take_frames()
    bound.emit([event("late")], 10)
    bound.handle(WORKER, data(confirmed=0))
    assert texts(bound) == []
    claim_again(bound)
    assert texts(bound) == ["late"]
    assert (bound.releasing, bound.released) == (None, False)


@pytest.mark.parametrize("reason", [None, 5, b"drain", ()])
def test_a_release_and_a_detachment_have_a_reason(bound: Owner, reason: Any) -> None:
    with pytest.raises(ProtocolError, match="without a reason"):
        bound.handle(WORKER, release(reason))
    with pytest.raises(ProtocolError, match="without a reason"):
        bound.handle(WORKER, detach(reason))
    assert (bound.state, bound.releasing) == (State.BOUND, None)


def test_a_detached_connection_has_no_instance_and_keeps_the_state(bound: Owner) -> None:
    bound.handle(WORKER, detach("hibernate", pack({"a": 1})))
    assert (bound.state, bound.peer, bound.kept) == (State.DETACHED, None, pack({"a": 1}))
    assert bound.told("detached") == ["hibernate"]


def test_a_detachment_without_a_state_leaves_the_last(bound: Owner) -> None:
    bound.handle(WORKER, data(confirmed=0, state=b"\x80"))
    bound.handle(WORKER, detach())
    assert bound.kept == b"\x80"


def test_what_comes_while_detached_waits(bound: Owner) -> None:
    bound.emit([event("unconfirmed")], 10)
    bound.handle(WORKER, detach())
    bound.emit([event("since")], 10)
    assert bound.waiting
    claim_again(bound)
    assert texts(bound) == ["unconfirmed", "since"]


@pytest.mark.parametrize("frame", [data(event()), claim(1), detach(), release()])
def test_who_has_let_go_has_no_say_any_more(bound: Owner, frame: Any) -> None:
    bound.handle(WORKER, detach())
    assert bound.handle(WORKER, frame) == packed("c", RESET, 1)
    assert (bound.events, len(bound.told("detached"))) == ([], 1)
