"""Each connection has a thread of its own for thread-sensitive code."""

import asyncio
import contextvars
import sys
import threading
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from tests.workers.wsgi.driver import until

from gateway_layer.outlet import Outlet
from gateway_layer.redis.address import RedisAddress
from gateway_layer.session import WorkerSession
from gateway_layer.wire import OPEN, Open
from gateway_worker.apps import ASGI3App
from gateway_worker.blocking import own_thread
from gateway_worker.instances import HttpInstance, Instance

OPENING = Open("c", OPEN, 1, "http", {}, 0, None, b"", False, 0, "inc", 10_000)


class Host:
    """Runs an application for connections and counts those that have ended."""

    full: frozenset[str | None] = frozenset()
    on_worker_exit = "auto"
    redis: RedisAddress | None = None

    def __init__(self, application: ASGI3App) -> None:
        self.application = application
        self.outlet = Outlet(lambda: None)
        self.over = 0

    def mark(self, session: WorkerSession) -> None:
        pass

    def ended(self, instance: Instance) -> None:
        self.over += 1

    def connect(self) -> HttpInstance:
        scope = {"type": "http", "method": "GET"}
        instance = HttpInstance(self, OPENING, "interface", 10_000, scope)
        instance.start(asyncio.get_running_loop())
        return instance


@sync_to_async
def current_thread() -> threading.Thread:
    return threading.current_thread()


async def test_a_connection_has_one_thread_and_another_has_another() -> None:
    seen: list[tuple[threading.Thread, threading.Thread]] = []
    both = asyncio.Barrier(2)

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        first = await current_thread()
        await both.wait()
        seen.append((first, await asyncio.create_task(current_thread())))

    host = Host(app)
    host.connect()
    host.connect()
    await until(lambda: host.over == 2)
    (one, also_one), (two, also_two) = seen
    assert one is also_one
    assert two is also_two
    assert one is not two
    await until(lambda: not one.is_alive() and not two.is_alive())


async def test_synchronous_code_that_waits_holds_up_no_other_connection() -> None:
    go_on = threading.Event()
    ended: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await sync_to_async(go_on.wait if not ended else go_on.set)()
        ended.append("one")

    host = Host(app)
    host.connect()
    await asyncio.sleep(0)
    ended.append("the first waits")
    host.connect()
    await until(lambda: host.over == 2)


async def test_asynchronous_code_called_from_the_thread_runs_in_the_workers_loop() -> None:
    loops: list[Any] = []

    async def inner() -> None:
        loops.append(asyncio.get_running_loop())

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await sync_to_async(async_to_sync(inner))()

    host = Host(app)
    host.connect()
    await until(lambda: host.over)
    assert loops == [asyncio.get_running_loop()]


async def test_a_cancelled_connection_does_not_wait_for_its_thread() -> None:
    started, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def block() -> None:
        started.set()
        ended.append(go_on.wait(5))

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await sync_to_async(block)()

    host = Host(app)
    instance = host.connect()
    await until(started.is_set)
    assert instance.task is not None
    instance.task.cancel()
    await until(lambda: host.over)
    assert not ended
    go_on.set()


async def test_the_thread_ends_with_the_connection_whoever_keeps_its_context() -> None:
    kept: list[Any] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        kept.extend((contextvars.copy_context(), await current_thread()))

    executors: Any = SyncToAsync.context_to_thread_executor
    before = len(executors)
    host = Host(app)
    host.connect()
    await until(lambda: host.over)
    assert len(executors) == before
    await until(lambda: not kept[1].is_alive())


def test_without_asgiref_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asgiref.sync")
    assert own_thread() is None
