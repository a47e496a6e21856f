"""WSGI applications as PEP 3333 describes them, most of them under wsgiref's validator."""

import asyncio
import contextvars
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
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

from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_worker.wsgi import WsgiBridge

PLAIN = [("Content-Type", "text/plain")]
CHUNKED = (b"transfer-encoding", b"chunked")


def plain(length: int) -> list[tuple[str, str]]:
    return [*PLAIN, ("Content-Length", str(length))]


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", plain(5))
    return [b"hello"]


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 1_000_000))
    start_response("200 OK", PLAIN)
    return [body]


def posting(length: int) -> Any:
    return scope_of(
        "POST", "/", (b"content-length", b"%d" % length), (b"content-type", b"text/plain")
    )


def uploading() -> Any:
    return scope_of("POST", "/", CHUNKED, (b"content-type", b"text/plain"))


class Result:
    """An iterable that counts its `close`."""

    def __init__(self, *blocks: Any) -> None:
        self.blocks = blocks
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            if isinstance(block, BaseException):
                raise block
            yield block

    def close(self) -> None:
        self.closed += 1


def returning(result: Any, status: Any = "200 OK", headers: Any = None) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, PLAIN if headers is None else headers)
        return result

    return app


# Responses


async def test_a_small_response_is_a_head_and_a_last_body() -> None:
    client = await serve(hello)
    assert client.sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
        },
        {"type": "http.response.body", "body": b"hello", "more_body": False},
    ]


async def test_a_request_without_a_body_costs_no_question_for_it() -> None:
    assert (await serve(hello)).asked == 0


async def test_a_list_is_sent_whole_with_its_length() -> None:
    client = await serve(returning([b"one ", b"", b"two"]), validate=False)
    assert client.headers[b"content-length"] == b"7"
    assert [one["body"] for one in client.sent[1:]] == [b"one two"]


async def test_an_empty_list_is_an_empty_response() -> None:
    client = await serve(returning([]), validate=False)
    assert (client.headers[b"content-length"], client.body, client.complete) == (b"0", b"", True)


async def test_a_generator_is_sent_block_by_block() -> None:
    client = await serve(returning(iter([b"one", b"", b"two"])))
    assert [one["body"] for one in client.sent[1:]] == [b"one", b"two", b""]
    assert b"content-length" not in client.headers


async def test_no_block_waits_for_the_next_to_be_made() -> None:
    second = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield b"first"
        assert second.wait(10)
        yield b"second"

    client = Client()
    serving = asyncio.create_task(call(returning(blocks()), client))
    await until(lambda: client.body == b"first")
    second.set()
    await serving
    assert client.body == b"firstsecond"


async def test_the_promised_length_completes_before_the_application_does() -> None:
    closing = threading.Event()

    class Slow(Result):
        def close(self) -> None:
            assert closing.wait(10)

    client = Client()
    serving = asyncio.create_task(call(returning(Slow(b"hello"), headers=plain(5)), client))
    await until(lambda: client.complete)
    assert not serving.done()
    closing.set()
    await serving


async def test_start_response_may_come_with_the_first_block() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("201 Created", PLAIN)
        yield b"made"

    client = await serve(app)
    assert (client.status, client.body) == (201, b"made")


async def test_what_write_takes_comes_before_the_result() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    assert (await serve(app)).body == b"one two three"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 -")]
)
@pytest.mark.parametrize("result", [[b"hello"], (b"hel", b"lo"), []])
async def test_a_response_without_content_has_none(method: str, status: str, result: Any) -> None:
    headers = [("Content-Length", "5")]
    client = await serve(returning(result, status, headers), scope_of(method), validate=False)
    assert (client.body, client.complete) == (b"", True)
    assert client.headers == {b"content-length": b"5"}


async def test_hop_by_hop_fields_are_the_servers_business() -> None:
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-Name", "Jürgen")]
    client = await serve(returning([b""], headers=headers), validate=False)
    assert client.headers == {b"x-name": "Jürgen".encode("latin-1"), b"content-length": b"0"}


async def test_a_file_is_sent_in_large_blocks_and_closed() -> None:
    content = bytes(range(256)) * 1024
    file = io.BytesIO(content)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](file, 10)

    client = await serve(app)
    assert client.body == content
    assert [len(one["body"]) for one in client.sent[1:]] == [65_536] * 4 + [0]
    assert file.closed


async def test_a_file_without_close_is_sent_too() -> None:
    blocks = [b"", b"abc"]

    class Source:
        def read(self, _size: int) -> bytes:
            return blocks.pop()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Source())

    assert (await serve(app)).body == b"abc"


# The end of the result


async def test_the_result_is_closed_once() -> None:
    result = Result(b"a", b"b")
    await serve(returning(result))
    assert result.closed == 1


async def test_the_result_is_closed_after_a_fault_and_the_fault_is_told() -> None:
    result = Result(b"a", ZeroDivisionError())
    client = Client()
    with pytest.raises(ZeroDivisionError):
        await call(returning(result), client)
    assert (result.closed, client.complete) == (1, False)


