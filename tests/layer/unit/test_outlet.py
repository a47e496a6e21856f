from gateway_layer.outlet import TURN_BYTES, Outlet


class Asked:
    """An outlet, and what was called on its behalf."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.outlet = Outlet(lambda: self.calls.append("wanted"))

    def first(self) -> None:
        self.calls.append("first")

    def second(self) -> None:
        self.calls.append("second")


def test_it_begins_with_the_room_of_a_turn() -> None:
    assert Asked().outlet.room == TURN_BYTES


def test_a_flush_gives_the_room_of_a_turn() -> None:
    outlet = Asked().outlet
    outlet.room -= 3 * TURN_BYTES
    outlet.flushed(congested=False)
    assert outlet.room == TURN_BYTES


def test_a_congested_flush_leaves_no_room() -> None:
    outlet = Asked().outlet
    outlet.flushed(congested=True)
    assert outlet.room == 0


def test_waiting_asks_for_a_flush() -> None:
    asked = Asked()
    asked.outlet.when_room(asked.first)
    assert asked.calls == ["wanted"]


def test_who_waits_is_called_once_in_the_order_of_asking() -> None:
    asked = Asked()
    asked.outlet.when_room(asked.second)
    asked.outlet.when_room(asked.first)
    asked.calls.clear()
    asked.outlet.flushed(congested=False)
    asked.outlet.flushed(congested=False)
    assert asked.calls == ["second", "first"]


def test_asking_twice_is_asking_once() -> None:
    asked = Asked()
    asked.outlet.when_room(asked.first)
    asked.outlet.when_room(asked.first)
    asked.outlet.flushed(congested=False)
    assert asked.calls.count("first") == 1


def test_nobody_is_called_while_it_is_congested() -> None:
    asked = Asked()
    asked.outlet.when_room(asked.first)
    asked.calls.clear()
    asked.outlet.flushed(congested=True)
    assert asked.calls == []
    asked.outlet.flushed(congested=False)
    assert asked.calls == ["first"]


def test_who_asks_again_when_called_waits_for_the_next_flush() -> None:
    asked = Asked()
    outlet = asked.outlet

    def again() -> None:
        asked.calls.append("again")
        outlet.when_room(again)

    outlet.when_room(again)
    outlet.flushed(congested=False)
    assert asked.calls.count("again") == 1
    outlet.flushed(congested=False)
    assert asked.calls.count("again") == 2


def test_a_claim_takes_room() -> None:
    asked = Asked()
    assert asked.outlet.claim(1000, asked.first)
    assert asked.outlet.room == TURN_BYTES - 1000
    assert asked.calls == []


def test_the_last_claim_may_overdraw() -> None:
    asked = Asked()
    assert asked.outlet.claim(2 * TURN_BYTES, asked.first)
    assert asked.outlet.room == -TURN_BYTES


def test_a_claim_without_room_takes_nothing_and_waits() -> None:
    asked = Asked()
    asked.outlet.flushed(congested=True)
    assert not asked.outlet.claim(1, asked.first)
    assert asked.outlet.room == 0
    asked.outlet.flushed(congested=False)
    assert asked.calls == ["wanted", "first"]
