from typing import Any

import pytest
from tests.layer.endpoints import INTERFACE, Runner, opening, read

from gateway_layer.errors import ProtocolError
from gateway_layer.session import split_event
from gateway_layer.wire import CLAIM, CREDIT, DATA, DONE, EVENTS, RESET


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


def events(first: int, *events: Any, stream: int = 0, epoch: int = 1) -> Any:
    return ("c", EVENTS, epoch, stream, first, events)


@pytest.fixture
def session() -> Runner:
    """A session whose claim has left."""
    session = Runner()
    session.take_frames()
    return session


# Claim, confirmation, end: what leaves.


def test_the_claim_names_the_window() -> None:
    assert read(Runner(window=77).take_frames()) == [("c", CLAIM, 1, (), None, None, 77)]


def test_the_claim_carries_what_the_first_turn_did() -> None:
    session = Runner(window=77)
    session.confirm()
    session.emit([event("a")], 10)
    assert read(session.take_frames()) == [("c", CLAIM, 1, (event("a"),), 0, None, 77)]


def test_the_claim_leaves_once(session: Runner) -> None:
    assert session.take_frames() == []


def test_events_of_a_turn_are_one_frame(session: Runner) -> None:
    session.emit([event("a")], 10)
    session.emit([event("b"), event("c")], 10)
    assert read(session.take_frames()) == [
        ("c", DATA, 1, (event("a"), event("b"), event("c")), None, None)
    ]


def test_the_first_wish_for_an_event_confirms_none(session: Runner) -> None:
    session.confirm()
    assert read(session.take_frames()) == [("c", DATA, 1, (), 0, None)]


def test_asking_again_without_an_event_in_between_says_nothing(session: Runner) -> None:
    session.confirm()
    session.take_frames()
    session.confirm()
    assert session.take_frames() == []


def test_an_event_is_confirmed_when_the_next_is_asked_for(session: Runner) -> None:
    session.handle(INTERFACE, events(1, event("a"), event("b")))
    session.take_event()
    assert session.take_frames() == []
    session.confirm()
    assert read(session.take_frames()) == [("c", DATA, 1, (), 1, None)]


def test_answer_and_confirmation_share_a_frame(session: Runner) -> None:
    session.handle(INTERFACE, events(1, event("a")))
    session.take_event()
    session.emit([event("answer")], 10)
    session.confirm()
    assert read(session.take_frames()) == [("c", DATA, 1, (event("answer"),), 1, None)]


def test_the_end_follows_what_was_sent(session: Runner) -> None:
    session.emit([event("a")], 10)
    session.finish("error")
    assert [frame[1] for frame in read(session.take_frames())] == [DATA, DONE]
    assert session.take_frames() == []


def test_a_session_is_marked_when_it_is_not_yet() -> None:
    marked: list[Runner] = []

    def mark(one: Runner) -> None:
        marked.append(one)
        one.dirty = True

    session = Runner(on_mark=mark)
    session.emit([event()], 1)
    session.emit([event()], 1)
    session.confirm()
    assert marked == [session]


# Events of the client.


def test_events_come_in_order(session: Runner) -> None:
    session.handle(INTERFACE, events(1, event("a")))
    session.handle(INTERFACE, events(2, event("b"), event("c")))
    assert [session.take_event()["text"] for _ in range(3)] == ["a", "b", "c"]


def test_parts_are_one_event_confirmed_as_a_whole(session: Runner) -> None:
    whole = {"type": "t", "bytes": b"x" * 200_000}
    parts = split_event(whole, "bytes")
    for number, part in enumerate(parts, 1):
        session.handle(INTERFACE, events(number, part))
    assert session.told("events") == [1]
    assert session.take_event() == whole
    session.confirm()
    assert read(session.take_frames())[0][4] == len(parts)


@pytest.mark.parametrize("first", [0, 2, -1, None, "1", (1,)])
def test_a_hole_in_the_numbers_is_malformed(session: Runner, first: Any) -> None:
    with pytest.raises(ProtocolError, match=r"event .* after 0"):
        session.handle(INTERFACE, events(first, event()))


def test_a_message_to_a_channel_that_there_is_not_is_malformed(session: Runner) -> None:
    with pytest.raises(ProtocolError, match="channel 1 of a connection that has none"):
        session.handle(INTERFACE, events(1, event(), stream=1))


@pytest.mark.parametrize("foreign", [None, 5, "text", (), {}, {"text": "x"}])
def test_an_event_that_is_none_never_reaches_the_application(
    session: Runner, foreign: object
) -> None:
    with pytest.raises(ProtocolError, match="an event that is none"):
        session.handle(INTERFACE, events(1, event(), foreign))
    assert [one["text"] for _, one in session.inbox] == ["x"]


# Fencing.


@pytest.mark.parametrize("frame", [events(1, event(), epoch=2), ("c", RESET, 0)])
def test_frames_of_another_epoch_do_not_count(session: Runner, frame: Any) -> None:
    assert session.handle(INTERFACE, frame) is None
    assert session.calls == []


def test_frames_of_another_sender_do_not_count(session: Runner) -> None:
    assert session.handle("other", ("c", RESET, 1)) is None
    assert session.calls == []


def test_a_reset_ends_the_instance(session: Runner) -> None:
    session.handle(INTERFACE, ("c", RESET, 1))
    assert len(session.told("lost")) == 1


def test_a_malformed_frame_ends_the_instance_too(session: Runner) -> None:
    session.on_malformed("why")
    assert session.told("lost") == ["why"]


@pytest.mark.parametrize("op", [CLAIM, DATA, 99, None])
def test_other_ops_are_malformed(session: Runner, op: object) -> None:
    with pytest.raises(ProtocolError, match="from an interface server"):
        session.handle(INTERFACE, ("c", op, 1))


# Credit.


def test_the_opening_brings_the_first_credit() -> None:
    session = Runner(opening(credit=1000))
    assert session.may_send(1000)
    session.emit([event()], 1000)
    assert not session.may_send(1)


def test_more_credit_is_told_and_can_be_used(session: Runner) -> None:
    session.emit([event()], 10_000)
    session.handle(INTERFACE, ("c", CREDIT, 1, 15_000))
    assert session.told("credit") == [None]
    assert session.may_send(5000)


@pytest.mark.parametrize("total", [10_000, 9999, 0, -1])
def test_credit_never_shrinks(session: Runner, total: int) -> None:
    session.handle(INTERFACE, ("c", CREDIT, 1, total))
    assert session.calls == []
    assert session.may_send(10_000)


@pytest.mark.parametrize("total", [None, "20000", 2e4, True, ()])
def test_credit_is_a_number(session: Runner, total: object) -> None:
    with pytest.raises(ProtocolError, match="not a number"):
        session.handle(INTERFACE, ("c", CREDIT, 1, total))


def test_an_event_larger_than_the_window_waits_for_half_of_it(session: Runner) -> None:
    session.emit([event()], 5000)
    assert not session.may_send(50_000)
    session.handle(INTERFACE, ("c", CREDIT, 1, 10_001))
    assert session.may_send(50_000)
