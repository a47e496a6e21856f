from collections.abc import Callable

import pytest

from gateway_layer.link import Generations, Link, Verdict
from gateway_layer.wire import FLAG_RESET, LinkHeader


@pytest.fixture
def ours() -> Link:
    return Link(Generations())


@pytest.fixture
def theirs() -> Link:
    generations = Generations()
    generations.next()  # so that the two sides' numbers differ
    return Link(generations)


def met(ours: Link, theirs: Link) -> None:
    """Both have heard of each other: one batch has come each way."""
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER
    assert theirs.receive(ours.next_header()) is Verdict.DELIVER


def test_generations_grow_and_begin_above_unknown() -> None:
    generations = Generations()
    assert [generations.next() for _ in range(3)] == [1, 2, 3]


def test_the_first_header_knows_nothing_of_the_peer(ours: Link) -> None:
    assert ours.next_header() == LinkHeader(ours.gen, 0, 0, 0, 0)


def test_batches_are_numbered_and_acknowledged(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER
    assert ours.next_header() == LinkHeader(ours.gen, theirs.gen, 1, 2, 0)


def test_batches_in_order_are_delivered(ours: Link, theirs: Link) -> None:
    assert [ours.receive(theirs.next_header()) for _ in range(5)] == [Verdict.DELIVER] * 5


def test_a_duplicate_is_dropped(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    header = theirs.next_header()
    assert ours.receive(header) is Verdict.DELIVER
    assert ours.receive(header) is Verdict.DROP


def test_a_missing_batch_is_a_gap_and_begins_a_generation(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    before = ours.gen
    theirs.next_header()
    assert ours.receive(theirs.next_header()) is Verdict.GAP
    assert ours.gen > before


def test_a_first_batch_that_is_not_the_first_is_a_gap(ours: Link, theirs: Link) -> None:
    theirs.next_header()
    assert ours.receive(theirs.next_header()) is Verdict.GAP


def test_what_follows_a_gap_is_stale(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    theirs.next_header()
    ours.receive(theirs.next_header())
    assert ours.receive(theirs.next_header()) is Verdict.STALE


def test_a_reset_of_a_known_peer_is_a_loss(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    theirs.restart()
    assert ours.receive(theirs.reset_header()) is Verdict.LOST


def test_a_reset_carries_no_number(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    theirs.restart()
    ours.receive(theirs.reset_header())
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER


def test_a_repeated_reset_is_no_second_loss(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    theirs.restart()
    ours.receive(theirs.reset_header())
    assert ours.receive(theirs.reset_header()) is Verdict.DROP


def test_a_reset_of_a_stranger_to_whom_nothing_was_sent_is_no_loss(
    ours: Link, theirs: Link
) -> None:
    assert ours.receive(theirs.reset_header()) is Verdict.DROP
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER


def test_a_reset_of_a_stranger_may_mean_that_our_batches_are_lost(ours: Link, theirs: Link) -> None:
    ours.next_header()
    assert ours.receive(theirs.reset_header()) is Verdict.LOST


def test_a_reset_in_answer_to_a_generation_that_is_over_is_dropped(
    ours: Link, theirs: Link
) -> None:
    met(ours, theirs)
    reset = theirs.reset_header()
    ours.restart()
    assert ours.receive(reset) is Verdict.DROP


def test_a_batch_written_to_a_generation_that_is_over_is_stale(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    ours.restart()
    assert ours.receive(theirs.next_header()) is Verdict.STALE


def test_a_peer_that_began_anew_is_a_loss_with_its_first_batch(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    theirs.restart()
    assert ours.receive(theirs.next_header()) is Verdict.LOST
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER


def test_a_new_generation_without_its_first_batch_is_a_gap(ours: Link, theirs: Link) -> None:
    met(ours, theirs)
    theirs.restart()
    theirs.next_header()
    assert ours.receive(theirs.next_header()) is Verdict.GAP


def test_a_batch_of_the_peers_older_generation_is_dropped(ours: Link, theirs: Link) -> None:
    old = LinkHeader(theirs.gen, 0, 0, 0, 0)
    theirs.restart()
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER
    assert ours.receive(old) is Verdict.DROP


@pytest.mark.parametrize("disturb", [Link.restart, lambda link: link.next_header()])
def test_both_sides_deliver_again_after_a_disturbance(
    ours: Link, theirs: Link, disturb: Callable[[Link], object]
) -> None:
    met(ours, theirs)
    disturb(theirs)
    for _ in range(3):
        for link, peer in ((ours, theirs), (theirs, ours)):
            if link.receive(peer.next_header()) in (Verdict.GAP, Verdict.STALE):
                assert peer.receive(link.reset_header()) in (Verdict.LOST, Verdict.DROP)
    assert ours.receive(theirs.next_header()) is Verdict.DELIVER
    assert theirs.receive(ours.next_header()) is Verdict.DELIVER


def test_a_reset_header_is_flagged_and_unnumbered(ours: Link) -> None:
    ours.next_header()
    assert ours.reset_header() == LinkHeader(ours.gen, 0, 0, 0, FLAG_RESET)
