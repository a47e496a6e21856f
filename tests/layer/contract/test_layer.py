"""What `gateway_layer.base.ChannelLayer` promises, of each implementation."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.layer.contract.conftest import World

from gateway_layer.base import PULL_TIMEOUT_S, ChannelLayer
from gateway_layer.errors import ChannelFull, LayerUnavailable, MessageTooLarge
from gateway_layer.node import Node
from gateway_layer.wire import read_entry

TIMEOUT_S = 15.0


async def soon(future: "asyncio.Future[Any]") -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        return await future


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


def future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


def push(layer: ChannelLayer, entry: bytes, queue: str = "q") -> "asyncio.Future[Any]":
    placed = future()
    layer.push(queue, entry, placed.set_result)
    return placed


def pull(layer: ChannelLayer, count: int = 1, queue: str = "q") -> "asyncio.Future[Any]":
    pulled = future()
    layer.pull(queue, count, pulled.set_result)
    return pulled


async def recall(layer: ChannelLayer, entry: bytes, queue: str = "q") -> bool:
    recalled = future()
    layer.recall(queue, entry, recalled.set_result)
    found: bool = await soon(recalled)
    return found


async def find(layer: ChannelLayer, entry: bytes, queue: str = "q") -> bool | None:
    answered = future()
    layer.find(queue, entry, answered.set_result)
    found: bool | None = await soon(answered)
    return found


class TestQueues:
    async def test_the_oldest_entry_comes_first(self, world: World) -> None:
        layer = await world.join()
        for number in range(5):
            await soon(push(layer, b"%d" % number))
        assert [await soon(pull(layer)) for _ in range(5)] == [[b"%d" % n] for n in range(5)]

    async def test_entries_of_one_turn_keep_their_order(self, world: World) -> None:
        layer = await world.join()
        places = [push(layer, b"%d" % number) for number in range(5)]
        assert [await soon(place) for place in places] == [1, 2, 3, 4, 5]
        assert await soon(pull(layer, 5)) == [b"0", b"1", b"2", b"3", b"4"]

    async def test_a_pull_takes_no_more_than_its_count(self, world: World) -> None:
        layer = await world.join()
        for number in range(5):
            await soon(push(layer, b"%d" % number))
        assert await soon(pull(layer, 3)) == [b"0", b"1", b"2"]
        assert await soon(pull(layer, 3)) == [b"3", b"4"]

    async def test_a_pull_that_waits_gets_what_is_pushed(self, world: World) -> None:
        puller, pusher = await world.join(), await world.join()
        waiting = pull(puller)
        push(pusher, b"late")
        assert await soon(waiting) == [b"late"]

    async def test_a_pull_that_finds_nothing_ends_empty(self, world: World) -> None:
        layer = await world.join()
        started = asyncio.get_running_loop().time()
        assert list(await soon(pull(layer))) == []
        assert asyncio.get_running_loop().time() - started >= PULL_TIMEOUT_S * 0.9

    async def test_each_entry_goes_to_exactly_one_of_competing_pullers(self, world: World) -> None:
        pullers = [await world.join() for _ in range(3)]
        taken: list[bytes] = []

        async def work(layer: ChannelLayer) -> None:
            while len(taken) < 60:
                entries: Sequence[bytes] = await pull(layer, 4)
                taken.extend(entries)

        async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
            for layer in pullers:
                group.create_task(work(layer))
            for number in range(60):
                push(pullers[number % 3], b"%d" % number)
        assert sorted(taken) == sorted(b"%d" % number for number in range(60))

    async def test_queues_are_apart(self, world: World) -> None:
        layer = await world.join()
        await soon(push(layer, b"a", "one"))
        await soon(push(layer, b"b", "two"))
        assert await soon(pull(layer, 5, "two")) == [b"b"]
        assert await soon(pull(layer, 5, "one")) == [b"a"]

    async def test_an_entry_still_queued_can_be_recalled(self, world: World) -> None:
        layer = await world.join()
        for entry in (b"a", b"b", b"c"):
            await soon(push(layer, entry))
        assert await recall(layer, b"b") is True
        assert await soon(pull(layer, 5)) == [b"a", b"c"]

    async def test_an_entry_that_was_pulled_cannot_be_recalled(self, world: World) -> None:
        layer = await world.join()
        await soon(push(layer, b"a"))
        await soon(pull(layer))
        assert await recall(layer, b"a") is False

    async def test_an_entry_still_queued_is_found_and_stays(self, world: World) -> None:
        layer = await world.join()
        for entry in (b"a", b"b", b"c"):
            await soon(push(layer, entry))
        assert await find(layer, b"b") is True
        assert await soon(pull(layer, 5)) == [b"a", b"b", b"c"]

    async def test_an_entry_that_was_pulled_or_never_pushed_is_not_found(
        self, world: World
    ) -> None:
        layer = await world.join()
        await soon(push(layer, b"a"))
        await soon(pull(layer))
        await soon(push(layer, b"b"))
        assert await find(layer, b"a") is False
        assert await find(layer, b"b", "other") is False

    async def test_an_entry_that_was_lost_is_not_found(self, world: World) -> None:
        layer = await world.join()
        await soon(push(layer, b"a"))
        world.lose_data()
        await until(lambda: layer.available)
        assert await find(layer, b"a") is False

    async def test_without_the_store_nobody_knows(self, world: World) -> None:
        layer = world.stranger()
        await layer.start()
        await soon(push(layer, b"a"))
        await layer.close()
        assert await find(layer, b"a") is None

    async def test_a_pull_of_a_closed_layer_takes_nothing(self, world: World) -> None:
        layer = await world.join()
        staying = world.connections()
        leaving = world.stranger()
        await leaving.start()
        got: list[Any] = []
        leaving.pull("q", 1, got.append)
        await leaving.close()
        await asyncio.sleep(world.forgets_after_s)
        await until(lambda: world.connections() <= staying)
        await soon(push(layer, b"a"))
        assert await soon(pull(layer)) == [b"a"]
        assert got == []


class TestSend:
    async def test_a_message_to_a_name_waits_in_a_shared_queue(self, world: World) -> None:
        layer = await world.join()
        await layer.send("jobs", {"n": 1, "data": [b"x"]})
        (raw,) = await soon(pull(layer, 5, "jobs"))
        entry = read_entry(raw)
        assert (entry.sender, entry.frames[0][3]) == (layer.pid, {"n": 1, "data": (b"x",)})

    async def test_over_the_capacity_it_is_refused_and_nothing_is_left(self, world: World) -> None:
        layer = await world.join()
        for _ in range(2):
            await layer.send("jobs", {}, capacity=2)
        with pytest.raises(ChannelFull, match="'jobs' is full: it may hold 2 entries") as caught:
            await layer.send("jobs", {}, capacity=2)
        assert (caught.value.channel, caught.value.capacity) == ("jobs", 2)
        assert world.length("jobs") == 2

    async def test_a_message_to_a_process_reaches_the_local_channel(self, world: World) -> None:
        sender, receiver = await world.join(), await world.join()
        got: list[Any] = []
        Node(receiver).channels["local"] = got.append
        await sender.send(f"{receiver.pid}!local", {"hello": "you"})
        await until(lambda: bool(got))
        assert got == [{"hello": "you"}]

    async def test_a_message_to_a_process_that_is_none_is_lost_in_silence(
        self, world: World
    ) -> None:
        layer = await world.join()
        await layer.send("nobody!local", {})

    @pytest.mark.parametrize("channel", ["", "a b", "a!b!c", None])
    async def test_what_is_no_channel_name_is_a_type_error(
        self, world: World, channel: Any
    ) -> None:
        layer = await world.join()
        with pytest.raises(TypeError, match="channel name"):
            await layer.send(channel, {})

    async def test_a_value_that_cannot_travel_is_a_type_error(self, world: World) -> None:
        layer = await world.join()
        with pytest.raises(TypeError, match=r'^message\["a"\]\[1\]: set'):
            await layer.send("jobs", {"a": [1, set()]})
        assert world.length("jobs") == 0

    async def test_a_message_over_16_mib_is_refused(self, world: World) -> None:
        layer = await world.join()
        with pytest.raises(MessageTooLarge, match="16 MiB"):
            await layer.send("jobs", {"a": bytes(2**24)})
        assert world.length("jobs") == 0

    async def test_whoever_gives_up_waiting_harms_nothing(self, world: World) -> None:
        layer = await world.join()
        sending = asyncio.create_task(layer.send("jobs", {"n": 1}))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await layer.send("jobs", {"n": 2})
        assert len(await soon(pull(layer, 5, "jobs"))) == 2


class TestInboxes:
    async def test_entries_of_one_sender_arrive_in_order(self, world: World) -> None:
        sender, receiver = await world.join(), await world.join()
        got: list[bytes] = []
        receiver.on_inbox = got.extend
        for number in range(100):
            sender.deliver(receiver.pid, b"%d" % number)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(got) == 100)
        assert got == [b"%d" % number for number in range(100)]

    async def test_only_the_addressee_gets_an_entry(self, world: World) -> None:
        sender, receiver, other = [await world.join() for _ in range(3)]
        got: list[bytes] = []
        strayed: list[bytes] = []
        receiver.on_inbox, other.on_inbox, sender.on_inbox = (
            got.extend,
            strayed.extend,
            strayed.extend,
        )
        sender.deliver(receiver.pid, b"a")
        await until(lambda: bool(got))
        assert strayed == []

    async def test_flush_writes_now(self, world: World) -> None:
        sender, receiver = await world.join(), await world.join()
        got: list[bytes] = []
        receiver.on_inbox = got.extend
        sender.deliver(receiver.pid, b"a")
        sender.flush()
        await until(lambda: bool(got))

    async def test_a_process_may_write_to_itself(self, world: World) -> None:
        layer = await world.join()
        got: list[bytes] = []
        layer.on_inbox = got.extend
        layer.deliver(layer.pid, b"a")
        await until(lambda: bool(got))


class TestLife:
    async def test_pids_differ(self, world: World) -> None:
        assert len({world.stranger().pid for _ in range(10)}) == 10

    async def test_all_processes_see_one_clock_and_one_life_of_the_store(
        self, world: World
    ) -> None:
        one, other = await world.join(), await world.join()
        assert abs(one.now_ms() - other.now_ms()) < 1000
        assert one.incarnation == other.incarnation != ""

    async def test_before_its_start_nothing_can_be_written(self, world: World) -> None:
        layer = world.stranger()
        assert not layer.available
        with pytest.raises(LayerUnavailable):
            layer.deliver("pid", b"a")
        with pytest.raises(LayerUnavailable):
            layer.push("q", b"a", future().set_result)
        with pytest.raises(LayerUnavailable):
            await layer.send("jobs", {})

    async def test_after_its_end_nothing_can_be_written_or_recalled(self, world: World) -> None:
        layer = world.stranger()
        await layer.start()
        assert layer.available
        await soon(push(layer, b"a"))
        await layer.close()
        with pytest.raises(LayerUnavailable):
            layer.deliver("pid", b"a")
        assert await recall(layer, b"a") is False

    async def test_the_death_of_a_peer_is_told_once(self, world: World) -> None:
        layer = await world.join()
        peer, later = await world.register(), await world.register()
        told: list[str] = []
        layer.on_peer_dead = told.append
        layer.deliver(peer, b"known")
        world.kill(peer)
        await until(lambda: peer in told)
        world.kill(later)
        await until(lambda: later in told)
        assert told == [peer, later]

    async def test_a_loss_is_told_then_the_layer_is_available(self, world: World) -> None:
        layer = await world.join()
        told: list[str] = []
        layer.on_lost = lambda: told.append("lost")
        layer.on_available = lambda: told.append("available")
        world.lose_data()
        await until(lambda: len(told) == 2)
        assert told == ["lost", "available"]
        assert await soon(push(layer, b"a")) == 1

    async def test_who_was_held_for_dead_writes_nothing_until_it_has_rejoined(
        self, world: World
    ) -> None:
        layer, other = await world.join(), await world.join()
        told: list[str] = []
        deaths: list[str] = []
        layer.on_fenced = lambda: told.append("fenced")
        layer.on_available = lambda: told.append("available")
        other.on_peer_dead = deaths.append
        world.fence(layer.pid)
        await until(lambda: told == ["fenced"] and deaths == [layer.pid])
        assert not layer.available
        with pytest.raises(LayerUnavailable):
            layer.deliver(other.pid, b"a")
        with pytest.raises(LayerUnavailable):
            layer.push("q", b"a", future().set_result)
        layer.rejoin()
        await until(lambda: told == ["fenced", "available"])
        assert layer.available

    async def test_who_has_rejoined_is_reached_again(self, world: World) -> None:
        layer, other = await world.join(), await world.join()
        got: list[bytes] = []
        back = asyncio.Event()
        layer.on_inbox = got.extend
        layer.on_available = back.set
        layer.on_fenced = layer.rejoin
        world.fence(layer.pid)
        async with asyncio.timeout(TIMEOUT_S):
            await back.wait()

        def reached() -> bool:
            # What was written before the others heard of its death may go with its inbox.
            other.deliver(layer.pid, b"a")
            return bool(got)

        await until(reached)
        assert await soon(push(layer, b"a")) == 1
