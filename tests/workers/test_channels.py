"""Background channels: `gateway-worker --channels`."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import sync_client
from gateway_worker.apps import ASGI3App, Message, Receive, Scope, Send
from gateway_worker.channels_worker import ChannelsWorker
from gateway_worker.config import WorkerConfig

TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def layer(server: EmbeddedServer) -> AsyncIterator[RedisChannelLayer]:
    with sync_client(server.url) as client:
        client.flushall()
    layer = RedisChannelLayer([server.url])
    yield layer
    await layer.close_pools()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 (conditions here have no event)
            await asyncio.sleep(0.005)


class Worker:
    """A worker that runs an application of a test in this process."""

    def __init__(self, folder: Path, app: ASGI3App, layer: Any, **options: Any) -> None:
        name = f"app_{folder.name}"
        module = type(sys)(name)
        module.app = app  # type: ignore[attr-defined]
        sys.modules[name] = module
        options = {"channels": ("work",), "lifespan": "off", "app_dir": str(folder)} | options
        self.worker = ChannelsWorker(WorkerConfig(app=f"{name}:app", **options), layer=layer)
        self.ready = asyncio.Event()
        self.task = asyncio.create_task(self.worker.serve(on_ready=self.ready.set))

    async def end(self) -> int:
        self.worker.drain()
        async with asyncio.timeout(TIMEOUT_S):
            return await self.task


StartWorker = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def start(
    tmp_path: Path, layer: RedisChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartWorker]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    workers: list[Worker] = []

    async def start(app: ASGI3App, **options: Any) -> Worker:
        workers.append(Worker(tmp_path, app, options.pop("layer", layer), **options))
        async with asyncio.timeout(TIMEOUT_S):
            await workers[-1].ready.wait()
        return workers[-1]

    yield start
    for worker in workers:
        worker.worker.drain()
        worker.worker.drain()
        await asyncio.wait({worker.task})


class Handler:
    """An application that notes what it got, and waits at a gate before it goes on."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.got: list[int] = []
        self.handled: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        self.scopes.append(scope)
        while True:
            message = await receive()
            self.got.append(message["n"])
            await self.gate.wait()
            if message["type"] == "bad":
                raise ZeroDivisionError("the handler failed")
            self.handled.append(message["n"])


async def send(layer: RedisChannelLayer, *numbers: int, channel: str = "work") -> None:
    for n in numbers:
        await layer.send(channel, {"type": "job", "n": n})


async def left(layer: RedisChannelLayer) -> list[int]:
    """Return what is still in the channel."""
    found: list[int] = []
    await layer.send("work", {"type": "end"})
    while (message := await layer.receive("work"))["type"] != "end":
        found.append(message["n"])
    return found


