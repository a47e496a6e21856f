"""Suspects are opened again one at a time."""

import asyncio

import pytest

from gateway_layer.owner.trials import Trials


class Court:
    """Trials, and whose have begun."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.trials: Trials[str] = Trials(lambda name, until: self.begun.append((name, until)))
        for number, name in enumerate(("first", "second", "third")):
            self.trials.add(name, 10.0 + number)


@pytest.fixture
def court() -> Court:
    return Court()


async def test_one_is_tried_at_a_time(court: Court) -> None:
    assert court.begun == [("first", 10.0)]
    court.trials.over("first")
    assert court.begun == [("first", 10.0), ("second", 11.0)]


async def test_who_lasts_has_passed(court: Court) -> None:
    court.trials.claimed("first")
    async with asyncio.timeout(10):
        while len(court.begun) < 2:  # noqa: ASYNC110 - a trial tells nobody of its end
            await asyncio.sleep(0.01)
    assert court.begun[1][0] == "second"


async def test_trial_lasts_until_somebody_has_claimed_it(court: Court) -> None:
    court.trials.claimed("second")  # which is not tried
    await asyncio.sleep(0.4)
    assert len(court.begun) == 1


async def test_who_is_gone_is_not_tried(court: Court) -> None:
    court.trials.over("second")
    court.trials.over("first")
    assert [name for name, _until in court.begun] == ["first", "third"]
    assert not court.trials.waiting
