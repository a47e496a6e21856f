"""The fence of a process: closed until its lease is renewed, and when it was held for dead."""

from collections.abc import Iterator

import pytest

from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import (
    Fence,
    boot_time_s,
    check_process,
    guard_process,
    release_process,
)


@pytest.fixture
def fence() -> Iterator[Fence]:
    """Guards this process, with a lease that lasts."""
    fence = Fence()
    fence.until_s = boot_time_s() + 3600
    guard_process(fence)
    yield fence
    fence.fenced = False
    release_process(fence)


def test_it_begins_closed() -> None:
    assert Fence().closed
    with pytest.raises(LayerUnavailable, match="lapsed"):
        Fence().check()


def test_it_is_open_as_long_as_the_lease(fence: Fence) -> None:
    assert not fence.closed
    fence.check()


def test_it_is_closed_when_the_lease_has_lapsed(fence: Fence) -> None:
    fence.until_s = boot_time_s() - 0.001
    assert fence.closed
    with pytest.raises(LayerUnavailable, match="retry"):
        fence.check()


def test_a_renewal_opens_it_again(fence: Fence) -> None:
    fence.until_s = boot_time_s() - 1
    fence.until_s = boot_time_s() + 3600
    fence.check()


def test_who_was_held_for_dead_writes_nothing_whatever_the_lease(fence: Fence) -> None:
    fence.fenced = True
    with pytest.raises(LayerUnavailable):
        fence.check()


def test_a_process_without_a_fence_may_write() -> None:
    check_process()


def test_the_fence_is_that_of_the_whole_process(fence: Fence) -> None:
    check_process()
    fence.until_s = boot_time_s() - 1
    with pytest.raises(LayerUnavailable):
        check_process()


def test_one_closed_fence_of_several_is_enough(fence: Fence) -> None:
    other = Fence()
    guard_process(other)
    with pytest.raises(LayerUnavailable):
        check_process()
    release_process(other)
    check_process()


def test_who_has_left_in_peace_is_asked_no_more(fence: Fence) -> None:
    fence.until_s = boot_time_s() - 1
    release_process(fence)
    check_process()


def test_who_was_held_for_dead_stays_fenced_after_its_end(fence: Fence) -> None:
    fence.fenced = True
    release_process(fence)
    with pytest.raises(LayerUnavailable):
        check_process()
