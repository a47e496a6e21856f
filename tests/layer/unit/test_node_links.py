"""Nodes whose entries are lost, refused or held back, and peers that forget or end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.layer.endpoints import INTERFACE, WORKER, Owner, Runner, opening

from gateway_layer.codec import pack
from gateway_layer.errors import LayerUnavailable
from gateway_layer.link import CAPACITY_BYTES
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.session import State
from gateway_layer.wire import DATA, FLAG_BYE, LinkHeader, envelope_head, read_entry, write_entry


class Unreliable(MemoryLayer):
    """Loses entries, or refuses to take them, at will."""

    def __init__(self, broker: MemoryBroker, pid: str) -> None:
        super().__init__(broker, pid=pid)
        self.headers: list[LinkHeader] = []
        self.loses = self.unavailable = self.away = False

    @property
    def available(self) -> bool:
        return super().available and not self.away

    def deliver(self, pid: str, entry: bytes) -> None:
        if self.unavailable or self.away:
            raise LayerUnavailable("the lease of this process has lapsed")
        header = read_entry(entry).link
        assert header is not None
        self.headers.append(header)
        if not self.loses:
            super().deliver(pid, entry)

    def leave(self) -> None:
        """Redis is not to be reached any more."""
        self.away = True
        self.on_lost()

    def come_back(self) -> None:
        self.away = False
        self.on_available()


class Pair:
    """An interface server's node and a worker's."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.layers = (Unreliable(self.broker, INTERFACE), Unreliable(self.broker, WORKER))
        self.interface, self.worker = map(Node, self.layers)

    async def bound(self, connection: str = "c") -> tuple[Owner, Runner]:
        owner = Owner(connection, on_mark=self.interface.mark)
        runner = Runner(opening(connection, owner.next_epoch()), on_mark=self.worker.mark)
        self.interface.sessions[connection] = owner
        self.worker.sessions[connection] = runner
        self.worker.mark(runner)
        await until(lambda: owner.state is State.BOUND)
        return owner, runner


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


async def turns(count: int = 20) -> None:
    """Let all arrive that is under way."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    for layer in pair.layers:
        await layer.start()
    yield pair
    for node in (pair.interface, pair.worker):
        node.close()
    for layer in pair.layers:
        await layer.close()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let links look at themselves, and ask, after hundredths of seconds."""
    monkeypatch.setattr("gateway_layer.node._TICK_S", 0.01)
    monkeypatch.setattr("gateway_layer.link._PROBE_S", 0.03)


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


def texts(owner: Owner) -> list[str]:
    return [one["text"] for one in owner.events]


# Losses that no session notices.


async def test_a_lost_entry_arrives_late_and_in_order(pair: Pair) -> None:
    owner, runner = await pair.bound()
    pair.layers[1].loses = True
    runner.emit([event("lost")], 1)
    await turns()
    pair.layers[1].loses = False
    runner.emit([event("after it")], 1)
    await until(lambda: texts(owner) == ["lost", "after it"])
    assert (owner.told("lost"), runner.told("lost")) == ([], [])
    assert pair.worker.resent == 2


@pytest.mark.usefixtures("fast")
async def test_a_last_entry_that_is_lost_is_asked_for(pair: Pair) -> None:
    owner, runner = await pair.bound()
    pair.layers[1].loses = True
    runner.emit([event()], 1)
    await turns()
    pair.layers[1].loses = False
    await until(lambda: texts(owner) == ["x"])


@pytest.mark.usefixtures("fast")
async def test_what_the_layer_does_not_take_leaves_later(pair: Pair) -> None:
    owner, runner = await pair.bound()
    pair.layers[1].unavailable = True
    for text in "abc":
        runner.emit([event(text)], 1)
        await turns()
    pair.layers[1].unavailable = False
    runner.emit([event("d")], 1)
    await until(lambda: texts(owner) == ["a", "b", "c", "d"])
    assert runner.told("lost") == []


async def test_what_was_under_way_when_redis_left_is_there_when_it_is_back(pair: Pair) -> None:
    owner, runner = await pair.bound()
    pair.layers[1].loses = True
    runner.emit([event("lost")], 1)
    await turns()
    pair.layers[1].loses = False
    pair.layers[1].leave()
    runner.emit([event("meanwhile")], 1)
    await turns()
    assert texts(owner) == []
    pair.layers[1].come_back()
    await turns(60)  # long before a timer would ask
    assert texts(owner) == ["lost", "meanwhile"]
    assert (owner.told("lost"), runner.told("lost")) == ([], [])


async def test_a_reader_that_lost_its_connection_has_the_others_ask(pair: Pair) -> None:
    owner, runner = await pair.bound()
    pair.layers[1].loses = True  # popped, say, into the reader's dead socket
    runner.emit([event()], 1)
    await turns()
    pair.layers[1].loses = False
    pair.layers[0].on_available()
    await turns(60)  # long before a timer would ask
    assert texts(owner) == ["x"]


@pytest.mark.usefixtures("fast")
async def test_an_idle_link_falls_silent(pair: Pair) -> None:
    _, runner = await pair.bound()
    runner.emit([event()], 1)
    link = pair.worker.link(INTERFACE)
    await until(lambda: link.settled)
    before = len(pair.layers[0].headers), len(pair.layers[1].headers)
    started = asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() - started > 0.2)
    assert (len(pair.layers[0].headers), len(pair.layers[1].headers)) == before
    assert pair.worker.resent == 0


# A peer that takes nothing.


