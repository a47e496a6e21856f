"""A node whose layer takes no more, and what large messages look like on the way."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.layer.endpoints import INTERFACE, WORKER, Owner, Runner, opening

from gateway_layer.codec import Message
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.outlet import TURN_BYTES, Outlet
from gateway_layer.session import event_cost, split_event
from gateway_layer.wire import CHUNK_BYTES, CLAIM, DATA, EVENTS, MAX_ENTRY_BYTES, read_entry

WINDOW = 64 * 2**20
MIB = 2**20


class Recorder(MemoryLayer):
    """Writes down what is delivered through it, and is congested at will."""

    def __init__(self, broker: MemoryBroker, pid: str) -> None:
        super().__init__(broker, pid=pid)
        self.entries: list[bytes] = []
        self.full = False

    @property
    def congested(self) -> bool:
        return self.full

    def relieve(self) -> None:
        self.full = False
        self.on_room()

    def deliver(self, pid: str, entry: bytes) -> None:
        self.entries.append(entry)
        super().deliver(pid, entry)

    def frames(self, *ops: int) -> list[tuple[object, ...]]:
        """The frames delivered so far that are of these kinds."""
        return [frame for raw in self.entries for frame in read_entry(raw)[3] if frame[1] in ops]


class Careful(Owner):
    """An owner that sends what it held only as far as there is room, as clients' sessions do."""

    outlet: Outlet

    def claim_room(self, cost: int) -> bool:
        return self.outlet.claim(cost, self.release_held)


class Pair:
    """One connection, bound, between an interface server's node and a worker's."""

    def __init__(self) -> None:
        broker = MemoryBroker()
        self.layers = (Recorder(broker, INTERFACE), Recorder(broker, WORKER))
        self.interface, self.worker = map(Node, self.layers)
        self.owner = Careful(window=WINDOW, on_mark=self.interface.mark)
        self.owner.outlet = self.interface.outlet
        opened = opening("c", self.owner.next_epoch(), credit=WINDOW)
        self.runner = Runner(opened, window=WINDOW, on_mark=self.worker.mark)
        self.interface.sessions["c"] = self.owner
        self.worker.sessions["c"] = self.runner


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    for layer in pair.layers:
        await layer.start()
    yield pair
    for layer in pair.layers:
        await layer.close()


def message(size: int) -> tuple[list[Message], int]:
    whole: Message = {"type": "t", "bytes": bytes(size)}
    return split_event(whole, "bytes"), event_cost(whole)


# Room.


async def test_who_waits_for_room_is_called_though_nothing_was_sent(pair: Pair) -> None:
    called = asyncio.Event()
    pair.interface.outlet.room = -MIB
    pair.interface.outlet.when_room(called.set)
    async with asyncio.timeout(5):
        await called.wait()
    assert pair.interface.outlet.room == TURN_BYTES


async def test_a_turns_output_gives_the_room_back(pair: Pair) -> None:
    pair.worker.outlet.room = -MIB
    pair.worker.mark(pair.runner)
    await settled()
    assert pair.worker.outlet.room == TURN_BYTES


async def test_while_the_layer_is_congested_there_is_no_room(pair: Pair) -> None:
    called = asyncio.Event()
    pair.layers[1].full = True
    pair.worker.mark(pair.runner)
    await settled()
    assert pair.worker.outlet.room == 0
    pair.worker.outlet.when_room(called.set)
    await settled()
    assert not called.is_set()
    pair.layers[1].relieve()
    assert called.is_set()


async def test_held_events_wait_for_room_though_there_is_credit(pair: Pair) -> None:
    pair.owner.emit(*message(1000))  # nobody has claimed: it is held
    pair.layers[0].full = True
    pair.interface.outlet.flushed(congested=True)
    pair.worker.mark(pair.runner)
    await settled()
    assert pair.owner.worker == WORKER
    assert pair.layers[0].frames(EVENTS) == []
    pair.layers[0].relieve()
    await settled()
    assert len(pair.runner.inbox) == 1
    assert not pair.owner.congested


async def test_a_session_that_ended_releases_nothing_when_there_is_room(pair: Pair) -> None:
    pair.owner.emit(*message(1000))
    pair.layers[0].full = True
    pair.interface.outlet.flushed(congested=True)
    pair.worker.mark(pair.runner)
    await settled()
    pair.owner.close()
    pair.layers[0].relieve()
    await settled()
    assert pair.layers[0].frames(EVENTS) == []


# A large message.


def sizes(layer: Recorder) -> list[int]:
    """Sizes of the entries that hold events."""
    return [len(raw) for raw in layer.entries if len(raw) > 1000]


def assert_cut(layer: Recorder, total: int) -> None:
    found = sizes(layer)
    assert max(found) <= MAX_ENTRY_BYTES
    assert min(found[:-1]) >= CHUNK_BYTES
    assert total <= sum(found) < 1.01 * total


async def test_a_large_message_to_a_worker_travels_in_entries_of_about_a_chunk(pair: Pair) -> None:
    pair.worker.mark(pair.runner)
    await settled()
    pair.owner.emit(*message(5 * MIB))
    await settled()
    assert_cut(pair.layers[0], 5 * MIB)
    assert [len(event["bytes"]) for _, event in pair.runner.inbox] == [5 * MIB]


async def test_a_large_message_to_a_client_travels_in_entries_of_about_a_chunk(pair: Pair) -> None:
    pair.worker.mark(pair.runner)
    await settled()
    pair.runner.emit(*message(5 * MIB))
    await settled()
    assert_cut(pair.layers[1], 5 * MIB)
    assert sum(len(event["bytes"]) for event in pair.owner.events) == 5 * MIB


async def test_the_claim_comes_with_the_first_part_alone(pair: Pair) -> None:
    pair.runner.emit(*message(MIB))
    await settled()
    ops = [frame[1] for frame in pair.layers[1].frames(CLAIM, DATA)]
    assert ops[0] == CLAIM
    assert len(ops) > 10
    assert set(ops[1:]) == {DATA}


async def test_the_confirmation_comes_with_the_last_part_alone(pair: Pair) -> None:
    pair.runner.emit(*message(MIB))
    pair.runner.confirm()
    await settled()
    confirmed = [frame[4] for frame in pair.layers[1].frames(CLAIM, DATA)]
    assert len(confirmed) > 10
    assert set(confirmed[:-1]) == {None}
    assert confirmed[-1] == 0
    assert pair.owner.told("confirmed") == [0]


async def test_small_messages_of_a_turn_share_a_frame(pair: Pair) -> None:
    for _ in range(100):
        pair.runner.emit(*message(100))
    await settled()
    assert len(pair.layers[1].frames(CLAIM, DATA)) == 1
