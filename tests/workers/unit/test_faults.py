"""A worker when something in it, in its application or in its queue is wrong."""

import asyncio
import logging
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest

from gateway_layer.codec import Message, pack, unpack
from gateway_layer.config import LayerConfig
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.outlet import Outlet
from gateway_layer.redis.address import RedisAddress
from gateway_layer.session import WorkerSession
from gateway_layer.wire import (
    CLAIM,
    DETACH,
    DONE,
    EVENTS,
    OPEN,
    RELEASE,
    Open,
    write_opening,
)
from gateway_worker.apps import ASGI3App, Receive, Send
from gateway_worker.config import WorkerConfig
from gateway_worker.instances import HttpInstance, Instance, WebSocketInstance
from gateway_worker.puller import Puller
from gateway_worker.worker import Worker

OPENING = Open("c", OPEN, 1, "http", {}, 0, None, b"", False, 0, "inc", 10_000)


async def cancelled(*_arguments: object) -> None:
    raise asyncio.CancelledError


class Host:
    """Runs an application that is cancelled from within, as by a library that leaks it."""

    application: ASGI3App
    outlet: Outlet
    full: frozenset[str | None] = frozenset()
    on_worker_exit = "auto"
    redis: RedisAddress | None = None

    def __init__(self) -> None:
        self.application = cancelled
        self.outlet = Outlet(lambda: None)
        self.over = asyncio.Event()

    def mark(self, session: WorkerSession) -> None:
        pass

    def ended(self, instance: Instance) -> None:
        self.over.set()


async def test_a_cancellation_of_the_applications_own_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "gateway.worker")
    host = Host()
    instance = HttpInstance(host, OPENING, "interface", 10_000, {"type": "http", "method": "GET"})
    instance.start(asyncio.get_running_loop())
    async with asyncio.timeout(5):
        await host.over.wait()
    assert unpack(instance.take_frames()[-1]) == ("c", DONE, 1, "error")
    assert "application failed" in caplog.text


class WebSocketDisconnect(Exception):
    """What a framework raises in the application when the client has left."""


async def end_websocket(error: BaseException, *, left: bool) -> None:
    """Run an application that raises this, after its client has left or before."""

    async def application(_scope: object, _receive: object, _send: object) -> None:
        if left:
            instance.on_lost("gone")
        raise error

    host = Host()
    host.application = application
    opening = OPENING._replace(kind="websocket")
    scope: Message = {"type": "websocket", "path": "/ws", "extensions": {"gateway": {}}}
    instance = WebSocketInstance(host, opening, "interface", 10_000, scope)
    instance.start(asyncio.get_running_loop())
    async with asyncio.timeout(5):
        await host.over.wait()


def round_in_circles() -> BaseException:
    error = RuntimeError("first")
    error.__cause__ = RuntimeError("second")
    error.__cause__.__cause__ = error
    return error


def raised_from(cause: BaseException) -> BaseException:
    error = RuntimeError("sending failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        WebSocketDisconnect(),
        BaseExceptionGroup("tasks", [WebSocketDisconnect()]),
        raised_from(WebSocketDisconnect()),
        raised_from(BaseExceptionGroup("tasks", [WebSocketDisconnect()])),
    ],
)
async def test_a_frameworks_disconnect_is_one_line_without_a_traceback(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.worker")
    await end_websocket(error, left=True)
    (record,) = [one for one in caplog.records if one.name == "gateway.worker"]
    assert record.levelname == "INFO"
    assert record.getMessage() == (
        f"application ended with {type(error).__name__} after the client had left websocket '/ws'"
    )
    assert not record.exc_info


async def test_a_frameworks_disconnect_keeps_its_traceback_at_debug_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "gateway.worker")
    await end_websocket(WebSocketDisconnect(), left=True)
    assert [one for one in caplog.records if one.name == "gateway.worker" and one.exc_info]


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (WebSocketDisconnect(), False),
        (ZeroDivisionError(), True),
        (raised_from(ZeroDivisionError()), True),
        (round_in_circles(), True),
    ],
)
async def test_other_ends_of_an_application_are_errors(
    error: BaseException, left: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.worker")
    await end_websocket(error, left=left)
    (record,) = [one for one in caplog.records if one.name == "gateway.worker"]
    assert record.levelname == "ERROR"
    assert record.exc_info


async def test_who_hears_late_that_its_client_has_left_is_the_last_to_hear_it() -> None:
    """The worker has given up waiting for an instance, which asks for its client's end then."""
    told: list[MutableMapping[str, Any]] = []

    async def application(_scope: object, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "resume": True})
        told.append(await receive())
        instance.let_go("drain")
        end = {"type": "websocket.disconnect", "code": 1001, "reason": ""}
        instance.handle("interface", ("c", EVENTS, 1, 0, 2, (end,)))
        instance._depart()
        told.append(await receive())

    host = Host()
    host.application = application
    opening = OPENING._replace(kind="websocket")
    scope: Message = {"type": "websocket", "path": "/ws", "extensions": {"gateway": {}}}
    instance = WebSocketInstance(host, opening, "interface", 10_000, scope)
    instance.handle("interface", ("c", EVENTS, 1, 0, 1, ({"type": "websocket.receive"},)))
    instance.start(asyncio.get_running_loop())
    async with asyncio.timeout(5):
        await host.over.wait()
    assert [event.get("code") for event in told] == [None, 1001]
    frames = [unpack(raw) for raw in instance.take_frames()]
    assert (frames[0][1], frames[0][4]) == (CLAIM, 2)  # both events are handled
    assert [frame[1] for frame in frames[1:]] == [RELEASE, DETACH]