async def test_a_full_link_is_told_and_wakes_the_sessions_of_its_peer(pair: Pair) -> None:
    _, runner = await pair.bound()
    other = Runner(opening("other"), interface="elsewhere", on_mark=pair.worker.mark)
    pair.worker.sessions["other"] = other
    pair.layers[1].loses = True
    pair.worker.send(INTERFACE, [pack(("nobody", DATA, 1, bytes(CAPACITY_BYTES)))])
    assert pair.worker.full == {INTERFACE}
    assert pair.worker.link(INTERFACE).full
    pair.layers[1].loses = False
    pair.layers[1].on_available()
    await until(lambda: pair.worker.link(INTERFACE).settled or not pair.worker.full)
    assert (runner.told("credit"), other.told("credit")) == ([None], [])


@pytest.mark.usefixtures("fast")
async def test_a_peer_that_takes_nothing_for_long_is_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway_layer.node.STUCK_S", 0.2)
    owner, runner = await pair.bound()
    pair.layers[1].loses = True
    pair.worker.send(INTERFACE, [pack(("nobody", DATA, 1, bytes(CAPACITY_BYTES)))])
    await until(lambda: bool(runner.told("lost")))
    assert runner.told("lost") == ["the peer process takes nothing"]
    assert pair.worker.full == set()
    assert "is alive and takes nothing" in caplog.text
    pair.layers[1].loses = False
    await until(lambda: bool(owner.told("lost")))
    later, _ = await pair.bound("later")
    assert later.told("lost") == []


def test_a_peer_is_given_up_later_than_its_loop_may_hang() -> None:
    from gateway_layer.node import STUCK_S
    from gateway_layer.redis.liveness import _HANG_S

    assert STUCK_S == 40.0
    assert STUCK_S > _HANG_S


# Those who forget.


async def test_who_was_held_for_dead_ends_what_it_had_under_way(pair: Pair) -> None:
    owner, runner = await pair.bound()
    waiting = Owner("waiting")
    pair.interface.sessions["waiting"] = waiting
    fenced: list[None] = []
    pair.interface.on_fenced = lambda: fenced.append(None)
    pair.broker.fence(INTERFACE)
    assert runner.told("lost") == ["the peer process died"]
    assert owner.told("lost") == ["this process stood still and was held for dead"]
    assert (waiting.calls, fenced) == ([], [None])


async def test_later_sessions_with_who_has_rejoined_work(pair: Pair) -> None:
    pair.interface.on_fenced = pair.layers[0].rejoin
    await pair.bound()
    pair.broker.fence(INTERFACE)
    await turns()
    later, runner = await pair.bound("later")
    later.emit([event("question")], 1)
    await until(lambda: bool(runner.inbox))
    runner.emit([event("answer")], 1)
    await until(lambda: texts(later) == ["answer"])
    assert (later.told("lost"), runner.told("lost")) == ([], [])


async def test_a_peer_that_has_forgotten_ends_the_sessions_with_it_alone(pair: Pair) -> None:
    owner, _ = await pair.bound()
    waiting = Owner("waiting")
    pair.interface.sessions["waiting"] = waiting
    pair.layers[1].on_fenced()
    pair.layers[1].on_available()
    await until(lambda: bool(owner.told("lost")))
    assert owner.told("lost") == ["the peer process has forgotten this connection"]
    assert waiting.calls == []


async def test_what_a_process_wrote_before_it_was_held_for_dead_counts_no_more(pair: Pair) -> None:
    """Its first entry, which knows no generation, could have come late."""
    frames: list[tuple[Any, ...]] = []
    pair.interface.on_unknown = lambda _sender, frame: frames.append(frame)
    early = write_entry(
        envelope_head(WORKER), LinkHeader(1, 0, 0, 0, 0), [pack(("c", DATA, 1, (), None, None))]
    )
    pair.broker.kill(WORKER)
    pair.layers[0].on_inbox([early])
    assert frames == []


# The end of a process.


async def test_a_process_settles_when_everybody_has_everything(pair: Pair) -> None:
    owner, runner = await pair.bound()
    runner.emit([event()], 1)
    async with asyncio.timeout(20):
        assert await pair.worker.settle(10)
    assert texts(owner) == ["x"]
    assert pair.worker.link(INTERFACE).settled


async def test_a_loss_is_made_good_before_the_end(pair: Pair) -> None:
    owner, runner = await pair.bound()
    pair.layers[1].loses = True
    runner.emit([event()], 1)
    pair.worker.flush()
    pair.layers[1].loses = False
    assert await pair.worker.settle(10)
    assert texts(owner) == ["x"]


async def test_nobody_is_waited_for_longer_than_allowed(pair: Pair) -> None:
    _, runner = await pair.bound()
    pair.layers[1].loses = True
    runner.emit([event()], 1)
    assert not await pair.worker.settle(0.05)


async def test_nobody_waits_for_the_dead(pair: Pair) -> None:
    _, runner = await pair.bound()
    pair.layers[1].loses = True
    runner.emit([event()], 1)
    settling = asyncio.create_task(pair.worker.settle(20))
    await turns()
    pair.broker.kill(INTERFACE)
    async with asyncio.timeout(10):
        assert await settling


async def test_a_farewell_is_a_death_that_needs_no_lease(pair: Pair) -> None:
    owner, _ = await pair.bound()
    dead: list[str] = []
    pair.interface.on_dead = dead.append
    pair.worker.close()
    await turns()
    assert pair.layers[1].headers[-1].flags == FLAG_BYE
    assert (dead, owner.told("lost")) == ([WORKER], ["the peer process died"])


async def test_a_farewell_that_redis_does_not_take_is_no_error(pair: Pair) -> None:
    await pair.bound()
    pair.layers[1].unavailable = True
    pair.worker.close()
