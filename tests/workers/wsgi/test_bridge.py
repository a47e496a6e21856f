"""Clients that leave, threads, and the other protocols of the WSGI bridge."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.workers.wsgi.apps import PLAIN, echo, hello, plain, posting, returning
from tests.workers.wsgi.driver import (
    DISCONNECT,
    Client,
    call,
    end_threads,
    piece,
    scope_of,
    serve,
    until,
)

from gateway_layer.errors import ClientDisconnected
from gateway_worker.wsgi import WsgiBridge


async def test_a_client_that_leaves_before_its_body_reaches_no_application() -> None:
    calls: list[Any] = []
    client = await serve(lambda *arguments: calls.append(arguments), posting(5), validate=False)
    assert (calls, client.sent) == ([], [])


async def test_a_client_that_leaves_amid_its_body_is_an_error_of_the_read() -> None:
    with pytest.raises(ClientDisconnected):
        await serve(echo, posting(9), piece(b"hello", more=True), dict(DISCONNECT))


async def test_a_client_that_leaves_amid_the_response_ends_the_iteration() -> None:
    started = threading.Event()
    told: list[BaseException] = []

    def blocks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
                started.set()
        except GeneratorExit as end:
            told.append(end)
            raise

    client = Client()
    serving = asyncio.create_task(call(returning(blocks()), client))
    await until(started.is_set)
    client.left = True
    with suppress(ClientDisconnected):
        await serving
    await until(lambda: told)


async def test_write_raises_an_os_error_when_the_client_has_left() -> None:
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        try:
            while True:
                write(b"x")
        except OSError as error:
            errors.append(error)
        return []

    client = Client()
    client.left = True
    with suppress(ClientDisconnected):
        await call(app, client)
    await until(lambda: errors)


async def test_a_slow_client_makes_the_application_wait() -> None:
    made: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number in range(50):
            made.append(number)
            yield bytes(16_384)

    client = Client()
    client.credit.clear()
    serving = asyncio.create_task(call(returning(blocks()), client))
    await until(lambda: len(made) >= 5)
    assert len(made) <= 6
    client.credit.set()
    await serving
    assert len(client.body) == 50 * 16_384
    assert len(made) == 50


async def test_a_fault_after_the_client_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert go_on.wait(10)
        raise ZeroDivisionError

    caplog.set_level(logging.ERROR, "gateway.worker")
    bridge = WsgiBridge(app, 1)
    client = Client()
    serving = asyncio.create_task(bridge(scope_of(path="/late"), client.receive, client.send))
    await asyncio.sleep(0)
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    go_on.set()
    await until(lambda: "application failed after its client had left '/late'" in caplog.text)
    await end_threads(bridge)


# Threads


async def test_so_many_requests_run_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(3)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        together.wait(10)
        return hello(environ, start_response)

    bridge = WsgiBridge(app, 3)
    clients = [Client() for _ in range(6)]
    await asyncio.gather(*(bridge(scope_of(), one.receive, one.send) for one in clients))
    await end_threads(bridge)
    assert all(client.complete for client in clients)


async def test_a_request_sees_the_context_variables_of_its_task_and_leaves_none() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen = variable.get()
        variable.set("left behind")
        start_response("200 OK", plain(len(seen)))
        return [seen.encode()]

    bridge = WsgiBridge(app, 1)
    first, second = Client(), Client()
    await bridge(scope_of(), first.receive, first.send)
    variable.set("set")
    await bridge(scope_of(), second.receive, second.send)
    await end_threads(bridge)
    assert (first.body, second.body) == (b"none", b"set")


async def test_the_end_of_the_lifespan_ends_the_threads() -> None:
    threads: list[threading.Thread] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        threads.append(threading.current_thread())
        return hello(environ, start_response)

    await serve(app)
    await until(lambda: not threads[0].is_alive())


async def test_a_websocket_is_refused() -> None:
    client = Client({"type": "websocket.connect"})
    await call(hello, client, {"type": "websocket"})
    assert client.sent == [{"type": "websocket.close"}]


async def test_an_unknown_protocol_is_an_error() -> None:
    with pytest.raises(ValueError, match="'line'"):
        await call(hello, Client(), {"type": "line"})
