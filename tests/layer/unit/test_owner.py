"""What all connections of an interface server share, on the layer in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway_layer.codec import Message, pack
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.owner import Bounds, Owner, ResumableSession
from gateway_layer.session import State
from gateway_layer.wire import LOST, write_entry


class Client(ResumableSession):
    """A client of a protocol of its own, and the clock's view of its socket."""

    KIND = "line"

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self.told: list[object] = []
        self.stays = False

    def accept(self, event: Message) -> None:
        self.opened()

    def encode(self, payload: str | bytes) -> bytes:
        return repr(payload).encode()

    def refuse(self, status: int, reason: str) -> None:
        self.told.append(status)
        self.end_session(1006, reason)
        if not self.stays:
            self.owner.clients.discard(self)

    def close_client(self, code: int, reason: str, *, told: bool = False) -> None:
        raise AssertionError("it was never accepted")

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def sent(self, cost: int) -> None:
        self.drained(cost)

    def read_on(self) -> None:
        pass

    def push_frame(self, frame: bytes) -> bool:
        self.told.append(frame)
        return True

    def flushed(self) -> str | None:
        return None

    def info(self) -> dict[str, Any]:
        return {}

    def describe(self) -> str:
        return "a client"

    def on_deadline(self, now: float) -> None:
        self.on_expired()

    def abort(self) -> None:
        self.told.append("abort")
        self.owner.clients.discard(self)


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    layer = MemoryLayer(MemoryBroker(), "interface")
    owner = Owner(Node(layer), Bounds())
    await layer.start()
    yield owner
    await owner.close()
    await layer.close()


def connect(owner: Owner) -> Client:
    client = Client(owner)
    owner.clients.add(client)
    client.start("line", {"client": None})
    return client


async def pulled(owner: Owner) -> bytes:
    """Take the next opening out of the queue."""
    found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    owner.node.layer.pull("line", 1, lambda entries: found.set_result(entries[0]))
    async with asyncio.timeout(10):
        return await found


async def test_opening_that_a_cut_pull_took_is_pushed_again(owner: Owner) -> None:
    connect(owner)
    first = await pulled(owner)
    layer = owner.node.layer
    layer.deliver(layer.pid, write_entry(layer.head, None, [pack(("", LOST, 0))]))
    assert await pulled(owner) != first
    assert owner.openings.repeated == 1


async def test_drain_waits_until_all_clients_are_gone(owner: Owner) -> None:
    client = connect(owner)
    async with asyncio.timeout(10):
        await owner.drain(timeout_s=60)
    assert client.told == [503]
    assert client.state is State.CLOSED
    assert not owner.clients


async def test_client_that_does_not_go_is_cut_at_the_end(owner: Owner) -> None:
    client = connect(owner)
    client.stays = True
    await owner.drain(timeout_s=0.01)
    assert client.told == [503]
    await owner.close()
    assert client.told == [503, "abort"]


async def test_clock_tells_a_client_whose_deadline_has_passed(owner: Owner) -> None:
    client = connect(owner)
    client.deadline = owner.loop.time()
    running = asyncio.create_task(owner.run())
    async with asyncio.timeout(10):
        while not client.told:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert client.told == [504]


async def test_without_redis_for_longer_than_the_grace_all_are_told() -> None:
    layer = MemoryLayer(MemoryBroker(), "interface")
    owner = Owner(Node(layer), Bounds(redis_grace_s=0.0))
    await layer.start()
    client = connect(owner)
    running = asyncio.create_task(owner.run())
    layer.on_lost()
    async with asyncio.timeout(10):
        while not client.told:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert client.told == [503]
    await owner.close()
    await layer.close()
