"""The worker's side of a state that outlives instances, and of letting a connection go."""

from typing import Any

import pytest
from tests.layer.endpoints import INTERFACE, Runner, opening, read

from gateway_layer.codec import pack
from gateway_layer.errors import ApplicationError
from gateway_layer.wire import (
    CLAIM,
    DATA,
    DETACH,
    DONE,
    EVENTS,
    MAX_STATE_BYTES,
    RELEASE,
    RELEASED,
)


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


def give(session: Runner, count: int = 1, first: int = 1) -> None:
    """Let events arrive."""
    events = tuple(event() for _ in range(count))
    session.handle(INTERFACE, ("c", EVENTS, 1, 0, first, events))


@pytest.fixture
def session() -> Runner:
    """A session with a state, whose claim and first wish for an event have left."""
    session = Runner()
    session.keeps = {}
    session.confirm()
    session.take_frames()
    return session


# The state travels with the confirmations.


def test_a_state_leaves_with_the_confirmation_of_its_moment(session: Runner) -> None:
    assert session.keeps is not None
    give(session)
    session.take_event()
    session.keeps["n"] = 1
    assert session.take_frames() == []
    session.confirm()
    session.keeps["n"] = 2
    assert read(session.take_frames()) == [("c", DATA, 1, (), 1, pack({"n": 1}))]


def test_an_unchanged_state_does_not_leave_again(session: Runner) -> None:
    session.keeps = {"n": 1}
    give(session, 2)
    for expected in (pack({"n": 1}), None):
        session.take_event()
        session.confirm()
        assert read(session.take_frames())[0][5] == expected


def test_an_empty_state_that_was_never_anything_else_does_not_leave(session: Runner) -> None:
    give(session)
    session.take_event()
    session.confirm()
    assert read(session.take_frames()) == [("c", DATA, 1, (), 1, None)]


def test_a_state_may_become_empty_again(session: Runner) -> None:
    session.keeps = {"n": 1}
    give(session, 2)
    for keeps in ({"n": 1}, {}):
        session.keeps = keeps
        session.take_event()
        session.confirm()
        assert read(session.take_frames())[0][5] == pack(keeps)


def test_a_state_that_the_opening_brought_does_not_leave_unchanged() -> None:
    session = Runner(opening(state=pack({"n": 1})))
    session.keeps = {"n": 1}
    session.confirm()
    assert read(session.take_frames()) == [("c", CLAIM, 1, (), 0, None, 10_000)]


def test_a_protocol_without_a_state_sends_none() -> None:
    session = Runner(opening(state=b"\x80"))
    session.confirm()
    assert read(session.take_frames())[0][5] is None


def test_the_state_comes_with_the_last_frame_of_a_turn_that_is_cut(session: Runner) -> None:
    session.keeps = {"n": 1}
    give(session)
    session.take_event()
    for _ in range(3):
        session.emit([{"type": "t", "bytes": bytes(60_000)}], 60_256)
    session.confirm()
    frames = read(session.take_frames())
    assert [(frame[4], frame[5]) for frame in frames] == [(None, None)] * 2 + [(1, pack({"n": 1}))]


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        ({"a": {1}}, TypeError, r'^state\["a"\]: set'),
        ({"a": b"x" * MAX_STATE_BYTES}, ApplicationError, "16384 may be kept"),
    ],
)
def test_a_state_that_cannot_be_kept_is_an_error_where_it_is_confirmed(
    session: Runner, state: Any, error: type[Exception], text: str
) -> None:
    session.keeps = state
    give(session)
    session.take_event()
    for _ in range(2):
        with pytest.raises(error, match=text):
            session.confirm()
    assert session.take_frames() == []


def test_the_largest_state_is_confirmed(session: Runner) -> None:
    session.keeps = {"a": b"x" * (MAX_STATE_BYTES - 6)}
    give(session)
    session.take_event()
    session.confirm()
    assert len(read(session.take_frames())[0][5]) == MAX_STATE_BYTES