async def test_even_the_end_of_the_interpreter_is_the_requests_alone() -> None:
    with pytest.raises(SystemExit):
        await call(returning(Result(SystemExit())), Client())


# Mistakes


@pytest.mark.parametrize(
    ("app", "error", "words"),
    [
        (returning([b"abcdef"], headers=plain(5)), ApplicationError, "longer than Content-Length"),
        (returning(iter([b"abc", b"def"]), headers=plain(5)), ApplicationError, "longer"),
        (returning(["text"]), TypeError, "bytes"),
        (returning(iter(["text"])), TypeError, "must be bytes, not str"),
        (returning([], 200), TypeError, "status must be a str"),
        (returning([], "OK"), ApplicationError, "malformed status"),
        (returning([], "2000 OK"), ApplicationError, "malformed status"),
        (returning([], "200 OK", [("X", 5)]), TypeError, "must be str"),
        (returning([], "200 OK", [("X", "a\r\nb: c")]), ApplicationError, "control character"),
        (returning([], "200 OK", [("X Y", "a")]), ApplicationError, "invalid header name"),
        (returning([], "200 OK", [("X", "\u20ac")]), ApplicationError, "cannot hold"),
        (returning([], "200 OK", plain(0) + plain(1)), ApplicationError, "second Content-Length"),
        (returning([], "200 OK", [("Content-Length", "x")]), ApplicationError, "Content-Length"),
        (lambda environ, start_response: [b"x"], ApplicationError, "start_response"),
        (lambda environ, start_response: [], ApplicationError, "not called start_response"),
        (lambda environ, start_response: None, TypeError, "not iterable"),
    ],
)
async def test_a_mistake_is_an_error_that_says_which(
    app: Any, error: type[Exception], words: str
) -> None:
    client = Client()
    with pytest.raises(error, match=words):
        await call(app, client)
    assert not client.complete


async def test_a_second_start_response_needs_exc_info() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", PLAIN)
        start_response("500 Oh", PLAIN)
        return []

    with pytest.raises(ApplicationError, match="twice without exc_info"):
        await call(app, Client())


def failing_after(*written: bytes) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", plain(5))
        for data in written:
            write(data)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            start_response("500 Oh", PLAIN, sys.exc_info())
        return [b"sorry"]

    return app


async def test_exc_info_replaces_a_head_that_has_not_left() -> None:
    client = await serve(failing_after())
    assert (client.status, client.body) == (500, b"sorry")


async def test_exc_info_raises_once_the_head_has_left() -> None:
    client = Client()
    with pytest.raises(ZeroDivisionError, match="division"):
        await call(failing_after(b"he"), client)
    assert (client.status, client.complete) == (200, False)


# Bodies of requests


async def test_a_small_body_is_there_when_the_application_starts() -> None:
    client = await serve(echo, posting(5), piece(b"hello"))
    assert (client.body, client.asked) == (b"hello", 1)


async def test_a_streamed_body_is_read_piece_by_piece() -> None:
    pieces = [piece(b"one ", more=True), piece(b"two ", more=True), piece(b"", more=False)]
    client = await serve(echo, uploading(), *pieces)
    assert client.body == b"one two "


async def test_only_what_is_read_is_asked_for() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        first = environ["wsgi.input"].read(3)
        start_response("200 OK", PLAIN)
        return [first]

    pieces = [piece(b"abc" * 30_000, more=True) for _ in range(5)]
    client = await serve(app, posting(450_000), *pieces)
    assert (client.body, client.asked) == (b"abc", 1)


async def test_lines_may_lie_across_pieces() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        first = environ["wsgi.input"].readline()
        rest = environ["wsgi.input"].readlines()
        start_response("200 OK", PLAIN)
        return [repr((first, rest)).encode()]

    client = await serve(
        app, uploading(), piece(b"on", more=True), piece(b"e\ntwo\nth", more=True), piece(b"ree")
    )
    assert client.body == repr((b"one\n", [b"two\n", b"three"])).encode()


async def test_iteration_gives_lines() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        lines = list(environ["wsgi.input"])
        start_response("200 OK", PLAIN)
        return [b"|".join(lines)]

    client = await serve(app, uploading(), piece(b"a\nb", more=True), piece(b"\nc"))
    assert client.body == b"a\n|b\n|c"


async def test_a_body_may_be_answered_while_it_is_read() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        while data := environ["wsgi.input"].read(4):
            yield data.upper()

    pieces = [piece(b"abcd", more=True), piece(b"efgh", more=True), piece(b"ij")]
    client = await serve(app, uploading(), *pieces)
    assert [one["body"] for one in client.sent[1:]] == [b"ABCD", b"EFGH", b"IJ", b""]


async def test_a_client_that_waits_for_100_continue_is_not_asked_before_the_first_read() -> None:
    scope = posting(5)
    scope["headers"].append((b"expect", b"100-continue"))
    assert (await serve(hello, scope, piece(b"hello"))).asked == 0
    client = await serve(echo, scope, piece(b"hello"))
    assert (client.asked, client.body) == (1, b"hello")


# A client that leaves, or takes nothing


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
