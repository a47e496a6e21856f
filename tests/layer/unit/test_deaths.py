"""Who is held for dead: never for what this process itself has missed, and as often as one dies."""

import pytest

from gateway_layer.redis.deaths import Deaths
from gateway_layer.redis.liveness import Renewal

PEER = "p" * 22


class Seen:
    """A process that looks at renewals, by a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.peers: dict[str, None] = {PEER: None}
        self.told: list[str] = []
        self.deaths = Deaths(
            13.0, self.peers.keys(), lambda _pid: None, self._on_dead, self._on_back, self._clock
        )

    def _clock(self) -> float:
        return self.now_s

    def _on_dead(self, pid: str) -> None:
        self.peers.pop(pid, None)
        self.told.append("dead")

    def _on_back(self, pid: str) -> None:
        self.told.append("back")

    def look(self, *, alive: bool, dead: bool = False, after_s: float = 3.0) -> None:
        self.now_s += after_s
        self.deaths.look(
            Renewal(
                sent_at_s=self.now_s,
                clock_offset_ms=0.0,
                data_id="",
                dead=(PEER,) if dead else (),
                alive=frozenset([PEER]) if alive else frozenset(),
                fenced=False,
            )
        )


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def test_long_absence_is_a_death(seen: Seen) -> None:
    for _ in range(5):
        seen.look(alive=False)
    assert seen.told == []
    seen.look(alive=False)
    assert seen.told == ["dead"]


async def test_absence_does_not_count_while_nobody_looked(seen: Seen) -> None:
    seen.look(alive=False)
    seen.look(alive=False, after_s=60.0)
    assert seen.told == []


async def test_a_tombstone_is_told_once(seen: Seen) -> None:
    for _ in range(3):
        seen.look(alive=False, dead=True)
    assert seen.told == ["dead"]


async def test_who_is_alive_after_all_is_told(seen: Seen) -> None:
    seen.look(alive=False, dead=True)
    seen.look(alive=True)
    seen.look(alive=True)
    assert seen.told == ["dead", "back"]


async def test_who_came_back_unseen_and_dies_is_dead_again(seen: Seen) -> None:
    seen.look(alive=False, dead=True)
    seen.peers[PEER] = None  # it has rejoined, and this process has written to it
    for _ in range(6):
        seen.look(alive=False)
    assert seen.told == ["dead", "dead"]