async def test_a_fault_in_one_batch_is_not_the_end_of_pulling() -> None:
    layer = MemoryLayer(MemoryBroker())
    await layer.start()
    batches: list[Sequence[bytes]] = []
    second = asyncio.Event()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    def fail(_puller: Puller, entries: Sequence[bytes]) -> None:
        batches.append(entries)
        if len(batches) == 2:
            second.set()
        raise ZeroDivisionError

    puller = Puller(layer, "q", 10, fail, lambda: None)
    puller.start()
    for entry in (b"a", b"b"):
        layer.push("q", entry, lambda _place: None)
    async with asyncio.timeout(5):
        await second.wait()
    puller.stop()
    await layer.close()
    assert [one for batch in batches for one in batch] == [b"a", b"b"]
    assert {type(context["exception"]) for context in told} == {ZeroDivisionError}


async def test_openings_that_cannot_be_read_are_logged_once_for_each_sender(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = MemoryBroker()
    pusher = MemoryLayer(broker)
    await pusher.start()
    worker = Worker(WorkerConfig(app="examples.hello:app"), layer=MemoryLayer(broker))
    ready = asyncio.Event()
    serving = asyncio.create_task(worker.serve(on_ready=ready.set))
    caplog.set_level(logging.WARNING, "gateway.layer")
    async with asyncio.timeout(20):
        await ready.wait()
        for entry in (
            pack((1, "one", None, (("c", OPEN),))),
            pack((1, "one", None, ())),
            pack((9, "two", None, ())),
            pack((9, "two", None, ())),
        ):
            pusher.push("http", entry, lambda _place: None)
        while worker.dropped < 4:  # noqa: ASYNC110 - nothing tells of a drop
            await asyncio.sleep(0.005)
        worker.drain()
        assert await serving == 0
    await pusher.close()
    # asyncio warns of a slow step on a busy machine, too.
    drops = [one.getMessage() for one in caplog.records if one.name == "gateway.layer"]
    assert len(drops) == 2
    assert "'one'" in drops[0]
    assert "'two'" in drops[1]


@pytest.mark.parametrize(
    ("queue", "kind", "scope_type"),
    [("line", "http", "http"), ("line", "line", "lifespan"), ("line", "mqtt", "mqtt")],
)
async def test_an_opening_that_has_no_place_in_its_queue_is_dropped(
    queue: str, kind: str, scope_type: str
) -> None:
    broker = MemoryBroker()
    interface = MemoryLayer(broker)
    await interface.start()
    config = WorkerConfig(app="examples.hello:app", protocols=("http", "line"))
    worker = Worker(config, layer=MemoryLayer(broker))
    ready = asyncio.Event()
    serving = asyncio.create_task(worker.serve(on_ready=ready.set))
    before, after = ("c", OPEN, 1, kind), (0, None, b"", False, 2**62, interface.incarnation, 2**20)
    scope = pack({"type": scope_type, "method": "GET", "headers": []})
    async with asyncio.timeout(20):
        await ready.wait()
        entry = write_opening(interface.head, before, scope, after)
        interface.push(queue, entry, lambda _place: None)
        while not worker.dropped:  # noqa: ASYNC110 - nothing tells of a drop
            await asyncio.sleep(0.005)
        worker.drain()
        assert await serving == 0
    assert worker.served == 0
    await interface.close()


async def test_a_worker_that_waits_for_redis_drains_at_once() -> None:
    layer = LayerConfig(redis="unix:///nowhere/redis.sock")
    worker = Worker(WorkerConfig(app="examples.hello:app", layer=layer))
    serving = asyncio.create_task(worker.serve())
    await asyncio.sleep(0)
    worker.drain()
    async with asyncio.timeout(20):
        assert await serving == 0
