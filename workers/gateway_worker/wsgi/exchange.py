"""One request to a WSGI application: a thread runs it, the event loop talks to the client.

The two share plain attributes and tell each other that there is something to look at: the thread
by `wake`, the loop by `gate`. Each access is atomic in CPython; what matters is the order, which
comments at the places name.
"""

import asyncio
import io
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from threading import Event
from types import TracebackType
from typing import Any, Final
from wsgiref.util import is_hop_by_hop

from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_worker.core.http import as_bytes, header_fields

_log = logging.getLogger("gateway.worker")

_AHEAD_BYTES: Final = 65_536
"""What a thread may have written that the client's credit has not taken."""

_BLOCK_BYTES: Final = 65_536

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class FileWrapper:
    """`wsgi.file_wrapper`: iterates over what a file-like object still holds.

    The block size that the application proposes is a proposal (PEP 3333): less than 64 KiB would
    only cost more events.
    """

    def __init__(self, filelike: Any, block_size: int = 8192) -> None:
        """Wrap an object with `read`, and `close` if it has to be closed."""
        self._filelike: Final = filelike
        self._block_size: Final = max(block_size, _BLOCK_BYTES)
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        """Read to the end."""
        while block := self._filelike.read(self._block_size):
            yield block


class Exchange:
    """One request and its response."""

    def __init__(
        self,
        app: Callable[[dict[str, Any], Any], Iterable[bytes]],
        environ: dict[str, Any],
        wake: Callable[["Exchange"], None],
    ) -> None:
        """Prepare a request; `prepare_input` has to be next.

        Args:
            app: The WSGI application.
            environ: Complete but for `wsgi.input`.
            wake: Called in the thread; has the loop call `look` soon.
        """
        self._app: Final = app
        self._environ: Final = environ
        self._wake: Final = wake
        # Written by the thread.
        self._out: Final[deque[dict[str, Any]]] = deque()
        self._written = 0
        self._wants_body = False
        self._done = False
        self._error: BaseException | None = None
        self._gate: Event | None = None
        # Written by the loop.
        self._taken = 0
        self._left = False
        self._over = False  # `serve` has ended
        self._pieces: Final[deque[tuple[bytes, bool]]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        # The thread's own.
        self._start: dict[str, Any] | None = None
        self._start_sent = False
        self._promised: int | None = None  # bytes that Content-Length still wants
        self._complete = False
        self._bodiless = environ["REQUEST_METHOD"] == "HEAD"

    # The loop's side.

    async def prepare_input(
        self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
    ) -> bool:
        """Set `wsgi.input`; a body that has come whole needs no step between the threads.

        Waits for the first piece, so that a slow client keeps no thread, unless the client itself
        waits for 100 Continue, which the application's first read sends.

        Returns:
            False if the client has left.
        """
        environ = self._environ
        if not _may_have_body(environ):
            environ["wsgi.input"] = io.BytesIO()
            return True
        if "HTTP_EXPECT" not in environ:
            message = await receive()
            if message["type"] != "http.request":
                return False
            piece, more = message.get("body", b""), message.get("more_body", False)
            if not more:
                environ["wsgi.input"] = io.BytesIO(piece)
                return True
        else:
            piece = b""
        environ["wsgi.input"] = io.BufferedReader(_Input(self, piece), _BLOCK_BYTES)
        return True

    async def serve(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Carry out what the thread asks for until the application is done.

        Raises:
            BaseException: What the application raised, or `send` did. The thread then runs on
                until it writes or reads, and is told that the client has left.
        """
        out = self._out
        try:
            while True:
                done = self._done  # before `out`: the thread appends first
                for _ in range(len(out)):  # and not all that comes meanwhile: others wait, too
                    event = out.popleft()
                    await send(event)
                    if "body" in event:
                        self._taken += len(event["body"])
                        self._open_gate()
                if self._wants_body:
                    self._wants_body = False
                    await self._take_in(receive)
                elif done:
                    break
                elif out:
                    await asyncio.sleep(0)
                else:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        finally:
            self._left = self._over = True
            self._open_gate()
        if self._error is not None:
            raise self._error

    async def _take_in(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        message = await receive()
        if message["type"] == "http.request":
            self._pieces.append((message.get("body", b""), message.get("more_body", False)))
        else:
            self._left = True
        self._open_gate()

    def _open_gate(self) -> None:
        """Let the thread look again at what it waits for."""
        gate = self._gate
        if gate is not None:
            gate.set()

    def look(self) -> None:
        """The thread has done something: go on in `serve` if that waits."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The thread's side.

    def run(self) -> None:
        """Run the application, in a thread; raises nothing."""
        try:
            result = self._app(self._environ, self.start_response)
            try:
                self._respond(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            self._fail(error)
        self._done = True
        self._wake(self)

    def _fail(self, error: BaseException) -> None:
        """Have `serve` raise this; where it has ended already, nobody else would hear of it."""
        if not self._over:
            self._error = error
        elif not isinstance(error, ClientDisconnected):
            path = self._environ["PATH_INFO"]
            _log.error("application failed after its client had left %r", path, exc_info=error)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333 `start_response`; the head leaves with the first byte of the body.

        Hop-by-hop fields are the server's own business and left out.

        Raises:
            ApplicationError: A second call without `exc_info`, or a malformed head.
            TypeError: A status or header that is no str.
            BaseException: That of `exc_info`, if the head has left.
        """
        try:
            if exc_info is not None:
                if self._start_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            elif self._start is not None:
                raise ApplicationError("start_response was called twice without exc_info")
            self._set_head(status, headers)
        finally:
            exc_info = None  # PEP 3333: avoids a circular reference
        return self.write

    def _set_head(self, status: str, headers: list[tuple[str, str]]) -> None:
        if not isinstance(status, str):
            raise TypeError(f"the status must be a str, not {type(status).__name__}")
        code = status[:3]
        if not (code.isascii() and code.isdigit()) or status[3:4] not in ("", " "):
            raise ApplicationError(f"a malformed status: {status[:80]!r}")
        fields = header_fields(
            [(_octets(name), _octets(value)) for name, value in headers if not is_hop_by_hop(name)]
        )
        self._promised = None
        for name, value in fields:
            if name == b"content-length":
                if not value.isdigit() or self._promised is not None:
                    raise ApplicationError(f"invalid or second Content-Length {value[:40]!r}")
                self._promised = int(value)
        self._bodiless = self._environ["REQUEST_METHOD"] == "HEAD" or code in ("204", "304")
        self._start = {"type": "http.response.start", "status": int(code), "headers": fields}

    def _respond(self, result: Iterable[bytes]) -> None:
        """Send what the application returned.

        Only what can be had without calling the application again is held back: PEP 3333 lets no
        block wait for the next one to be made.
        """
        if type(result) is list or type(result) is tuple:
            body = b"".join(result)
            if self._start is not None and not self._start_sent:
                self._size(len(body))
            if body:
                self.write(body)
        else:
            for block in result:
                if block:
                    self.write(block)
        if self._start is None:
            raise ApplicationError("the application has not called start_response")
        if not self._complete:
            self._put(b"", more=False)

    def _size(self, length: int) -> None:
        """Tell the length of a whole body where the application did not (PEP 3333)."""
        if self._promised is None and not self._bodiless:
            assert self._start is not None, "asked for by the caller"
            self._start["headers"].append((b"content-length", b"%d" % length))
            self._promised = length

    def write(self, data: bytes) -> None:
        """PEP 3333 `write`: send some of the body; waits while the client takes nothing.

        Raises:
            TypeError: It is not bytes.
            ApplicationError: It comes before `start_response`, or exceeds Content-Length.
            ClientDisconnected: The client has left.
        """
        if type(data) is not bytes:
            data = as_bytes(data, "a block of the body")
        if self._start is None:
            raise ApplicationError("the application wrote before it called start_response")
        if self._bodiless:
            if not self._start_sent:
                self._put(b"", more=True)
            elif self._left:
                raise ClientDisconnected("the client has left")
            return
        more = True
        if self._promised is not None:
            self._promised -= len(data)
            if self._promised < 0:
                raise ApplicationError("Response content longer than Content-Length")
            more = self._promised > 0
        self._put(data, more=more)

    def _put(self, data: bytes, *, more: bool) -> None:
        """Hand a piece over to the loop, with the head before the first."""
        if self._left:
            raise ClientDisconnected("the client has left")
        if not self._start_sent:
            assert self._start is not None, "checked by the callers"
            self._start_sent = True
            self._out.append(self._start)
        self._out.append({"type": "http.response.body", "body": data, "more_body": more})
        self._written += len(data)
        self._complete = not more
        self._wake(self)
        if more and self._written - self._taken > _AHEAD_BYTES:
            self._wait(lambda: self._written - self._taken <= _AHEAD_BYTES)

    def next_piece(self) -> tuple[bytes, bool]:
        """Ask the client's side for more of the body: (piece, whether more follow).

        Raises:
            ClientDisconnected: It has left.
        """
        self._wants_body = True
        self._wake(self)
        self._wait(lambda: bool(self._pieces))
        return self._pieces.popleft()

    def _wait(self, reached: Callable[[], bool]) -> None:
        """Wait until the loop has brought this about.

        Raises:
            ClientDisconnected: The client has left.
        """
        gate = Event()
        self._gate = gate  # before the condition: the loop changes that first, then looks here
        while not reached() and not self._left:
            gate.wait()
            gate.clear()
        self._gate = None
        if self._left:
            raise ClientDisconnected("the client has left")


class _Input(io.RawIOBase):
    """`wsgi.input` of a body that has not come whole; read through an io.BufferedReader."""

    def __init__(self, exchange: Exchange, piece: bytes) -> None:
        """Begin with what has come already."""
        super().__init__()
        self._exchange = exchange
        self._rest = memoryview(piece)
        self._more = True

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for the next bytes; 0 at the end of the body.

        Raises:
            ClientDisconnected: The client left before the end.
        """
        while not self._rest:
            if not self._more:
                return 0
            piece, self._more = self._exchange.next_piece()
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _may_have_body(environ: dict[str, Any]) -> bool:
    """Whether there can be a body: HTTP/1 says so in its head, HTTP/2 and 3 need not."""
    return (
        environ.get("CONTENT_LENGTH", "0") != "0"
        or "HTTP_TRANSFER_ENCODING" in environ
        or environ["SERVER_PROTOCOL"] > "HTTP/1.1"
    )


def _octets(text: object) -> bytes:
    """Return the octets that a str of WSGI stands for.

    Raises:
        TypeError: It is no str.
        ApplicationError: A character beyond U+00FF, which stands for no octet.
    """
    if not isinstance(text, str):
        raise TypeError(f"names and values of headers must be str, not {type(text).__name__}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise ApplicationError(f"a header cannot hold {text[:80]!r}") from None
