"""Channels of a connection where its instance is: numbers, early messages, what is handled."""

import asyncio

import pytest

from gateway_layer.channels.borrowed import Borrowed, Connection
from gateway_layer.channels.mailbox import Mailbox
from gateway_layer.codec import Message
from gateway_layer.redis.address import RedisAddress
from gateway_worker.instances.channels import Channels

LATER_MS = 2**42


class Served(Connection):
    """The connection of these tests."""

    owner = "i" * 22
    owner_reads = RedisAddress()

    def declare_resumable(self) -> None:
        raise AssertionError("nobody declares")

    def listen(self, prefix: str, expiry_ms: int, group_expiry_ms: int) -> None:
        raise AssertionError("nobody listens")

    def borrow(self, mailbox: Mailbox, prefix: str) -> Borrowed | None:
        raise AssertionError("nobody borrows")


class Fixture:
    """A connection's channels, and what their owner is told."""

    def __init__(self) -> None:
        self.mailbox = Mailbox(lambda _channel: 2)
        self.told: list[tuple[int, int]] = []
        self.channels = Channels(Served(), lambda *told: self.told.append(told), lambda: None)

    def make(self, *, lasting: bool = True) -> str:
        made = self.channels.make(self.mailbox, "specific", "c" * 22, lasting=lasting)
        return made.name if made is not None else ""

    def take(self, name: str) -> bytes:
        taken = self.mailbox.take(name, asyncio.get_running_loop())
        assert not isinstance(taken, asyncio.Future)
        return taken[1]


def message(payload: bytes) -> Message:
    return {"type": "gateway.message", "bytes": payload, "expires": LATER_MS}


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


async def test_channel_has_the_number_of_its_making(fixture: Fixture) -> None:
    names = [fixture.make(lasting=lasting) for lasting in (True, False, True)]
    local = f"specific.{'i' * 22}!{'c' * 22}"
    assert names == [f"{local}.1", "", f"{local}.3"]


async def test_message_that_comes_before_its_channel_waits_for_it(fixture: Fixture) -> None:
    fixture.channels.take_in(1, 1, (message(b"early"),))
    assert fixture.take(fixture.make()) == b"early"


async def test_asking_for_the_next_confirms_the_last(fixture: Fixture) -> None:
    name = fixture.make()
    fixture.channels.take_in(1, 1, (message(b"1"), message(b"2")))
    borrowed = fixture.mailbox.borrowed[name]
    borrowed.asked()
    assert fixture.take(name) == b"1"
    assert (fixture.told, fixture.channels.in_hand) == ([], True)
    borrowed.asked()
    assert (fixture.told, fixture.channels.in_hand) == ([(1, 1)], False)


async def test_message_over_capacity_counts_as_handled_with_the_one_before(
    fixture: Fixture,
) -> None:
    name = fixture.make()
    fixture.channels.take_in(1, 1, tuple(map(message, (b"1", b"2", b"3"))))
    assert fixture.mailbox.dropped == 1
    for _ in range(2):
        fixture.take(name)
    fixture.mailbox.borrowed[name].asked()
    assert fixture.told == [(1, 3)]


async def test_departing_instance_gets_no_more_and_confirms_what_it_had(fixture: Fixture) -> None:
    name = fixture.make()
    fixture.channels.take_in(1, 1, (message(b"1"), message(b"2")))
    assert fixture.take(name) == b"1"
    fixture.channels.depart()
    fixture.channels.take_in(1, 3, (message(b"3"),))
    assert fixture.mailbox.unread(name) == 0
    borrowed = fixture.mailbox.borrowed[name]
    borrowed.asked()
    assert fixture.told == [(1, 1)]
    assert borrowed.stays


async def test_asking_in_another_loop_confirms_in_its_own(fixture: Fixture) -> None:
    name = fixture.make()
    fixture.channels.take_in(1, 1, (message(b"1"),))
    fixture.take(name)

    async def ask() -> None:
        fixture.mailbox.borrowed[name].asked()

    await asyncio.to_thread(asyncio.run, ask())
    async with asyncio.timeout(10):
        while not fixture.told:  # noqa: ASYNC110 - the other loop tells nobody
            await asyncio.sleep(0.01)
    assert fixture.told == [(1, 1)]


async def test_nothing_is_left_in_the_layer_after_the_end(fixture: Fixture) -> None:
    name = fixture.make()
    fixture.channels.take_in(1, 1, (message(b"1"),))
    fixture.channels.end()
    assert fixture.mailbox.borrowed == {}
    assert fixture.mailbox.unread(name) == 0
