"""Reads the requests of one connection: bytes in, heads, pieces of body and signals out."""

from enum import Enum
from typing import TypeAlias

from gateway_interface.core.http1.body import MAX_PIECE_BYTES, ChunkedBody
from gateway_interface.core.http1.framing import read_head
from gateway_interface.core.http1.grammar import NOT_CONTROL
from gateway_interface.core.http1.head import CHUNKED, BadHead, Refusal, RequestHead, Signal
from gateway_interface.core.http1.parsers import HeadParser

__all__ = [
    "CHUNKED",
    "CLOSED",
    "END_OF_MESSAGE",
    "NEED_DATA",
    "Event",
    "Refusal",
    "RequestHead",
    "RequestReader",
    "Signal",
]

NEED_DATA = Signal.NEED_DATA
END_OF_MESSAGE = Signal.END_OF_MESSAGE
CLOSED = Signal.CLOSED

Event: TypeAlias = RequestHead | bytes | Signal | Refusal

_CR = ord("\r")

_MAX_EMPTY_LINES = 4
"""Before a request line (RFC 9112 2.2: at least one, from clients that end a body with it)."""

_NO_REQUEST = Refusal(400, "malformed request")  # never returned: no head equals b""

_ILLEGAL_OCTET = "control character or bare CR or LF in the head"


class _State(Enum):
    """What the next byte belongs to."""

    HEAD = "a request line, or the lines behind it"
    SIZED = "a body with Content-Length"
    CHUNKED = "a chunked body"
    END = "nothing more of this request"
    FINISHED = "nothing that is read here"


_HEAD, _SIZED, _CHUNKED, _END, _FINISHED = _State


