"""What links do when a side has forgotten, and what no header may do to them."""

from collections.abc import Callable

import pytest
from tests.layer.unit.links import flags, lose, number, pass_on, send, talk

from gateway_layer.link import Link
from gateway_layer.wire import (
    FLAG_ACK,
    FLAG_ANSWER,
    FLAG_BYE,
    FLAG_PROBE,
    FLAG_WANT,
    LinkHeader,
)

# Generations.


def test_who_has_forgotten_tells_the_peer_which_forgets_too(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    before = ours.gen, theirs.gen
    ours.restart()
    assert flags(pass_on(ours, theirs)) == [FLAG_WANT]
    assert theirs.lost
    assert (ours.gen > before[0], theirs.gen > before[1]) == (True, True)
    talk(ours, theirs)
    assert not ours.lost
    assert send(ours, theirs) == send(theirs, ours) == [True]


def test_news_of_a_generation_may_come_with_its_first_batch(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    ours.restart()
    assert send(ours, theirs) == [True]
    assert theirs.lost


def test_a_batch_to_a_generation_that_is_over_is_answered_with_the_present_one(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    ours.restart()
    ours.take_output()  # lost on its way
    assert send(theirs, ours) == [False]
    assert ours.take_output() == [(LinkHeader(ours.gen, theirs.gen, 0, 0, FLAG_WANT), [])]


def test_a_batch_of_a_generation_of_the_peer_that_is_over_is_dropped(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    old = number(theirs)
    theirs.restart()
    talk(ours, theirs)
    ours.lost = False
    assert not ours.receive(old, 1)
    assert not ours.due
    assert not ours.lost


def test_what_was_written_before_the_peer_heard_of_us_is_of_the_time_that_we_forgot(
    ours: Link, theirs: Link
) -> None:
    first, second = number(theirs), number(theirs)
    assert ours.receive(first, 1)
    ours.restart()
    assert not ours.receive(second, 1)
    assert flags(ours.take_output()) == [FLAG_WANT]


def test_a_link_that_forgot_before_it_heard_of_the_peer_takes_nothing_from_before(
    ours: Link, theirs: Link
) -> None:
    send(ours, theirs)
    early = LinkHeader(theirs.gen, 0, 0, 0, 0)
    ours.restart()
    assert not ours.receive(early, 1)


def both_forget(ours: Link, theirs: Link) -> None:
    ours.restart()
    theirs.restart()


def one_forgets_twice(ours: Link, theirs: Link) -> None:
    ours.restart()
    pass_on(ours, theirs)
    ours.restart()


def one_forgets_twice_with_a_batch_in_between(ours: Link, theirs: Link) -> None:
    ours.restart()
    early = number(ours)
    ours.restart()
    theirs.receive(early, 1)


def both_forget_after_each_other(ours: Link, theirs: Link) -> None:
    ours.restart()
    pass_on(ours, theirs)
    theirs.restart()


def nobody_heard(ours: Link, theirs: Link) -> None:
    ours.restart()
    ours.take_output()
    theirs.restart()
    theirs.take_output()


@pytest.mark.parametrize(
    "disturb",
    [
        both_forget,
        one_forgets_twice,
        one_forgets_twice_with_a_batch_in_between,
        both_forget_after_each_other,
        nobody_heard,
    ],
)
def test_whoever_forgets_and_when_both_soon_agree(
    met: tuple[Link, Link], disturb: Callable[[Link, Link], None]
) -> None:
    ours, theirs = met
    disturb(ours, theirs)
    talk(ours, theirs)
    send(ours, theirs)
    send(theirs, ours)
    talk(ours, theirs)
    gens = ours.gen, theirs.gen
    assert send(ours, theirs) == send(theirs, ours) == [True]
    assert (ours.gen, theirs.gen) == gens


# What a peer may say, and what it may not.


def test_a_farewell_carries_no_number(met: tuple[Link, Link]) -> None:
    ours, theirs = met
    assert ours.bye() == LinkHeader(ours.gen, theirs.gen, 0, 1, FLAG_BYE)


@pytest.mark.parametrize("flag", [FLAG_ACK, FLAG_WANT, FLAG_PROBE, FLAG_ANSWER, FLAG_BYE, 32, 63])
def test_no_control_header_is_delivered_or_numbered(met: tuple[Link, Link], flag: int) -> None:
    ours, theirs = met
    assert not ours.receive(LinkHeader(theirs.gen, ours.gen, 1, 0, flag), 0)
    assert send(theirs, ours) == [True]


def test_who_does_not_know_this_generation_has_nothing_to_say_of_it(
    met: tuple[Link, Link],
) -> None:
    ours, theirs = met
    lose(ours)
    ours.receive(LinkHeader(theirs.gen, 0, 0, 99, FLAG_WANT | FLAG_ANSWER), 0)
    assert not ours.settled
    assert [header.flags for header, _frames in ours.take_output()] == [FLAG_ACK]


@pytest.mark.parametrize(
    "header",
    [
        LinkHeader(2**63, 2**63, 2**63, 2**63, 2**63),
        LinkHeader(0, 0, 0, 0, 0),
        LinkHeader(11, 1, 2**64 - 1, 0, 0),
        LinkHeader(11, 1, 0, 2**64 - 1, 31),
    ],
)
def test_a_hostile_header_leaves_a_link_that_can_be_used(
    met: tuple[Link, Link], header: LinkHeader
) -> None:
    ours, _theirs = met
    assert not ours.receive(header, 2**40)
    ours.tick(0.0)
    assert sum(len(frames) for _, frames in ours.take_output()) == 0
    assert ours.number([b"frame"], 1) is not None
