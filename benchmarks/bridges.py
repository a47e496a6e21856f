"""Bridges from WSGI to ASGI: CPU time a request of ours, of a2wsgi and of asgiref.

    .venv/bin/python -m benchmarks.bridges

No server takes part: `receive` and `send` do nothing, so that a figure is the bridge's and the
application's. CPU time is that of all threads of this process; the lowest of three runs counts.
Prints a table, in microseconds, within a minute.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from importlib.metadata import version
from typing import Any, NamedTuple

import a2wsgi
import uvloop
from asgiref.wsgi import WsgiToAsgi
from flask import Flask

from gateway_worker.wsgi import WsgiBridge

_THREADS = 10
_RUNS = 3
_BLOCK = bytes(65_536)
_BLOCKS = 160

_Message = MutableMapping[str, Any]
_App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
_Environ = dict[str, Any]

_BRIDGES: dict[str, Callable[[Any], _App]] = {
    "ours": lambda app: WsgiBridge(app, _THREADS),
    f"a2wsgi {version('a2wsgi')}": lambda app: a2wsgi.WSGIMiddleware(app, _THREADS),
    f"asgiref {version('asgiref')}": WsgiToAsgi,
}

flask_app = Flask(__name__)


@flask_app.get("/")
def hello_of_flask() -> str:
    """What its tutorial has."""
    return "Hello, world!"


def hello(_environ: _Environ, start_response: Any) -> Iterable[bytes]:
    """A list, with its length."""
    start_response("200 OK", [("Content-Length", "13")])
    return [b"Hello, world!"]


def generator(_environ: _Environ, start_response: Any) -> Iterator[bytes]:
    """Two blocks of unknown length."""
    start_response("200 OK", [])
    yield b"Hello, "
    yield b"world!"


def download(_environ: _Environ, start_response: Any) -> Iterator[bytes]:
    """10 MiB to the client."""
    start_response("200 OK", [("Content-Length", str(_BLOCKS * len(_BLOCK)))])
    for _ in range(_BLOCKS):
        yield _BLOCK


def upload(environ: _Environ, start_response: Any) -> Iterable[bytes]:
    """10 MiB from the client."""
    read = environ["wsgi.input"].read
    size = 0
    while block := read(len(_BLOCK)):
        size += len(block)
    assert size == _BLOCKS * len(_BLOCK), size
    start_response("200 OK", [("Content-Length", "0")])
    return []


class _Case(NamedTuple):
    title: str
    app: Any
    at_once: int
    requests: int
    blocks: int = 0


_CASES = (
    _Case("hello, 1 at a time", hello, 1, 2000),
    _Case("hello, 64 at a time", hello, 64, 6400),
    _Case("a generator, 64 at a time", generator, 64, 6400),
    _Case("Flask hello, 64 at a time", flask_app, 64, 6400),
    _Case("10 MiB to the client, in blocks of 64 KiB", download, 1, 30),
    _Case("10 MiB from the client", upload, 1, 30, _BLOCKS),
)


def _scope(blocks: int) -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"wrk"), (b"accept", b"*/*")]
    if blocks:
        headers.append((b"content-length", str(blocks * len(_BLOCK)).encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "POST" if blocks else "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }


async def _request(app: _App, blocks: int) -> None:
    left = blocks

    async def receive() -> _Message:
        nonlocal left
        left -= 1
        if left < -1:  # the client stays
            await asyncio.get_running_loop().create_future()
        body = _BLOCK if blocks else b""
        return {"type": "http.request", "body": body, "more_body": left > 0}

    async def send(_message: _Message) -> None:
        """Be a client that takes everything at once."""

    await app(_scope(blocks), receive, send)


async def _cpu_us(app: _App, case: _Case) -> float:
    async def client(requests: int) -> None:
        for _ in range(requests):
            await _request(app, case.blocks)

    await client(10)
    begin = time.process_time()
    await asyncio.gather(*(client(case.requests // case.at_once) for _ in range(case.at_once)))
    return (time.process_time() - begin) / case.requests * 1e6


def main() -> None:
    """Measure every case with every bridge, and print each row when it is known."""
    print("| |", *(f"{name} |" for name in _BRIDGES))
    print("|---|" + "---|" * len(_BRIDGES))
    for case in _CASES:
        lowest = [
            min(uvloop.run(_cpu_us(bridge(case.app), case)) for _ in range(_RUNS))
            for bridge in _BRIDGES.values()
        ]
        print(f"| {case.title} |", *(f"{cpu_us:,.0f} |" for cpu_us in lowest), flush=True)


if __name__ == "__main__":
    main()
