"""Messages find their methods, sources are awaited together, and nothing is lost or taken early."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway_worker.consumers import await_many_dispatch, get_handler_name
from gateway_worker.consumers.dispatch import Message, find_handler

Numbers = list[tuple[str, int]]


class Done(Exception):
    """Ends a dispatch."""


def source_of(queue: "asyncio.Queue[Message]") -> Callable[[], Awaitable[Message]]:
    return queue.get


def filled(name: str, count: int) -> "asyncio.Queue[Message]":
    queue: asyncio.Queue[Message] = asyncio.Queue()
    for number in range(count):
        queue.put_nowait({"from": name, "n": number})
    return queue


async def run(*queues: "asyncio.Queue[Message]", until: int) -> Numbers:
    """Dispatch from queues until so many messages were handled."""
    seen: Numbers = []

    async def dispatch(message: Message) -> None:
        await asyncio.sleep(0)
        seen.append((message["from"], message["n"]))
        if len(seen) == until:
            raise Done

    with pytest.raises(Done):
        await await_many_dispatch([source_of(queue) for queue in queues], dispatch)
    return seen


def test_dots_become_underscores() -> None:
    assert get_handler_name({"type": "websocket.http.request"}) == "websocket_http_request"


@pytest.mark.parametrize("kind", ["_close", ".close", "__init__", "._x", 5, None, b"a"])
def test_malformed_types_are_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="Malformed type in message"):
        get_handler_name({"type": kind})


def test_message_without_type_is_refused() -> None:
    with pytest.raises(ValueError, match="Incoming message has no 'type' attribute"):
        get_handler_name({})


class Counter:
    count = 5

    def chat_message(self, message: Message) -> int:
        return self.count


@pytest.mark.parametrize("kind", ["chat.left", "count"])
def test_missing_handler_names_consumer_and_method(kind: str) -> None:
    with pytest.raises(
        ValueError, match=rf"type {kind}: Counter has no method {kind.replace('.', '_')}$"
    ):
        find_handler(Counter(), {"type": kind})


def test_handler_is_the_method() -> None:
    assert find_handler(Counter(), {"type": "chat.message"})({}) == 5


@given(st.text())
def test_whatever_the_type_only_public_names_are_found(kind: str) -> None:
    try:
        name = get_handler_name({"type": kind})
    except ValueError:
        assert kind[:1] in {"_", "."}
    else:
        assert not name.startswith("_")
        assert "." not in name


async def test_messages_of_each_source_are_handled_in_order() -> None:
    seen = await run(filled("client", 20), filled("layer", 20), until=40)
    for name in ("client", "layer"):
        assert [number for source, number in seen if source == name] == list(range(20))


async def test_a_busy_source_does_not_keep_the_other_waiting() -> None:
    seen = await run(filled("client", 1000), filled("layer", 3), until=10)
    assert ("layer", 2) in seen


@pytest.mark.parametrize("others", [0, 1])
async def test_next_message_is_asked_for_when_the_last_was_handled(others: int) -> None:
    """A gateway takes what was received before for done."""
    steps: list[str] = []

    async def receive() -> Message:
        steps.append("receive")
        return {}

    async def dispatch(message: Message) -> None:
        steps.append("begin")
        await asyncio.sleep(0)
        steps.append("end")
        if len(steps) > 8:
            raise Done

    silent = [source_of(filled("layer", 0))] * others
    with pytest.raises(Done):
        await await_many_dispatch([receive, *silent], dispatch)
    assert steps == ["receive", "begin", "end"] * 3


async def test_message_that_comes_while_another_is_handled_is_kept() -> None:
    client, layer = filled("client", 0), filled("layer", 1)
    seen: list[str] = []
    taken = asyncio.Event()

    async def receive() -> Message:
        message = await client.get()
        taken.set()
        return message

    async def dispatch(message: Message) -> None:
        seen.append(message["from"])
        if message["from"] == "client":
            raise Done
        client.put_nowait({"from": "client"})
        async with asyncio.timeout(5):
            await taken.wait()

    with pytest.raises(Done):
        await await_many_dispatch([receive, source_of(layer)], dispatch)
    assert seen == ["layer", "client"]


async def test_what_was_not_taken_is_left_when_a_handler_ends_it() -> None:
    client, layer = filled("client", 1), filled("layer", 0)
    assert await run(client, layer, until=1) == [("client", 0)]
    layer.put_nowait({"n": 1})
    client.put_nowait({"n": 2})
    assert (layer.qsize(), client.qsize()) == (1, 1)


async def test_cancelled_it_cancels_its_sources() -> None:
    cancelled = 0

    async def receive() -> Message:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        raise AssertionError("nothing sets the event")

    async def dispatch(message: Message) -> None:
        raise AssertionError(message)

    task = asyncio.create_task(await_many_dispatch([receive, receive], dispatch))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == 2


async def test_error_of_a_source_is_raised() -> None:
    async def broken() -> Message:
        raise OSError("gone")

    async def dispatch(message: Any) -> None:
        raise AssertionError(message)

    with pytest.raises(OSError, match="gone"):
        await await_many_dispatch([source_of(filled("client", 0)), broken], dispatch)


async def test_error_of_a_handler_is_not_hidden_by_one_of_a_source() -> None:
    async def broken() -> Message:
        raise OSError("gone")

    async def dispatch(message: Any) -> None:
        raise Done

    with pytest.raises(Done):
        await await_many_dispatch([source_of(filled("client", 1)), broken], dispatch)
