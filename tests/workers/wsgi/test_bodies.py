"""The body of a request as a WSGI application reads it (PEP 3333, `wsgi.input`)."""

from collections.abc import Iterator
from typing import Any

from tests.workers.wsgi.apps import PLAIN, echo, hello, posting, uploading
from tests.workers.wsgi.driver import piece, serve


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
