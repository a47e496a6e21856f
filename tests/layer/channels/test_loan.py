"""The connection that brings messages, lent to who answers: what leaves by it, in what order."""

import asyncio
import os
import signal

import pytest
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import SHORT_S, nothing_comes, numbers, waiting

from gateway_layer.channels import RedisChannelLayer, loan
from gateway_layer.channels.mailbox import Mailbox
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ChannelFull, LayerUnavailable
from gateway_layer.redis.pipe import Pipe


class Talk:
    """A layer that answers, and one that asks and holds the channel of the answers."""

    def __init__(self, make: MakeLayer) -> None:
        self.asking = make()
        self.layer = make()
        self.target = ""

    async def begin(self) -> None:
        self.target = await self.asking.new_channel()
        await self.asking.group_add("g", self.target)
        await self.layer.send(self.target, {"n": -1})  # connects
        assert await self.answers(1) == [-1]

    async def ask(self) -> None:
        """Have a message come to the layer, and be there when it has come."""
        own = await self.layer.new_channel()
        task = await waiting(self.layer, own)
        self.sending = asyncio.create_task(self.asking.send(own, {}))  # whoever waited were late
        await task

    async def answer(self, number: int) -> None:
        await self.layer.send(self.target, {"n": number})

    async def answers(self, count: int) -> list[int]:
        async with asyncio.timeout(10):
            return await numbers(self.asking, self.target, count)

    @property
    def reads(self) -> Pipe:
        """The connection that brings the layer its messages."""
        inbox = self.layer._state()._inbox
        assert inbox is not None
        return inbox.pipe


@pytest.fixture
async def talk(make: MakeLayer, monkeypatch: pytest.MonkeyPatch) -> Talk:
    monkeypatch.setattr(loan, "_LONGEST_S", 10.0)  # turns alone count, on however busy a machine
    talk = Talk(make)
    await talk.begin()
    return talk


async def test_an_answer_leaves_with_the_next_read(talk: Talk) -> None:
    await talk.ask()
    before = talk.reads.stats.commands
    await talk.answer(0)
    left = talk.reads.stats.commands - before
    assert left == len(["RPUSH", "PEXPIRE", "BLMPOP"])
    assert await talk.answers(1) == [0]


async def test_without_an_answer_the_next_read_leaves_alone(talk: Talk) -> None:
    other = asyncio.create_task(talk.layer.receive(await talk.layer.new_channel()))
    await talk.ask()
    before = talk.reads.stats.commands
    async with asyncio.timeout(5):
        while talk.reads.stats.commands == before:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    await talk.answer(0)
    assert talk.reads.stats.commands - before == len(["BLMPOP"])
    assert await talk.answers(1) == [0]
    other.cancel()


async def test_who_never_answers_is_lent_nothing(
    make: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mailbox, "ANSWERS", False)  # as that of a server that holds clients
    talk = Talk(make)
    await talk.begin()
    await talk.ask()
    before = talk.reads.stats.commands
    await talk.answer(0)
    assert talk.reads.stats.commands == before
    assert await talk.answers(1) == [0]


async def test_nothing_is_read_where_nobody_waits_or_answers(talk: Talk) -> None:
    await talk.ask()
    before = talk.reads.stats.commands
    await asyncio.sleep(SHORT_S)
    assert talk.reads.stats.commands == before


async def test_loop_that_stands_still_keeps_no_other_from_reading(talk: Talk) -> None:
    first, second = [await talk.layer.new_channel() for _ in range(2)]
    await talk.asking.send(first, {"n": 1})
    still = asyncio.new_event_loop()

    async def answer() -> None:
        await talk.answer(0)  # connects
        await talk.layer.receive(first)
        await talk.answer(1)

    try:
        await asyncio.to_thread(still.run_until_complete, asyncio.wait_for(answer(), 5))
        assert await talk.answers(2) == [0, 1]
        await talk.asking.send(second, {"n": 2})
        assert await asyncio.wait_for(numbers(talk.layer, second, 1), 1) == [2]
    finally:
        await asyncio.to_thread(still.run_until_complete, talk.layer.close_pools())
        still.close()


async def test_answers_of_one_turn_stay_in_order(talk: Talk) -> None:
    for _ in range(20):
        await talk.ask()
        await asyncio.gather(*(talk.answer(number) for number in range(10)))
        assert await talk.answers(10) == list(range(10))


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_what_follows_an_answer_stays_behind_it(talk: Talk, turns: int) -> None:
    for _ in range(20):
        await talk.ask()
        sends = []
        for number in range(0, 10, 2):
            sends.append(asyncio.create_task(talk.answer(number)))
            for _turn in range(turns):
                await asyncio.sleep(0)
            sends.append(asyncio.create_task(talk.layer.group_send("g", {"n": number + 1})))
        await asyncio.gather(*sends)
        assert await talk.answers(10) == list(range(10))


async def test_group_message_that_is_held_back_is_waited_for(
    talk: Talk, redis_server: EmbeddedServer
) -> None:
    await talk.ask()
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        answer = asyncio.create_task(talk.answer(0))
        await asyncio.sleep(0)
        behind = asyncio.create_task(talk.layer.group_send("g", {"n": 1}))
        done, _ = await asyncio.wait([answer, behind], timeout=0.1)
        assert not done
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await asyncio.wait_for(asyncio.gather(answer, behind), 5)
    assert await talk.answers(2) == [0, 1]


async def test_lost_connections_hold_nothing_back(talk: Talk, redis_server: EmbeddedServer) -> None:
    await talk.ask()
    os.kill(redis_server.pid, signal.SIGSTOP)
    answer = asyncio.create_task(talk.answer(0))
    await asyncio.sleep(0)
    talk.reads.drop(ConnectionError("cut by the test"))
    os.kill(redis_server.pid, signal.SIGCONT)
    with pytest.raises(LayerUnavailable):
        await asyncio.wait_for(answer, 5)
    await asyncio.wait_for(talk.answer(1), 5)
    got = await talk.answers(1)
    assert (got if got == [1] else await talk.answers(1)) == [1]
    await nothing_comes(talk.asking, talk.target)


async def test_reading_ahead_takes_no_more_than_a_channel_holds(make: MakeLayer) -> None:
    layer, sender = make(capacity=3), make(capacity=3)
    own = await layer.new_channel()
    task = await waiting(layer, own)
    await sender.send(own, {"n": -1})
    await task
    sent = await fill(sender, own)
    assert 3 <= sent <= 6
    assert await numbers(layer, own, sent) == list(range(sent))
    assert layer.statistics == {"dropped": 0, "expired": 0}


async def test_an_answer_reads_nothing_that_would_find_a_channel_full(make: MakeLayer) -> None:
    layer, sender = make(capacity=2), make(capacity=2)
    full, own = [await layer.new_channel() for _ in range(2)]
    task = await waiting(layer, own)
    for number in range(2):
        await sender.send(full, {"n": number})
    async with asyncio.timeout(5):
        while layer._mailbox.unread(full) < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
    await sender.send(own, {})
    await task
    await layer.send("answers", {})
    sent = await fill(sender, full)
    assert await numbers(layer, full, 2 + sent) == [0, 1, *range(sent)]
    assert layer.statistics == {"dropped": 0, "expired": 0}


async def fill(layer: RedisChannelLayer, channel: str) -> int:
    """Send, slowly enough for a reader, until a channel is full; return how many it took."""
    for sent in range(100):
        try:
            await layer.send(channel, {"n": sent})
        except ChannelFull:
            return sent
        await asyncio.sleep(0.01)
    raise AssertionError("a channel without an end")