class RequestReader:
    """The requests of one connection, one after the other.

    Of each request `next_event` returns a RequestHead, then its body as `bytes` (never empty, at
    most 64 KiB), then END_OF_MESSAGE. The call after that goes on to the next request; no byte of
    it is looked at before. After a Refusal, CLOSED, a `take_rest`, or the last request of a client
    that does not keep the connection alive, the reader is finished: it drops what it holds and
    what still comes, and says CLOSED.

    A shell need not ask for the END_OF_MESSAGE of a head whose `content_length` is 0 before it
    serves it, but it is the next event all the same.

    Attributes:
        truncated: The client closed its side within a request. CLOSED was the answer, since
            there is nobody to tell: treat the request as given up (`http.disconnect`).
    """

    __slots__ = (
        "_buffer",
        "_checked",
        "_chunked",
        "_empty_lines",
        "_eof",
        "_keep_alive",
        "_last",
        "_last_raw",
        "_max_head_bytes",
        "_max_headers",
        "_open_cr",
        "_parse_head",
        "_position",
        "_remaining",
        "_state",
        "truncated",
    )

    def __init__(self, parse_head: HeadParser, *, max_head_bytes: int, max_headers: int) -> None:
        """Read from the first byte of a connection.

        Args:
            parse_head: From `head_parser`; shared by all connections.
            max_head_bytes: Request line, headers and the empty line; more is a 431.
            max_headers: Header lines; more is a 431.
        """
        self._parse_head = parse_head
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        # bytes as they came while one `receive_data` suffices, a bytearray once they pile up:
        # the first saves copies, the second keeps a head sent byte by byte linear.
        self._buffer: bytes | bytearray = b""
        self._position = 0
        self._eof = False
        self._state = _HEAD
        self._keep_alive = True
        self._checked = 0  # bytes of an incomplete head that need not be looked at again
        self._open_cr = False  # the last control character among them is a CR
        self._empty_lines = 0
        self._remaining = 0
        self._chunked: ChunkedBody | None = None
        self._last_raw = b""
        self._last: RequestHead | Refusal = _NO_REQUEST
        self.truncated = False

    @property
    def buffered(self) -> int:
        """Bytes held. Stop reading the socket when they are too many; nothing here bounds them."""
        return len(self._buffer) - self._position

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come (empty lines before one do not count)."""
        return self._state is _HEAD and len(self._buffer) == self._position

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the socket; they are kept, not copied, if nothing else is held."""
        if self._state is _FINISHED:
            return
        if self._position == len(self._buffer):
            self._buffer = data
            self._position = 0
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def receive_eof(self) -> None:
        """The client sends no more; what has come is still read (it may only have half-closed)."""
        self._eof = True

    def next_event(self) -> Event:
        """The next thing that the bytes say; NEED_DATA if they do not suffice."""
        state = self._state
        if state is _HEAD:
            return self._next_head()
        if state is _SIZED:
            return self._next_sized()
        if state is _CHUNKED:
            return self._next_chunked()
        if state is _FINISHED:
            return CLOSED
        return self._end_message()

    def take_rest(self) -> bytes:
        """After a head with `upgrade`: all bytes behind it, which are no HTTP any more."""
        rest = bytes(self._buffer[self._position :])
        self._finish()
        return rest

    def _next_head(self) -> RequestHead | Signal | Refusal:
        """Find the end of the head, check its bytes once, have it parsed and judged."""
        buffer, start = self._buffer, self._position
        if start == len(buffer):
            return self._starved(within_request=False)
        if buffer[start] == _CR and buffer.startswith(b"\r\n", start):
            return self._skip_empty_line()
        # An end that began in what was already searched has at most 3 bytes there.
        checked = self._checked
        end = buffer.find(b"\r\n\r\n", start + checked - 3 if checked > 3 else start) + 4
        if end < 4 or end - start > self._max_head_bytes:
            return self._incomplete_head()
        head = bytes(buffer[start:end])
        # The same request again, as clients that poll send it, was judged before.
        request = self._last if head == self._last_raw else self._judge(head)
        if isinstance(request, Refusal):
            return request
        self._position = end
        self._checked = self._empty_lines = 0
        self._open_cr = False
        self._keep_alive = request.keep_alive
        if request.content_length == 0:
            self._state = _END
            if not request.upgrade:
                self._last_raw, self._last = head, request
        else:
            self._begin_body(request.content_length)
        return request

    def _judge(self, head: bytes) -> RequestHead | Refusal:
        """Check the bytes of a head once, and have it parsed."""
        controls = head.translate(None, NOT_CONTROL)
        lines = controls.count(b"\r\n")
        if lines * 2 != len(controls):
            return self._refuse(400, _ILLEGAL_OCTET)
        if lines - 2 > self._max_headers:
            return self._refuse(431, "too many header fields")
        try:
            parsed = self._parse_head(head)
            if len(parsed[3]) != lines - 2:  # RFC 9112 5.2: folding, should a parser allow it
                return self._refuse(400, "malformed header")
            request = read_head(parsed)
        except BadHead as error:
            return self._refuse(error.status, error.reason)
        return request

    def _skip_empty_line(self) -> RequestHead | Signal | Refusal:
        """Pass over a line end before the request line."""
        self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            return self._refuse(400, "too many empty lines before the request line")
        self._position += 2
        self._checked = 0
        self._open_cr = False
        return self._next_head()

    def _incomplete_head(self) -> Signal | Refusal:
        """Refuse what can become no head any more, so that no client waits for nothing."""
        start, held = self._position, self.buffered
        limit = self._max_head_bytes
        fresh = bytes(self._buffer[start + self._checked : start + min(held, limit)])
        controls = fresh.translate(None, NOT_CONTROL)
        if self._open_cr:
            controls = b"\r" + controls
        pairs, open_cr = divmod(len(controls), 2)
        if controls != b"\r\n" * pairs + b"\r" * open_cr:
            return self._refuse(400, _ILLEGAL_OCTET)
        if held > limit:
            return self._refuse(431, "request head too large")
        self._checked = held
        self._open_cr = bool(open_cr)
        return self._starved(within_request=True)

    def _begin_body(self, content_length: int) -> None:
        """RFC 9112 6.3: the length was settled with the head."""
        if content_length == CHUNKED:
            self._state = _CHUNKED
            self._chunked = ChunkedBody()
        else:
            self._state = _SIZED
            self._remaining = content_length

    def _next_sized(self) -> bytes | Signal:
        """What is there of a body with Content-Length; the state moves on with its last byte."""
        start = self._position
        end = start + min(self._remaining, MAX_PIECE_BYTES)
        piece = bytes(self._buffer[start:end])
        if not piece:
            return self._starved(within_request=True)
        self._position = start + len(piece)
        self._remaining -= len(piece)
        if not self._remaining:
            self._state = _END
        return piece

    def _next_chunked(self) -> bytes | Signal | Refusal:
        """What is there of a chunked body."""
        assert self._chunked is not None, self._state
        event, self._position = self._chunked.read(self._buffer, self._position)
        if event is NEED_DATA:
            return self._starved(within_request=True)
        if event is END_OF_MESSAGE:
            self._chunked = None
            return self._end_message()
        if isinstance(event, Refusal):
            self._finish()
        return event

    def _end_message(self) -> Signal:
        """Go on to the next request, if there may be one."""
        self._state = _HEAD
        if not self._keep_alive:  # RFC 9112 9.6: nothing behind the last request is looked at
            self._finish()
        elif self._position == len(self._buffer):
            self._buffer = b""  # an idle connection holds nothing of its last request
            self._position = 0
        return END_OF_MESSAGE

    def _starved(self, *, within_request: bool) -> Signal:
        """Nothing more to read: more may come, or the client has left."""
        if not self._eof:
            return NEED_DATA
        self.truncated = within_request
        self._finish()
        return CLOSED

    def _refuse(self, status: int, reason: str) -> Refusal:
        """End with an answer: where the next request begins is not known any more."""
        self._finish()
        return Refusal(status, reason)

    def _finish(self) -> None:
        """Read nothing more; what is held goes."""
        self._state = _FINISHED
        self._buffer = b""
        self._position = 0