async def test_one_instance_gets_all_messages_in_order(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    app = Handler()
    worker = await start(app)
    await send(layer, 1, 2, 3)
    await until(lambda: app.handled == [1, 2, 3])
    (scope,) = app.scopes
    assert (scope["type"], scope["channel"]) == ("channel", "work")
    assert worker.worker.served == 3
    assert await worker.end() == 0


async def test_each_channel_has_an_instance_of_its_own(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    app = Handler()
    app.gate.clear()
    await start(app, channels=("work", "mail"))
    await send(layer, 1, 2)
    await send(layer, 3, channel="mail")
    await until(lambda: sorted(app.got) == [1, 3])
    assert {scope["channel"] for scope in app.scopes} == {"work", "mail"}


async def test_message_is_taken_only_when_the_one_before_is_handled(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    app = Handler()
    app.gate.clear()
    await start(app)
    await send(layer, 1, 2)
    await until(lambda: app.got == [1])
    assert await layer.receive("work") == {"type": "job", "n": 2}


async def test_exception_is_logged_and_the_next_message_goes_on(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    app = Handler()
    await start(app)
    await layer.send("work", {"type": "bad", "n": 1})
    await send(layer, 2)
    await until(lambda: app.handled == [2])
    assert len(app.scopes) == 2
    assert "application failed channel=work" in caplog.text
    assert "the handler failed" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
async def test_handler_cannot_end_the_process(
    start: StartWorker,
    layer: RedisChannelLayer,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    got: list[int] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        got.append((await receive())["n"])
        raise error

    await start(app)
    await send(layer, 1, 2)
    await until(lambda: got == [1, 2])
    assert "application failed channel=work" in caplog.text


async def test_message_that_no_instance_receives_is_dropped_and_logged(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("no application for channel 'work'")

    await start(app)
    await send(layer, 1)
    await until(lambda: "did not receive channel=work type=job" in caplog.text)
    assert "no application for channel 'work'" in caplog.text


async def test_message_without_a_type_is_dropped_and_logged(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    app = Handler()
    await start(app)
    await layer.send("work", {"n": 0})
    await send(layer, 1)
    await until(lambda: app.handled == [1])
    assert "without a type is dropped channel=work" in caplog.text


async def test_cancelled_receive_loses_no_message(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    got: list[int] = []
    cancelled = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        got.append((await receive())["n"])
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        cancelled.set()
        while True:
            got.append((await receive())["n"])

    await start(app)
    await send(layer, 1)
    await cancelled.wait()
    await send(layer, 2, 3)
    await until(lambda: got == [1, 2, 3])


async def test_two_tasks_that_receive_get_a_message_each(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    got: list[int] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        both = await asyncio.gather(receive(), receive())
        got.extend(message["n"] for message in both)
        got.append((await receive())["n"])

    await start(app)
    await send(layer, 1, 2, 3)
    await until(lambda: sorted(got) == [1, 2, 3])


async def test_sending_is_an_error_that_says_what_to_do(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.send", "text": "x"})

    await start(app)
    await send(layer, 1)
    await until(lambda: "a background channel has no client" in caplog.text)


async def test_synchronous_work_of_two_channels_runs_at_once(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    import threading

    both = threading.Barrier(2, timeout=TIMEOUT_S)
    done: list[str] = []

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        await sync_to_async(both.wait)()
        done.append(scope["channel"])

    await start(app, channels=("work", "mail"))
    await send(layer, 1)
    await send(layer, 2, channel="mail")
    await until(lambda: sorted(done) == ["mail", "work"])


# Drain.


async def test_drain_finishes_the_message_under_way_and_takes_no_other(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    app = Handler()
    app.gate.clear()
    worker = await start(app)
    await send(layer, 1, 2)
    await until(lambda: app.got == [1])
    worker.worker.drain()
    assert not worker.task.done()
    app.gate.set()
    async with asyncio.timeout(TIMEOUT_S):
        assert await worker.task == 0
    assert app.handled == [1]
    assert await left(layer) == [2]


async def test_drain_of_idle_channels_ends_at_once(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    app = Handler()
    worker = await start(app, channels=("work", "never"))
    await send(layer, 1)
    await until(lambda: app.handled == [1])
    began = time.monotonic()
    assert await worker.end() == 0
    assert time.monotonic() - began < 5


async def test_nothing_is_lost_or_doubled_by_drains_at_any_moment(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    handled: list[int] = []
    for turn in range(20):
        app = Handler()
        worker = await start(app)
        await send(layer, *range(turn * 5, turn * 5 + 5))
        for _ in range(turn * 3):
            await asyncio.sleep(0)
        await worker.end()
        assert app.got == app.handled
        handled += app.handled
    assert handled + await left(layer) == list(range(100))


async def test_second_drain_gives_up_what_is_under_way(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    app = Handler()
    app.gate.clear()
    worker = await start(app)
    await send(layer, 1)
    await until(lambda: app.got == [1])
    worker.worker.drain()
    assert await worker.end() == 0
    assert "a message under way is given up channel=work" in caplog.text


async def test_graceful_timeout_gives_up_what_is_under_way(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    app = Handler()
    app.gate.clear()
    worker = await start(app, graceful_timeout_s=0.1)
    await send(layer, 1)
    await until(lambda: app.got == [1])
    assert await worker.end() == 0
    assert "a message under way is given up channel=work" in caplog.text


async def test_limit_ends_the_process_after_its_messages(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    app = Handler()
    worker = await start(app, limit_max_requests=2)
    await send(layer, 1, 2, 3)
    async with asyncio.timeout(TIMEOUT_S):
        assert await worker.task == 0
    assert app.handled == [1, 2]
    assert await left(layer) == [3]


class FailingOnce:
    """A layer that cannot be read the first time."""

    def __init__(self, layer: RedisChannelLayer) -> None:
        self.layer = layer
        self.failed = False

    async def receive(self, channel: str) -> Message:
        if not self.failed:
            self.failed = True
            raise LayerUnavailable("not now")
        return await self.layer.receive(channel)


async def test_channel_that_cannot_be_read_is_read_again(
    start: StartWorker, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    app = Handler()
    await start(app, layer=FailingOnce(layer))
    await send(layer, 1)
    await until(lambda: app.handled == [1])
    assert "a channel cannot be read channel=work" in caplog.text


async def test_lifespan_of_the_application_runs_around_its_channels(
    start: StartWorker, layer: RedisChannelLayer
) -> None:
    states: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "channel":
            await receive()
            states.append(scope["state"])
            return
        await receive()
        scope["state"]["database"] = "open"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        states.append("closed")
        await send({"type": "lifespan.shutdown.complete"})

    worker = await start(app, lifespan="on")
    await send(layer, 1)
    await until(lambda: bool(states))
    await worker.end()
    assert states == [{"database": "open"}, "closed"]
