"""What WSGI applications answer, as PEP 3333 describes it, most under wsgiref's validator."""

import asyncio
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.workers.wsgi.apps import PLAIN, Result, hello, plain, returning
from tests.workers.wsgi.driver import Client, call, scope_of, serve, until

from gateway_layer.errors import ApplicationError


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
