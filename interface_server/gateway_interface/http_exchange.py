"""One HTTP request and its response: the session between a client's connection and a worker."""

import logging
from collections import deque
from typing import Any, Final, Protocol

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.core.http1.response import ResponseWriter, early_hints
from gateway_interface.core.sse import EventStream, is_event_stream
from gateway_interface.scopes import takes_trailers
from gateway_layer.codec import Message, pack, unpack
from gateway_layer.errors import ProtocolError
from gateway_layer.node import Node
from gateway_layer.owner import OpeningSession
from gateway_layer.wire import CHUNK_BYTES, EVENT_OVERHEAD

_log = logging.getLogger("gateway.interface")

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 9.2.2: doing it twice is as doing it once."""

_TRIES: Final = 2
"""How often a request is opened again because its worker died."""

_DISCONNECT: Final[Message] = {"type": "http.disconnect"}
_LAST_PIECE: Final[Message] = {"type": "http.request", "body": b"", "more_body": False}


class Requester(Protocol):
    """The client's connection, as its exchange sees it."""

    node: Node

    def date(self) -> bytes:
        """Return the value of the Date header."""

    def write(self, data: bytes) -> None:
        """Write to the client."""

    def sent(self, cost: int) -> None:
        """Events of this cost were written and more will come: report when they have drained."""

    def claimed(self) -> None:
        """A worker has the request."""

    def body_wanted(self) -> None:
        """The application asks for more of the body."""

    def finished(self) -> None:
        """The application has sent its last event."""

    def fail(self, status: int, reason: str, *, retry_after: bool = False) -> None:
        """Answer with this status, or cut the response if it has begun."""

    def refused(self) -> None:
        """A worker gave the opening back."""

    def reopen(self, *, suspect: bool) -> None:
        """Have another worker answer the request."""

    def room(self) -> None:
        """More of the body may be read."""

    def redis_was_away(self) -> bool:
        """Whether Redis may have lost the opening."""


def may_repeat(head: RequestHead, *, by_key: bool) -> bool:
    """Tell whether a request may be given to another worker when its own died.

    Args:
        head: The request.
        by_key: An Idempotency-Key makes any method repeatable.
    """
    if head.method in _IDEMPOTENT:
        return True
    return by_key and any(name == b"idempotency-key" for name, _value in head.headers)


def _starts_event_stream(start: Message) -> bool:
    """Tell whether a response is an event stream that ends with its body."""
    if start.get("trailers", False):
        return False
    return is_event_stream(start["status"], start["headers"])


def _last_event_id(head: RequestHead) -> bytes:
    """Return the id from which the client goes on with an event stream; empty: from none."""
    ids = [value for name, value in head.headers if name == b"last-event-id"]
    return ids[-1] if ids else b""


def _with_last_event_id(raw_scope: bytes, last_event_id: bytes) -> bytes:
    """Return the scope with which a client of this id would come back; an empty one is not sent."""
    scope = unpack(raw_scope)
    headers = [field for field in scope["headers"] if field[0] != b"last-event-id"]
    value = last_event_id.strip(b" \t")  # as it would be on the wire: RFC 9110 5.5
    if value:
        headers.append((b"last-event-id", value))
    return pack({**scope, "headers": headers})


