"""Who is gone, and who is only unknown, as one pusher sees it."""

import pytest

from gateway_layer.errors import ChannelFull, ConnectionGone, GatewayError, LayerUnavailable
from gateway_layer.push.frames import PUSH_CAPACITY
from gateway_layer.push.owners import LOST_S, Owners, ProcessUnknown
from gateway_layer.push.requests import group_results

GONE, UNKNOWN = -1, -3
NOBODY = [GONE, b""]


@pytest.fixture
def owners() -> Owners:
    return Owners()


def test_what_is_on_its_way_is_no_error(owners: Owners) -> None:
    assert owners.error_of(1, "p", 0.0) is None


def test_full_list_is_a_full_channel(owners: Owners) -> None:
    error = owners.error_of(-2, "p", 0.0)
    assert isinstance(error, ChannelFull)
    assert (error.channel, error.capacity) == ("p:push", PUSH_CAPACITY)


def test_who_is_not_known_is_gone(owners: Owners) -> None:
    for now in (0.0, 1.0, 100.0):
        assert isinstance(owners.error_of([GONE, b"one.0"], "p", now), ConnectionGone)
        owners.error_of(1, "other", now)


def test_who_is_not_known_while_processes_come_back_is_unknown(owners: Owners) -> None:
    assert isinstance(owners.error_of([UNKNOWN, b"one.9"], "p", 0.0), LayerUnavailable)
    assert isinstance(owners.error_of([GONE, b"one.9"], "p", 0.1), ConnectionGone)


def test_who_is_not_known_in_other_data_than_before_is_unknown_for_a_while(owners: Owners) -> None:
    owners.see(b"one.0", 0.0)
    for now in (10.0, 10.0 + LOST_S * 0.9):
        assert isinstance(owners.error_of([GONE, b"two.0"], "p", now), ProcessUnknown)
    assert isinstance(owners.error_of([GONE, b"two.0"], "p", 10.0 + LOST_S), ConnectionGone)


def test_who_is_not_known_after_a_connection_broke_is_unknown_for_a_while(owners: Owners) -> None:
    owners.redis_was_away(0.0)
    assert isinstance(owners.error_of([GONE, b"one.0"], "p", LOST_S * 0.9), ProcessUnknown)
    assert isinstance(owners.error_of([GONE, b"one.0"], "p", LOST_S), ConnectionGone)


def test_where_there_never_was_a_gateway_nobody_is_unknown(owners: Owners) -> None:
    assert isinstance(owners.error_of(NOBODY, "p", 0.0), ConnectionGone)
    assert not owners.known


@pytest.mark.parametrize("reached", [False, True])
def test_gateway_of_which_nobody_is_known_is_given_up_in_the_end(
    owners: Owners, reached: bool
) -> None:
    if reached:
        owners.error_of(1, "p", 0.0)
    else:
        owners.see(b"one.0", 0.0)
    for now in (100.0, 150.0):
        assert isinstance(owners.error_of(NOBODY, "p", now), ProcessUnknown)
    assert isinstance(owners.error_of(NOBODY, "p", 160.0), ConnectionGone)
    owners.see(b"two.0", 200.0)
    owners.redis_was_away(0.0)
    assert isinstance(owners.error_of(NOBODY, "p", 300.0), ProcessUnknown)


def test_group_goes_without_owners_that_are_not_known(owners: Owners) -> None:
    unknown: GatewayError | None = owners.error_of([UNKNOWN, b"one.9"], "p", 0.0)
    assert group_results([("p", unknown), ("q", 2)]) == [("q", 2)]
    with pytest.raises(LayerUnavailable):
        group_results([("p", LayerUnavailable("away")), ("q", 2)])