# Confirmations of another kind.


def test_several_events_may_be_confirmed_at_once(session: Runner) -> None:
    session.explicit = True
    give(session, 3)
    for _ in range(3):
        session.take_event()
    session.confirm()
    assert read(session.take_frames())[0][4] == 3


def test_what_an_ended_instance_left_is_confirmed_as_a_whole(session: Runner) -> None:
    give(session, 3)
    session.take_event()
    session.confirm_all()
    assert read(session.take_frames()) == [("c", DATA, 1, (), 3, None)]
    session.confirm_all()
    assert session.take_frames() == []


# Letting go.


def test_a_release_follows_what_was_sent(session: Runner) -> None:
    session.release("hibernate")
    session.emit([event()], 10)
    frames = read(session.take_frames())
    assert [frame[1] for frame in frames] == [DATA, RELEASE]
    assert frames[1] == ("c", RELEASE, 1, "hibernate")


def test_the_answer_to_a_release_is_told(session: Runner) -> None:
    session.handle(INTERFACE, ("c", RELEASED, 1))
    assert session.told("released") == [None]


@pytest.mark.parametrize(("sender", "epoch"), [("other", 1), (INTERFACE, 2)])
def test_an_answer_of_another_sender_or_epoch_does_not_count(
    session: Runner, sender: str, epoch: int
) -> None:
    session.handle(sender, ("c", RELEASED, epoch))
    assert session.calls == []


def test_a_detachment_is_the_last_word(session: Runner) -> None:
    session.emit([event()], 10)
    session.detach("drain")
    assert [frame[1] for frame in read(session.take_frames())] == [DATA, DETACH]
    assert session.take_frames() == []


def test_a_detachment_brings_the_last_state(session: Runner) -> None:
    session.keeps = {"n": 7}
    session.note_last_state()
    session.keeps["n"] = 8  # after the application heard of its end: the next one knows better
    session.detach("drain")
    assert read(session.take_frames()) == [("c", DETACH, 1, "drain", pack({"n": 7}))]


def test_a_state_leaves_once_where_confirmation_and_detachment_share_a_turn(
    session: Runner,
) -> None:
    session.keeps = {"n": 1}
    give(session)
    session.take_event()
    session.confirm()
    session.detach("drain")
    states = [frame[-1] for frame in read(session.take_frames())]
    assert states == [None, pack({"n": 1})]


def test_a_detachment_without_a_new_state_brings_none(session: Runner) -> None:
    session.keeps = {"n": 1}
    give(session)
    session.take_event()
    session.confirm()
    session.take_frames()
    session.note_last_state()
    session.detach("drain")
    assert read(session.take_frames()) == [("c", DETACH, 1, "drain", None)]


@pytest.mark.parametrize("state", [{"a": {1}}, {"a": b"x" * MAX_STATE_BYTES}])
def test_a_last_state_that_cannot_be_kept_is_left_behind(session: Runner, state: Any) -> None:
    session.keeps = state
    session.note_last_state()
    session.detach("drain")
    assert read(session.take_frames()) == [("c", DETACH, 1, "drain", None)]


def test_words_of_one_turn_leave_in_order(session: Runner) -> None:
    session.release("drain")
    session.finish("returned")
    assert [frame[1] for frame in read(session.take_frames())] == [RELEASE, DONE]


def test_whoever_may_send_waits_for_a_full_link() -> None:
    full: set[str | None] = {INTERFACE}
    session = Runner(full=full)
    assert not session.may_send(1)
    full.clear()
    session.on_room()
    assert session.may_send(1)
    assert session.told("credit") == [None]


def test_a_state_that_changed_without_an_event_leaves_with_the_next_wish(session: Runner) -> None:
    """As one that was set while the application handled `websocket.connect`."""
    session.keeps = {"n": 1}
    session.confirm()
    assert read(session.take_frames()) == [("c", DATA, 1, (), 0, pack({"n": 1}))]
    session.confirm()
    assert session.take_frames() == []