class HttpExchange(OpeningSession):
    """One request.

    Attributes:
        head: The request.
        writer: The response.
        body_ended: The whole body was read from the socket.
        expects: The client still waits for `100 Continue`.
    """

    KEEPS_EVENTS = False  # a next instance needs the whole body, not what the last left of it

    __slots__ = (
        "_later",
        "_requester",
        "_resumes",
        "_spare",
        "_splicing",
        "_stream",
        "body_ended",
        "expects",
        "head",
        "writer",
    )

    def __init__(
        self,
        requester: Requester,
        head: RequestHead,
        connection: str,
        window: int,
        *,
        keep_alive: bool,
        spare_bytes: int = -1,
        sse_resume: bool = False,
    ) -> None:
        """Begin an exchange that nobody has claimed.

        Args:
            requester: The client's connection.
            head: Of the request.
            connection: The exchange's id.
            window: Cost of events that the worker may have under way to the client.
            keep_alive: The client's connection may serve another request.
            spare_bytes: How much of the body may be kept for another worker; -1 where the request
                may not be repeated.
            sse_resume: If the answer to this GET is an event stream, and its worker goes, another
                worker may go on with it.
        """
        super().__init__(connection, window)
        self._requester = requester
        self.head = head
        self.writer = ResponseWriter(head.method, head.http_version, keep_alive)
        self._spare = spare_bytes
        self._later: bytearray | None = None  # of the body, what came behind the opening
        self._resumes = sse_resume and head.method == "GET" and head.content_length == 0
        self._stream: EventStream | None = None
        self._splicing = False
        self.body_ended = head.content_length == 0
        self.expects = head.expect_continue

    def mark(self) -> None:
        """Have this session's frames sent at the end of the turn."""
        if not self.dirty:
            self._requester.node.mark(self)

    # To the application.

    @property
    def congested(self) -> bool:
        """Whether the body should not be read: no credit, or no room on the way to Redis."""
        return bool(self._held) or self._requester.node.outlet.room <= 0

    def claim_room(self, cost: int) -> bool:
        """Many requests may get credit in one turn; what they hold leaves in several."""
        return self._requester.node.outlet.claim(cost, self.release_held)

    def emit_body(self, piece: bytes) -> None:
        """Pass a piece of the body on."""
        self._requester.node.outlet.room -= len(piece)
        if self._repeats(len(piece)):
            self._later = self._later or bytearray()
            self._later += piece
        self.emit([_piece(piece)], EVENT_OVERHEAD + len(piece))

    def emit_body_end(self) -> None:
        """Say that the body is complete."""
        self.body_ended = True
        self.emit([_LAST_PIECE], EVENT_OVERHEAD)

    def open_with(self, size: int) -> None:
        """Count what travels with the opening, which is kept with it."""
        self._repeats(size)

    def _repeats(self, size: int) -> bool:
        """Count more of the body; once it is too large, this worker answers or nobody does."""
        if self._spare >= 0:
            self._spare -= size
            if self._spare < 0:
                self._later = None
        return self._spare >= 0

    def disconnect(self) -> None:
        """The client has left, or gets no answer of the application any more."""
        self.close(_DISCONNECT)

    # From the worker.

    def on_events(self, events: tuple[Message, ...]) -> None:
        """Write what the application sent in one turn, head and body in one piece."""
        writer = self.writer
        stream = self._stream
        chunks: list[bytes] = []
        cost = 0
        more = True
        for event in events:
            kind = event["type"]
            if kind == "http.response.body":
                body: Any = event["body"]
                more = event["more_body"]
                # What a stream holds back counts as taken: it is little, and credit for the rest
                # of an event must come also where the window is smaller than the event.
                cost += EVENT_OVERHEAD + len(body)
                if stream is not None:
                    body = self._whole_events(stream, body, more)
                chunks.append(writer.body(body, more))
            elif kind == "http.response.start":
                if not self._start(event, events[-1]):
                    return
                stream = self._stream
                cost += EVENT_OVERHEAD
            else:
                more, written = self._extended(event)
                chunks.append(written)
                cost += EVENT_OVERHEAD
        if more:
            chunks.append(writer.flush_head())
        self._requester.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if more:
            self._requester.sent(cost)
        else:
            self._requester.finished()

    def _start(self, event: Message, last: Message) -> bool:
        """Take the head of a response, and the last event that came together with it.

        Returns:
            False if it cannot be taken, and the response has failed.
        """
        if self._splicing:
            self._splicing = not _starts_event_stream(event)
            if self._splicing:
                self._requester.fail(502, "no other worker goes on with the event stream")
            return not self._splicing
        writer = self.writer
        whole = not last.get("more_body", True) or not last.get("more_trailers", True)
        if whole and not self.body_ended:
            # RFC 9112 9.6: complete before the request is, so the connection will close.
            writer.keep_alive = False
        date = self._requester.date()
        trailers = event.get("trailers", False) and takes_trailers(self.head)
        if not writer.start(event["status"], event["headers"], date, trailers=trailers):
            self._requester.fail(502, "the application sent an invalid response head")
            return False
        if self._resumes and not whole and _starts_event_stream(event):
            self._stream = EventStream(_last_event_id(self.head))
        return True

    def _whole_events(self, stream: EventStream, body: bytes, more: bool) -> bytes:
        """Return what of an event stream may be written now.

        Raises:
            ProtocolError: The worker that goes on with the stream has not sent a head.
        """
        if self._splicing:
            raise ProtocolError("a body before the head of its response")
        return stream.feed(body) if more else stream.finish(body)

    @property
    def answering(self) -> bool:
        """Whether the head of the response has come, from the worker that has the request now."""
        return self.writer.started and not self._splicing

    @property
    def repeatable(self) -> bool:
        """Whether another worker may answer: idempotent, all of the body here, no answer begun.

        Or it may go on with an answer that is an event stream.
        """
        if self._tries >= _TRIES:
            return False
        if self._stream is not None:
            return self._stream.resumable
        return self._spare >= 0 and not self.writer.started

    @property
    def _tries(self) -> int:
        """How often the request was opened again, and got no further by it."""
        return self.resumed if self._stream is None else self._stream.restarts

    def _reopen(self) -> None:
        """Have another worker answer, or go on with the event stream as with a client come back."""
        stream, suspect = self._stream, self._tries == _TRIES - 1
        if stream is not None:
            assert self.opening is not None, "kept where an event stream may go on"
            stream.restart()
            self._splicing = True
            raw_scope = _with_last_event_id(self.opening.raw_scope, stream.last_event_id)
            self.opening = self.opening._replace(raw_scope=raw_scope)
        self._requester.reopen(suspect=suspect)

    def begin_again(self) -> None:
        """Have the next instance get the body from its beginning."""
        self._journal = None
        if self._spare >= 0 and self.opening is not None and self.opening.more:
            later = bytes(self._later or b"")
            pieces = [later[at : at + CHUNK_BYTES] for at in range(0, len(later), CHUNK_BYTES)]
            self._held = deque(([_piece(one)], EVENT_OVERHEAD + len(one)) for one in pieces)
            if self.body_ended:
                self._held.append(([_LAST_PIECE], EVENT_OVERHEAD))

    def on_room(self) -> None:
        """The link to the worker is not full any more."""
        self.release_held()
        self._requester.room()

    @property
    def blocked(self) -> bool:
        """Whether the link to the worker is full."""
        return self.worker in self._requester.node.full

    def _extended(self, event: Message) -> tuple[bool, bytes]:
        """Carry out an event of ASGI's extensions.

        Returns:
            (whether more of the response follows, what to write).

        Raises:
            ProtocolError: It is none, or has no place here.
        """
        kind = event["type"]
        if kind == "http.response.early_hint" and not self.answering:
            # RFC 9110 15.2: no 1xx to HTTP/1.0, nor where a response is under way.
            if self.head.http_version != "1.1" or self._splicing:
                return True, b""
            return True, early_hints(event["links"])
        if kind == "http.response.trailers" and self.writer.started:
            more = event["more_trailers"]
            return more, self.writer.trailers(event["headers"], more)
        raise ProtocolError(f"event {kind!r} in an HTTP exchange")

    def on_claimed(self) -> None:
        """A worker has the request."""
        self._requester.claimed()
        if self._spare < 0 and not self._resumes:
            self.opening = None

    def on_confirmed(self, seq: int) -> None:
        """The application asks for the body: its first wish sends `100 Continue`."""
        if not self.body_ended:
            self._requester.body_wanted()

    def on_done(self, outcome: str) -> None:
        """The application ended without a complete answer."""
        if outcome == "drain" and self.repeatable:
            self._reopen()
        elif outcome == "drain":
            self._requester.fail(503, "the worker stopped", retry_after=True)
        else:
            self._requester.fail(500, "Internal Server Error")

    def on_refused(self) -> None:
        """Certainly not started: another worker shall have it."""
        self._requester.refused()

    def on_detached(self, reason: str) -> None:
        """No worker lets go of a request."""
        self._requester.fail(502, "the worker let go of the request")

    def on_lost(self, reason: str) -> None:
        """The worker died, or has forgotten this request."""
        if self.repeatable:
            self._reopen()
        else:
            if self._tries >= _TRIES:
                _log.error("workers die of this request: %s %r", self.head.method, self.head.path)
            self._requester.fail(502, "the worker died")

    def on_malformed(self, reason: str) -> None:
        """The worker sent what cannot be read."""
        self._requester.fail(502, "the worker sent an invalid event")

    def on_queue_full(self) -> None:
        """Too many requests wait already."""
        self._requester.fail(503, "too many requests are waiting", retry_after=True)

    def on_expired(self) -> None:
        """No worker took the request in time."""
        if self._requester.redis_was_away():
            self.on_unavailable()
            return
        self._requester.fail(504, "no worker took the request in time")

    def on_unavailable(self) -> None:
        """Redis is away."""
        self._requester.fail(503, "the gateway has no connection to its workers", retry_after=True)


def _piece(body: bytes) -> Message:
    """Return the event of a part of the body that is not the last."""
    return {"type": "http.request", "body": body, "more_body": True}
