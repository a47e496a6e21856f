"""Event streams (WHATWG HTML 9.2, "Server-sent events"): where one may be cut and gone on with.

A client has taken a stream up to some byte. Where it would hold nothing there - no field of an
event that is not dispatched yet - another stream of the same resource can follow in the same
response, and the client sees one stream. `EventStream` lets only bytes up to such a place pass.
"""

import re
from collections.abc import Iterable
from typing import Final

MAX_TAIL_BYTES: Final = 65_536
"""How much of an event that is not whole yet is held; a longer one passes as it comes."""

_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_ITSELF: Final = frozenset({b"", b"identity"})


def is_event_stream(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a response is an event stream of which the bytes can be read.

    Args:
        status: Of the response.
        headers: (name, value), in any case.

    Returns:
        True for 200 and `text/event-stream`, whatever its parameters (the stream is UTF-8 in any
        case), without a content coding (RFC 9110 8.4) and without Content-Length.
    """
    if status != 200:
        return False
    typed = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-type":
            if typed or value.partition(b";")[0].strip().lower() != b"text/event-stream":
                return False
            typed = True
        elif lowered == b"content-length" or (
            lowered == b"content-encoding" and value.strip().lower() not in _ITSELF
        ):
            return False
    return typed


class EventStream:
    """Lets the bytes of a stream pass up to where the client holds nothing.

    That is behind the empty line that ends an event, and behind lines that leave nothing with the
    client, such as the comments that keep a connection alive: these need no empty line to pass.

    Attributes:
        last_event_id: What the client has for the next `Last-Event-ID`; empty for none. As in
            browsers it outlives the stream that it came with.
        overflow: An event was longer than MAX_TAIL_BYTES; everything passes as it comes.
        restarts: How many streams have followed since an event passed.
    """

    __slots__ = (
        "_at_start",
        "_delivered",
        "_drops_bom",
        "_forwarded",
        "_has_data",
        "_id",
        "_line",
        "_pending",
        "_scanned",
        "_splits_crlf",
        "_tail",
        "last_event_id",
        "overflow",
        "restarts",
    )

    def __init__(self, last_event_id: bytes = b"") -> None:
        """Begin with the first stream of a response.

        Args:
            last_event_id: As the client sent it; empty if it sent none.
        """
        self.last_event_id = last_event_id
        self.overflow = False
        self.restarts = 0
        self._delivered = False
        self._forwarded = False
        self._begin(drops_bom=False)

    def _begin(self, *, drops_bom: bool) -> None:
        """Begin a stream: nothing of it has come."""
        self._tail = bytearray()  # what has come and has not passed
        self._line = 0  # where in it the present line begins
        self._scanned = 0  # how much of it was searched for the end of that line
        self._at_start = True
        self._drops_bom = drops_bom
        self._splits_crlf = False  # the last byte is a CR: a LF that follows belongs to it
        self._pending = False  # the client would hold fields of an event
        self._has_data = False
        self._id = self.last_event_id

    @property
    def resumable(self) -> bool:
        """Whether another stream can follow without a gap, and without an event sent twice.

        Without an id the next stream cannot know what has passed, so it may only follow where no
        event has: else the client has to see the cut, as it would with any other server.
        """
        return not self.overflow and (bool(self.last_event_id) or not self._delivered)

    def feed(self, data: bytes) -> bytes:
        """Take in what comes, and return what may pass now; perhaps nothing."""
        if self.overflow or not data:
            return data
        tail = self._tail
        tail += data
        if self._at_start and not self._skip_bom():
            return b""
        whole = self._scan()
        passed = bytes(tail[:whole])
        del tail[:whole]
        self._line -= whole
        self._scanned = len(tail)
        if len(tail) > MAX_TAIL_BYTES:
            self.overflow = True
            passed += tail
            tail.clear()
        self._forwarded = self._forwarded or bool(passed)
        return passed

    def finish(self, data: bytes) -> bytes:
        """Take in the last of a response that ends by itself; all that is left passes."""
        passed = self.feed(data) + self._tail
        self._tail.clear()
        return passed

    def restart(self) -> None:
        """Forget the event that is not whole: another stream follows, by `last_event_id`.

        A byte order mark is one only at the start of what the client sees, so that of the other
        stream does not pass.
        """
        self.restarts += 1
        self._begin(drops_bom=self._forwarded)

    def _skip_bom(self) -> bool:
        """Have the first line begin behind a byte order mark; False while it may be one yet."""
        tail = self._tail
        if len(tail) < len(_BOM) and _BOM.startswith(tail):
            return False
        self._at_start = False
        if tail.startswith(_BOM):
            if self._drops_bom:
                del tail[: len(_BOM)]
            else:
                self._line = self._scanned = len(_BOM)
        return True

    def _scan(self) -> int:
        """Read the lines that have come, and return how much of the tail may pass."""
        tail = self._tail
        whole = 0
        if self._splits_crlf and tail[self._scanned] == _LF:
            self._scanned += 1
            self._line = self._scanned
            whole = 0 if self._pending else self._line
        for end in _LINE_END.finditer(tail, self._scanned):
            line = bytes(tail[self._line : end.start()])
            self._line = end.end()
            if line:
                self._read_field(line)
            else:
                self._dispatch()
            if not self._pending:
                whole = self._line
        self._splits_crlf = tail.endswith(b"\r")
        return whole

    def _read_field(self, line: bytes) -> None:
        """Carry out a line as far as it matters here; comments, `retry` and others do not."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._pending = self._has_data = True
        elif name == b"event":
            self._pending = True
        elif name == b"id" and b"\0" not in value:
            self._pending = True
            self._id = value.removeprefix(b" ")

    def _dispatch(self) -> None:
        """An empty line: the client takes over the id, and fires the event if it has data."""
        if not self._pending:
            return
        self._pending = False
        self.restarts = 0
        self.last_event_id = self._id
        if self._has_data:
            self._has_data = False
            self._delivered = True
