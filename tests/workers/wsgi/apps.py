"""WSGI applications, and the requests that tests make to them."""

from collections.abc import Iterator
from typing import Any

from tests.workers.wsgi.driver import scope_of

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
