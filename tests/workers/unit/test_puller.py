"""When a worker asks for the next openings."""

import asyncio
from collections.abc import Sequence

from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_worker.puller import Puller


class _Worker:
    """Notes, in the first step of each batch, whether the next was asked for already."""

    def __init__(self, layer: MemoryLayer, limit: int) -> None:
        self._batches: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()
        self.puller = Puller(layer, "q", limit, self._on_openings, lambda: None)

    def _on_openings(self, puller: Puller, entries: Sequence[bytes]) -> None:
        puller.active += len(entries)
        asyncio.get_running_loop().call_soon(self._first_step, len(entries))

    def _first_step(self, count: int) -> None:
        self._batches.put_nowait((count, self.puller.pulling))

    async def next_batch(self) -> tuple[int, bool]:
        """Return how many came, and whether the next pull was under way at their first step."""
        async with asyncio.timeout(10):
            return await self._batches.get()


async def _worker(entries: int, limit: int = 100, *, start: bool = True) -> _Worker:
    layer = MemoryLayer(MemoryBroker())
    await layer.start()
    for _ in range(entries):
        layer.push("q", b"", lambda _place: None)
    worker = _Worker(layer, limit)
    worker.puller.batch.ran(1, 0.000_1)  # known to be quick; two are asked for
    if start:
        worker.puller.start()
    return worker


async def test_the_next_batch_waits_for_the_first_steps_of_the_last() -> None:
    worker = await _worker(entries=3)

    assert await worker.next_batch() == (2, False)


async def test_no_more_is_asked_for_than_there_is_room_for() -> None:
    worker = await _worker(entries=3, limit=2)

    assert await worker.next_batch() == (2, False)


async def test_an_ended_connection_makes_room_for_the_next() -> None:
    worker = await _worker(entries=3, limit=2)
    await worker.next_batch()
    worker.puller.ended()

    assert (await worker.next_batch())[0] == 1


async def test_no_more_is_asked_for_than_may_be_busy() -> None:
    worker = await _worker(entries=3, start=False)
    worker.puller.limit_to(4, lambda: 3)
    worker.puller.start()
    assert (await worker.next_batch())[0] == 1


async def test_with_as_many_busy_as_may_be_nothing_is_asked_for() -> None:
    worker = await _worker(entries=3, start=False)
    worker.puller.limit_to(4, lambda: 4)
    worker.puller.start()
    assert not worker.puller.pulling


async def test_a_limit_of_the_busy_does_not_raise_that_of_all() -> None:
    worker = await _worker(entries=3, limit=0, start=False)
    worker.puller.limit_to(5, lambda: 0)
    worker.puller.start()
    assert not worker.puller.pulling
