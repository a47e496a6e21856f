"""Nodes over the memory layer: what one turn sends, and what hostile entries do to whom."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.layer.endpoints import INTERFACE, WORKER, Owner, Runner, opening, packed

from gateway_layer.base import message_frame
from gateway_layer.codec import pack, unpack
from gateway_layer.errors import LayerUnavailable
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.session import State
from gateway_layer.wire import (
    CLAIM,
    CREDIT,
    DATA,
    DEAD,
    DONE,
    EVENTS,
    MESSAGE,
    RESET,
    LinkHeader,
    envelope_head,
    read_entry,
    write_entry,
)

FOREIGN: list[Any] = [None, True, -1, 7, 2**63, 0.5, "x", b"x", (), (1,), ({},), {}, {"a": (1,)}]


class Recorder(MemoryLayer):
    """A memory layer that writes down what is delivered through it."""

    def __init__(self, broker: MemoryBroker, pid: str) -> None:
        super().__init__(broker, pid=pid)
        self.entries: list[tuple[str, bytes]] = []
        self.full = False

    def deliver(self, pid: str, entry: bytes) -> None:
        if self.full:
            raise LayerUnavailable("64 MiB wait")
        self.entries.append((pid, entry))
        super().deliver(pid, entry)


class Pair:
    """An interface server's node and a worker's."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.layers = (Recorder(self.broker, INTERFACE), Recorder(self.broker, WORKER))
        self.interface, self.worker = map(Node, self.layers)

    def connect(self, connection: str) -> tuple[Owner, Runner]:
        """A connection that the worker is about to claim."""
        owner = Owner(connection, on_mark=self.interface.mark)
        runner = Runner(opening(connection, owner.next_epoch()), on_mark=self.worker.mark)
        self.interface.sessions[connection] = owner
        self.worker.sessions[connection] = runner
        self.worker.mark(runner)
        return owner, runner

    async def bound(self, connection: str = "c") -> tuple[Owner, Runner]:
        owner, runner = self.connect(connection)
        await settled()
        assert owner.state is State.BOUND
        return owner, runner


