"""The rules of a link, one by one; tests/layer/property/test_link.py has them all at once."""

import pytest
from tests.layer.unit.links import flags, lose, number, pass_on, send, seqs, talk

from gateway_layer.link import CAPACITY_BYTES, Generations, Link
from gateway_layer.wire import FLAG_ACK, FLAG_ANSWER, FLAG_PROBE, FLAG_WANT, LinkHeader

MIB = 2**20


# Numbers and acknowledgements.


def test_generations_grow_and_begin_above_unknown() -> None:
    generations = Generations()
    assert [generations.next() for _ in range(3)] == [1, 2, 3]


def test_the_first_header_knows_nothing_of_the_peer(ours: Link) -> None:
    assert number(ours) == LinkHeader(ours.gen, 0, 0, 0, 0)


def test_an_acknowledgement_rides_on_the_next_batch(ours: Link, theirs: Link) -> None:
    send(theirs, ours, 3)
    assert number(ours) == LinkHeader(ours.gen, theirs.gen, 0, 3, 0)
    ours.tick(0.0)
    ours.tick(9.0)
    assert FLAG_ACK not in flags(ours.take_output())


def test_what_is_acknowledged_is_settled(ours: Link, theirs: Link) -> None:
    send(ours, theirs, 3)
    assert not ours.settled
    send(theirs, ours)
    assert ours.settled


@pytest.mark.parametrize(("count", "size"), [(64, 1), (2, 131_072)])
def test_so_much_is_acknowledged_at_once(met: tuple[Link, Link], count: int, size: int) -> None:
    ours, theirs = met
    send(theirs, ours, count - 1, size)
    assert ours.take_output() == []
    send(theirs, ours, 1, size)
    assert flags(pass_on(ours, theirs)) == [FLAG_ACK]
    assert theirs.settled
    assert not ours.due


