"""Nodes when code of ours fails: no other connection is harmed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.layer.endpoints import INTERFACE, WORKER, Owner, Runner, opening

from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.session import State


class FailingOwner(Owner):
    """A session whose code has a fault."""

    def take_frames(self) -> list[bytes]:
        raise ZeroDivisionError

    def on_lost(self, reason: str) -> None:
        raise ZeroDivisionError

    def on_events(self, events: tuple[dict[str, Any], ...]) -> None:
        raise ZeroDivisionError


class Pair:
    """An interface server's node and a worker's."""

    def __init__(self) -> None:
        broker = MemoryBroker()
        self.layers = (MemoryLayer(broker, pid=INTERFACE), MemoryLayer(broker, pid=WORKER))
        self.interface, self.worker = map(Node, self.layers)

    async def bound(self, connection: str, owner_type: type[Owner] = Owner) -> tuple[Owner, Runner]:
        owner = owner_type(connection, on_mark=self.interface.mark)
        runner = Runner(opening(connection, owner.next_epoch()), on_mark=self.worker.mark)
        self.interface.sessions[connection] = owner
        self.worker.sessions[connection] = runner
        self.worker.mark(runner)
        await until(lambda: owner.state is State.BOUND)
        return owner, runner


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.001)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    for layer in pair.layers:
        await layer.start()
    yield pair
    for layer in pair.layers:
        await layer.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gateway.layer")
    return caplog


def event(text: str = "x") -> dict[str, Any]:
    return {"type": "t", "text": text}


async def test_a_fault_in_the_output_of_a_session_ends_it_alone(
    pair: Pair, log: pytest.LogCaptureFixture
) -> None:
    failing, _ = await pair.bound("failing", FailingOwner)
    owner, runner = await pair.bound("c")
    failing.emit([event()], 1)
    owner.emit([event()], 1)
    await until(lambda: bool(runner.inbox))
    assert len(failing.told("malformed")) == 1
    assert "output of connection failing failed" in log.text


async def test_a_fault_in_a_frame_of_a_batch_ends_its_connection_alone(
    pair: Pair, log: pytest.LogCaptureFixture
) -> None:
    failing, failing_runner = await pair.bound("failing", FailingOwner)
    owner, runner = await pair.bound("c")
    failing_runner.emit([event()], 1)
    runner.emit([event()], 1)
    await until(lambda: owner.events == [event()])
    assert len(failing.told("malformed")) == 1
    assert "ZeroDivisionError" in log.text


async def test_a_fault_in_the_end_of_a_session_keeps_no_other_from_its_own(
    pair: Pair, log: pytest.LogCaptureFixture
) -> None:
    await pair.bound("failing", FailingOwner)
    owner, _ = await pair.bound("c")
    pair.layers[0].on_peer_dead(WORKER)
    assert len(owner.told("lost")) == 1
    assert "ending a connection failed" in log.text


async def test_claim_of_an_instance_whose_owner_was_held_for_dead_is_not_sent(pair: Pair) -> None:
    owner = Owner("late", on_mark=pair.interface.mark)
    runner = Runner(opening("late", owner.next_epoch()), on_mark=pair.worker.mark)
    pair.interface.sessions["late"] = owner
    pair.worker.sessions["late"] = runner
    pair.worker.mark(runner)
    pair.layers[1].on_peer_dead(INTERFACE)  # who is alive after all
    _other, runner = await pair.bound("next")
    assert runner.peer == INTERFACE
    assert owner.state is State.QUEUED