async def settled() -> None:
    """Wait until all that is under way has arrived, and what it called for."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def joined() -> AsyncIterator[Pair]:
    pair = Pair()
    for layer in pair.layers:
        await layer.start()
    yield pair
    for layer in pair.layers:
        await layer.close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with joined() as pair:
        yield pair


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gateway.layer")
    return caplog


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


def entry(*frames: Any, sender: str = WORKER, link: LinkHeader | None = None) -> bytes:
    return write_entry(envelope_head(sender), link, [pack(frame) for frame in frames])


# One turn's output.


async def test_what_all_sessions_say_in_a_turn_is_one_entry(pair: Pair) -> None:
    owners = [pair.connect(f"c{number}")[0] for number in range(50)]
    await settled()
    assert [pid for pid, _ in pair.layers[1].entries] == [INTERFACE]
    assert {owner.state for owner in owners} == {State.BOUND}


async def test_a_session_marked_twice_in_a_turn_is_asked_once(pair: Pair) -> None:
    owner, _ = await pair.bound()
    owner.emit([event("a")], 1)
    owner.emit([event("b")], 1)
    await settled()
    (_, raw) = pair.layers[0].entries[-1]
    assert [frame[5] for frame in read_entry(raw).frames] == [(event("a"), event("b"))]


async def test_flush_sends_now_and_the_end_of_the_turn_no_more(pair: Pair) -> None:
    owner, _ = await pair.bound()
    before = len(pair.layers[0].entries)
    owner.emit([event()], 1)
    pair.interface.flush()
    assert len(pair.layers[0].entries) == before + 1
    await settled()
    assert len(pair.layers[0].entries) == before + 1


async def test_a_session_without_a_peer_sends_nothing(pair: Pair) -> None:
    session = Owner(on_mark=pair.interface.mark)
    session.drained(10_000)
    await settled()
    assert pair.layers[0].entries == []


async def test_a_large_turn_is_split_into_entries_and_arrives_in_order(pair: Pair) -> None:
    pairs = [await pair.bound(f"c{number}") for number in range(5)]
    for owner, _ in pairs:
        owner.emit([{"type": "t", "bytes": b"x" * 60_000}], 1)
    await settled()
    assert sum(pid == WORKER for pid, _ in pair.layers[0].entries) == 3
    assert [len(runner.inbox) for _, runner in pairs] == [1] * 5


async def test_a_conversation_goes_both_ways(pair: Pair) -> None:
    owner, runner = await pair.bound()
    owner.emit([event("question")], 1)
    await settled()
    assert runner.take_event() == event("question")
    runner.emit([event("answer")], 1)
    runner.confirm()
    await settled()
    assert (owner.events, owner.told("confirmed")) == ([event("answer")], [1])


# Frames for nobody here.


async def test_a_frame_for_an_unknown_connection_may_be_answered(pair: Pair) -> None:
    _, runner = await pair.bound()
    del pair.interface.sessions["c"]
    pair.interface.on_unknown = lambda _sender, frame: packed(frame[0], RESET, frame[2])
    runner.emit([event()], 1)
    runner.finish("returned")
    await settled()
    assert len(runner.told("lost")) == 2


async def test_a_frame_for_an_unknown_connection_is_else_forgotten(pair: Pair) -> None:
    _, runner = await pair.bound()
    del pair.interface.sessions["c"]
    runner.emit([event()], 1)
    await settled()
    assert (runner.told("lost"), pair.interface.dropped) == ([], 0)


# What cannot be read.


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage",
        b"",
        pack("text"),
        pack((2, "later", None, ())),
        pack((1, "pid", (1, 2), ())),
        pack((1, "pid", None, 5)),
    ],
)
async def test_an_unreadable_entry_is_counted_and_harms_nobody(pair: Pair, raw: bytes) -> None:
    owner, runner = await pair.bound()
    pair.layers[0].on_inbox([raw, raw])
    runner.emit([event()], 1)
    await settled()
    assert (pair.interface.dropped, owner.events) == (2, [event()])


async def test_unknown_versions_are_logged_once_for_each_sender(
    pair: Pair, log: pytest.LogCaptureFixture
) -> None:
    for sender in ("one", "two", "one", "two", "one"):
        pair.layers[0].on_inbox([pack((9, sender, None, ()))])
    assert pair.interface.dropped == 5
    assert len(log.records) == 2
    assert all("version 9 from" in record.getMessage() for record in log.records)


async def test_log_lines_about_strangers_have_an_end(
    pair: Pair, log: pytest.LogCaptureFixture
) -> None:
    pair.layers[0].on_inbox(
        [pack((9, f"{number}{'x' * 9999}", None, ())) for number in range(1100)]
    )
    assert pair.interface.dropped == 1100
    assert len(log.records) == 1000
    assert max(len(record.getMessage()) for record in log.records) < 400


FRAMES_TO_OWNER = {
    "claim": ("c", CLAIM, 1, (event(),), 0, None, 256),
    "data": ("c", DATA, 1, (event(),), 0, None),
    "done": ("c", DONE, 1, "error"),
}
FRAMES_TO_RUNNER = {
    "events": ("c", EVENTS, 1, 0, 1, (event(),)),
    "credit": ("c", CREDIT, 1, 50_000),
    "reset": ("c", RESET, 1),
}


def spoiled(frame: tuple[Any, ...]) -> list[Any]:
    """A frame with each field replaced by each foreign value, cut short, or something else."""
    replaced = [
        (*frame[:at], value, *frame[at + 1 :]) for at in range(len(frame)) for value in FOREIGN
    ]
    short = [frame[:length] for length in range(len(frame))]
    return [*replaced, *short, (*frame, 1), *FOREIGN]


@pytest.mark.parametrize("name", FRAMES_TO_OWNER)
async def test_no_spoiled_frame_to_an_interface_harms_a_neighbour(name: str) -> None:
    for frame in spoiled(FRAMES_TO_OWNER[name]):
        async with joined() as pair:
            await pair.bound()
            neighbour, runner = await pair.bound("neighbour")
            pair.worker.send(INTERFACE, [pack(frame)])
            runner.emit([event("still here")], 1)
            await settled()
            assert neighbour.told("lost") == neighbour.told("malformed") == []
            assert neighbour.events == [event("still here")]


@pytest.mark.parametrize("name", FRAMES_TO_RUNNER)
async def test_no_spoiled_frame_to_a_worker_harms_a_neighbour(name: str) -> None:
    for frame in spoiled(FRAMES_TO_RUNNER[name]):
        async with joined() as pair:
            await pair.bound()
            owner, neighbour = await pair.bound("neighbour")
            pair.interface.send(WORKER, [pack(frame)])
            owner.emit([event("still here")], 1)
            await settled()
            assert neighbour.told("lost") == []
            assert [one for _, one in neighbour.inbox] == [event("still here")]


async def test_a_malformed_frame_of_the_bound_worker_ends_its_connection(
    pair: Pair, log: pytest.LogCaptureFixture
) -> None:
    owner, _ = await pair.bound()
    pair.worker.send(INTERFACE, [packed("c", DATA, 1), packed("c", DATA, 1)])
    await settled()
    assert (pair.interface.dropped, len(owner.told("malformed"))) == (2, 2)
    assert len(log.records) == 1
    assert "a frame of 'worker'" in log.records[0].getMessage()


async def test_a_malformed_frame_of_a_third_process_ends_nothing(pair: Pair) -> None:
    owner, _ = await pair.bound()
    link = LinkHeader(1, 0, 0, 0, 0)
    pair.layers[0].on_inbox([entry(("c", DATA), sender="third", link=link)])
    assert (pair.interface.dropped, owner.told("malformed")) == (1, [])


async def test_a_malformed_claim_ends_the_connection_that_it_claims(pair: Pair) -> None:
    owner, _ = pair.connect("c")
    link = LinkHeader(1, 0, 0, 0, 0)
    pair.layers[0].on_inbox([entry(("c", CLAIM, 1), sender="other", link=link)])
    assert len(owner.told("malformed")) == 1


# Messages and words outside of any link.


async def test_a_message_reaches_its_channel(pair: Pair) -> None:
    got: list[Any] = []
    pair.interface.channels["local"] = got.append
    await pair.layers[1].send(f"{INTERFACE}!local", {"type": "hello"})
    await settled()
    assert got == [{"type": "hello"}]


@pytest.mark.parametrize("foreign", [value for value in FOREIGN if not isinstance(value, dict)])
async def test_a_message_that_is_none_is_dropped(pair: Pair, foreign: object) -> None:
    got: list[Any] = []
    pair.interface.channels["local"] = got.append
    pair.layers[0].on_inbox([entry(("local", MESSAGE, 0, foreign))])
    assert (got, pair.interface.dropped) == ([], 1)


@pytest.mark.parametrize(
    "frame",
    [
        ("nobody", MESSAGE, 0, {}),
        ("c", DATA, 1, (event(),), None, None),
        ("", DEAD, 0, 5),
        ("", DEAD, 0),
        ("", 99, 0),
        ({}, MESSAGE, 0, {}),
        (),
        5,
    ],
)
async def test_other_words_are_counted_and_dropped(pair: Pair, frame: Any) -> None:
    owner, _ = await pair.bound()
    pair.layers[0].on_inbox([entry(frame)])
    assert (pair.interface.dropped, owner.events) == (1, [])


@pytest.mark.parametrize("local", ["a", "x" * 64])
def test_a_message_is_a_frame(local: str) -> None:
    frame = message_frame(local, pack({"a": 1}))
    assert unpack(frame) == (local, MESSAGE, 0, {"a": 1})


# Deaths and losses.


async def test_a_death_ends_the_sessions_with_it_alone(pair: Pair) -> None:
    owner, _ = await pair.bound()
    waiting = Owner("waiting")
    pair.interface.sessions["waiting"] = waiting
    dead: list[str] = []
    pair.interface.on_dead = dead.append
    pair.broker.kill(WORKER)
    assert owner.told("lost") == ["the peer process died"]
    assert (waiting.calls, dead) == ([], [WORKER])


async def test_a_supervisors_word_is_a_death_once_earlier_words_have_come(pair: Pair) -> None:
    owner, _ = await pair.bound()
    dead = asyncio.Event()
    pair.interface.on_dead = lambda _pid: dead.set()
    pair.layers[0].on_inbox([entry(("", DEAD, 0, WORKER), sender="supervisor")])
    assert owner.told("lost") == []
    async with asyncio.timeout(5):
        await dead.wait()
    assert owner.told("lost") == ["the peer process died"]


async def test_sessions_outlive_a_loss_of_redis(pair: Pair) -> None:
    owner, runner = await pair.bound()
    told: list[str] = []
    pair.interface.on_lost = lambda: told.append("lost")
    pair.interface.on_available = lambda: told.append("available")
    pair.broker.lose()
    owner.emit([event("to the worker")], 1)
    runner.emit([event("to the client")], 1)
    await settled()
    assert told == ["lost", "available"]
    assert (owner.told("lost"), runner.told("lost")) == ([], [])
    assert (len(runner.inbox), owner.events) == (1, [event("to the client")])


# Pulls that were cut.


async def test_pull_that_was_cut_is_told_to_who_has_no_link(pair: Pair) -> None:
    told: list[str] = []
    pair.interface.on_pull_lost = lambda: told.append("interface")
    pair.worker.on_pull_lost = lambda: told.append("worker")
    pair.layers[1].on_pull_lost()
    await settled()
    assert told == ["interface"]


async def test_pull_that_was_cut_with_all_else_is_told_when_redis_is_back(pair: Pair) -> None:
    told: list[str] = []
    pair.interface.on_pull_lost = lambda: told.append("interface")
    pair.layers[1].full = True
    pair.layers[1].on_pull_lost()
    await settled()
    assert told == []
    pair.layers[1].full = False
    pair.layers[1].on_available()
    pair.layers[1].on_available()
    await settled()
    assert told == ["interface"]