def test_anything_is_acknowledged_half_a_second_after_it_was_noticed(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    send(theirs, ours)
    due = []
    for now_s in (10.0, 10.4, 10.5):
        ours.tick(now_s)
        due.append(ours.due)
    assert due == [False, False, True]
    assert flags(pass_on(ours, theirs)) == [FLAG_ACK]
    assert theirs.settled


def test_an_acknowledgement_is_not_acknowledged(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    theirs.receive(LinkHeader(ours.gen, theirs.gen, 0, 1, FLAG_ACK), 0)
    for now_s in (20.0, 21.0, 22.0):
        theirs.tick(now_s)
    assert theirs.take_output() == []


@pytest.mark.parametrize("ack", [3, 2**63, 2**64 - 1])
def test_what_was_never_sent_cannot_be_acknowledged(ours: Link, theirs: Link, ack: int) -> None:
    send(theirs, ours)
    lose(ours, 2)
    ours.receive(LinkHeader(theirs.gen, ours.gen, 0, ack, FLAG_ACK), 0)
    assert not ours.settled


def test_an_older_acknowledgement_takes_nothing_back(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    ours.receive(LinkHeader(theirs.gen, ours.gen, 0, 0, FLAG_ACK), 0)
    assert ours.settled


# Losses: asked for, then sent again.


def test_batches_in_order_are_delivered(ours: Link, theirs: Link) -> None:
    assert send(theirs, ours, 5) == [True] * 5


def test_a_duplicate_is_dropped_and_acknowledged(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    header = number(theirs)
    assert ours.receive(header, 1)
    assert not ours.receive(header, 1)
    ours.tick(0.0)
    ours.tick(0.5)
    assert flags(ours.take_output()) == [FLAG_ACK]


def test_what_follows_a_hole_is_dropped_and_asked_for_once_a_turn(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    lose(theirs)
    assert send(theirs, ours, 20) == [False] * 20
    (one,) = ours.take_output()
    assert one == (LinkHeader(ours.gen, theirs.gen, 0, 1, FLAG_WANT), [])


def test_a_wish_is_answered_with_a_question_and_no_data(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    lose(theirs)
    send(theirs, ours)
    pass_on(ours, theirs)
    assert flags(theirs.take_output()) == [FLAG_PROBE]


def test_a_wish_where_all_is_settled_is_met_with_an_acknowledgement(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    ours.suspect(inbox=True)
    pass_on(ours, theirs)
    [(header, frames)] = theirs.take_output()
    assert (header.flags, frames) == (FLAG_ACK, [])


def test_news_are_told_again_until_the_peer_knows_them(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    ours.restart()
    ours.take_output()  # which is lost
    ours.tick(100.0)
    assert not ours.due
    ours.tick(101.5)
    pass_on(ours, theirs)
    assert theirs.lost
    pass_on(theirs, ours)
    pass_on(ours, theirs)
    ours.tick(200.0)
    ours.tick(300.0)
    assert not ours.due


def test_exactly_what_is_missing_is_sent_again(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    first = send(theirs, ours, 2)
    lose(theirs)
    assert [*first, *send(theirs, ours, 3)] == [True, True, False, False, False]
    pass_on(ours, theirs)
    pass_on(theirs, ours)
    pass_on(ours, theirs)
    again = pass_on(theirs, ours)
    assert seqs(again) == [3, 4, 5, 6]
    assert theirs.resent == 4
    talk(ours, theirs)
    assert send(theirs, ours) == [True]


def test_a_question_that_finds_nothing_missing_sends_nothing_again(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    send(theirs, ours, 3)
    theirs.suspect()
    talk(theirs, ours)
    assert (theirs.resent, theirs.settled) == (0, True)


def test_an_answer_tells_what_had_arrived_before_its_question(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    send(theirs, ours, 2)
    theirs.suspect()
    pass_on(theirs, ours)
    assert ours.take_output() == [(LinkHeader(ours.gen, theirs.gen, 3, 3, FLAG_ANSWER), [])]


def test_an_answer_to_a_question_from_before_a_disturbance_says_nothing(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    lose(theirs, 2)
    theirs.suspect()
    pass_on(theirs, ours)
    theirs.suspect()
    pass_on(ours, theirs)
    assert seqs(theirs.take_output()) == []


def test_only_the_answer_to_the_last_question_counts(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    for _ in range(2):
        lose(theirs)
        theirs.suspect()
        assert flags(theirs.take_output()) == [FLAG_PROBE]
    theirs.receive(LinkHeader(ours.gen, theirs.gen, 2, 1, FLAG_ANSWER), 0)
    assert theirs.take_output() == []
    theirs.receive(LinkHeader(ours.gen, theirs.gen, 3, 1, FLAG_ANSWER), 0)
    assert seqs(theirs.take_output()) == [1, 2]


def test_a_second_answer_sends_nothing_a_second_time(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    lose(theirs)
    theirs.suspect()
    pass_on(theirs, ours)
    ((answer, _),) = ours.take_output()
    for expected in ([1], []):
        theirs.receive(answer, 0)
        assert seqs(theirs.take_output()) == expected


# Timers.


def test_what_is_not_acknowledged_is_asked_for_at_growing_distances(ours: Link) -> None:
    number(ours)
    asked = []
    for half_seconds in range(80):
        ours.tick(half_seconds / 2)
        if ours.due:
            assert flags(ours.take_output()) == [FLAG_PROBE]
            asked.append(half_seconds / 2)
    assert asked == [1.5, 3.0, 6.0, 12.0, 20.0, 28.0, 36.0]
    assert ours.resent == 0


def test_progress_begins_the_distances_anew(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    send(theirs, ours, 2)
    for half_seconds in range(6):
        theirs.tick(half_seconds / 2)
    theirs.take_output()
    theirs.receive(LinkHeader(ours.gen, theirs.gen, 0, 2, FLAG_ACK), 0)
    theirs.tick(3.0)
    assert theirs.stuck_s == 0.0
    theirs.tick(4.0)
    assert not theirs.due
    theirs.tick(4.5)
    assert theirs.due


def test_how_long_a_peer_has_taken_nothing_is_told(ours: Link) -> None:
    number(ours)
    ours.tick(100.0)
    ours.tick(141.0)
    assert ours.stuck_s == 41.0


# Batches that wait.


def test_a_batch_that_could_not_be_written_is_overtaken_by_none(met: tuple[Link, Link]) -> None:
    ours, _theirs = met
    number(ours)
    ours.not_sent()
    assert [ours.number([b"later"], 1) for _ in range(3)] == [None] * 3
    assert ours.resent == 0


def test_batches_that_wait_leave_when_the_peer_has_answered(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    number(ours)
    ours.not_sent()
    ours.number([b"later"], 1)
    ours.suspect()
    assert flags(pass_on(ours, theirs)) == [FLAG_PROBE]
    pass_on(theirs, ours)
    assert seqs(pass_on(ours, theirs)) == [2, 3]
    assert ours.resent == 0  # neither had been written before
    assert send(ours, theirs) == [True]


def test_at_most_a_mib_is_sent_again_at_once_then_another_question(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    lose(ours, 5, 400_000)
    ours.suspect()
    pass_on(ours, theirs)
    pass_on(theirs, ours)
    again = pass_on(ours, theirs)
    assert flags(again) == [0, 0, FLAG_PROBE]
    assert again[-1][0].seq == 4
    assert ours.number([b"new"], 1) is None
    talk(ours, theirs)
    assert send(ours, theirs) == [True]


def test_a_batch_larger_than_that_goes_alone(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    lose(ours, 2, 3 * MIB)
    ours.suspect()
    pass_on(ours, theirs)
    pass_on(theirs, ours)
    assert flags(ours.take_output()) == [0, FLAG_PROBE]


def test_a_link_is_full_over_its_capacity_and_free_below_half_of_it(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    lose(ours, 16, MIB)
    assert (ours.full, ours.freed) == (False, False)
    lose(ours)
    assert (ours.full, ours.freed) == (True, False)
    ours.receive(LinkHeader(theirs.gen, ours.gen, 0, 2 + 8, FLAG_ACK), 0)
    assert (ours.full, ours.freed) == (True, False)
    ours.receive(LinkHeader(theirs.gen, ours.gen, 0, 2 + 9, FLAG_ACK), 0)
    assert (ours.full, ours.freed) == (False, True)


def test_a_new_generation_frees_a_full_link(ours: Link) -> None:
    lose(ours, 2, CAPACITY_BYTES)
    ours.restart()
    assert (ours.full, ours.freed, ours.settled) == (False, True, True)
