"""Notes what an application is given, under the name that the client gave its exchange.

A request with the header `x-exchange: NAME` is recorded; `GET /recorded/NAME` returns the records
of that name, once all of their instances have ended, as a JSON array of
`{"scope": {…}, "received": [event, …], "outcome": "returned" or the name of an exception}`, or of
`{"environ": {…}, "outcome": …}` for WSGI.
"""

import asyncio
import json
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[..., Awaitable[None]]

TIMEOUT_S = 10.0
"""How long an answer waits for the end of the instances."""

_PREFIX = "/recorded/"
_KEY = b"x-exchange"
_SHORT = 100
_PORTS = {"SERVER_PORT", "REMOTE_PORT"}


class Records:
    """What was recorded, by the name of the exchange."""

    def __init__(self) -> None:
        self._by_key: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._lock = threading.Lock()

    def begin(self, key: str, **given: Any) -> dict[str, Any]:
        """Add a record that has no outcome yet."""
        record = {**given, "outcome": None}
        with self._lock:
            self._by_key[key].append(record)
        return record

    def ended(self, key: str) -> bool:
        with self._lock:
            return all(record["outcome"] is not None for record in self._by_key[key])

    def as_json(self, key: str) -> bytes:
        with self._lock:
            return json.dumps(self._by_key[key]).encode()


class Recorder:
    """An ASGI 3 application around another one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._records = Records()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(_PREFIX):
            await self._answer(scope["path"].removeprefix(_PREFIX), send)
            return
        key = dict(scope["headers"]).get(_KEY)
        if key is None:
            await self._app(scope, receive, send)
        else:
            await self._record(key.decode(), scope, receive, send)

    async def _record(self, key: str, scope: Message, receive: Receive, send: Send) -> None:
        received: list[Any] = []
        complete = False
        record = self._records.begin(key, scope=plain_scope(scope), received=received)

        async def noted_receive() -> Message:
            event = await receive()
            # Who still listens when its answer is complete hears of the end, if it is quick.
            if not complete or scope["path"].startswith("/after"):
                _note(received, event)
            return event

        async def noted_send(event: Message) -> None:
            nonlocal complete
            if event["type"] == "http.response.body" and not event.get("more_body"):
                complete = True
            await send(event)

        try:
            await self._app(scope, noted_receive, noted_send)
        except BaseException as error:
            record["outcome"] = type(error).__name__
            raise
        record["outcome"] = "returned"

    async def _answer(self, key: str, send: Send) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        # No event to wait for: the records of WSGI are the same, and end in threads.
        while not self._records.ended(key) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._records.as_json(key)})


class WsgiRecorder:
    """A WSGI application around another one."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._records = Records()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(_PREFIX):
            start_response("200 OK", [("content-type", "application/json")])
            return self._answer(path.removeprefix(_PREFIX))
        key = environ.get("HTTP_X_EXCHANGE")
        if key is None:
            return self._app(environ, start_response)
        return self._record(key, environ, start_response)

    def _record(self, key: str, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        record = self._records.begin(key, environ=_plain_environ(environ))
        try:
            answer = self._app(environ, start_response)
            try:
                yield from answer
            finally:
                getattr(answer, "close", lambda: None)()
        except BaseException as error:
            record["outcome"] = type(error).__name__
            raise
        record["outcome"] = "returned"

    def _answer(self, key: str) -> Iterator[bytes]:
        deadline = time.monotonic() + TIMEOUT_S
        while not self._records.ended(key) and time.monotonic() < deadline:
            time.sleep(0.005)
        yield self._records.as_json(key)


def digest(data: bytes, value: int = 0) -> str:
    """A checksum of a body: what may go wrong is loss and disorder, not an attack."""
    return f"{zlib.crc32(data, value):08x}"


def plain(value: Any) -> Any:
    """Return a value in types of JSON that tell bytes from text and long ones apart."""
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        return f"bytes {text}" if len(value) <= _SHORT else f"{len(value)} bytes {digest(value)}"
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return value if len(raw) <= _SHORT else f"{len(value)} characters {digest(raw)}"
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, int | float | None) else type(value).__name__


def plain_scope(scope: Message) -> Any:
    """Return a scope without what differs from run to run: ports, and secrets of the server."""
    found = plain(dict(scope))
    found["client"] = [scope["client"][0], type(scope["client"][1]).__name__]
    found["server"] = [scope["server"][0], type(scope["server"][1]).__name__]
    if "extensions" in found:
        found["extensions"] = sorted(found["extensions"])
    return found


def _note(received: list[Any], event: Message) -> None:
    """Add an event; pieces of one body, which may be cut anywhere, are joined."""
    if event["type"] != "http.request":
        received.append(plain(dict(event)))
        return
    body = event.get("body", b"")
    if not (received and received[-1]["type"] == "http.request"):
        received.append({"type": "http.request", "size": 0, "crc": "0", "more_body": True})
    joined = received[-1]
    joined["size"] += len(body)
    joined["crc"] = digest(body, int(joined["crc"], 16))
    joined["more_body"] = event.get("more_body", False)


def _plain_environ(environ: dict[str, Any]) -> Any:
    """Return an environ without ports; the scope that bridges from ASGI add is that of ASGI."""
    found = plain({key: value for key, value in environ.items() if key != "asgi.scope"})
    return {**found, **dict.fromkeys(_PORTS & environ.keys(), "a port")}
