"""One socket of the push listener: the asyncio shell of the HTTP core and the API."""

import asyncio
import logging
from enum import Enum, auto
from typing import Final, cast

from gateway_interface.core.http1.head import Refusal, RequestHead, Signal
from gateway_interface.core.http1.request import RequestReader
from gateway_interface.core.http1.response import CONTINUE, ResponseWriter
from gateway_interface.push_api.answers import Answer, ApiError, error_answer
from gateway_interface.push_api.api import MAX_CONNECTIONS, Call, PushApi
from gateway_interface.scopes import endpoint
from gateway_interface.services import Services, log_access
from gateway_layer.owner import FOREVER

_log = logging.getLogger("gateway.push")

_READ_AHEAD: Final = 65_536
"""Bytes of following requests that are held while one is under way."""

_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 32 * 2**20
"""An answer that comes before the end of the request would be lost in a reset if the socket were
closed at once; so much more of the request is read and dropped."""


class _Phase(Enum):
    """What the connection does now."""

    HEAD = auto()
    """Waits for, or reads, the head of a request."""
    BODY = auto()
    """Reads the body of an admitted request."""
    ANSWER = auto()
    """A task carries the request out."""
    LINGER = auto()
    """The last answer is written; what still comes is dropped."""
    CLOSED = auto()


_HEAD, _BODY, _ANSWER, _LINGER, _CLOSED = _Phase


class PushConnection(asyncio.Protocol):
    """Reads requests one after the other, and answers each from a task of its own.

    A slow request holds up nothing but what its own client pipelined behind it: that waits in the
    reader, and beyond 64 KiB in the client's memory.

    Attributes:
        deadline: When `on_deadline` is due, by the loop's clock.
    """

    def __init__(self, services: Services, api: PushApi) -> None:
        """Prepare for a socket."""
        self._services: Final = services
        self._api: Final = api
        limits = services.limits
        self._reader: Final = RequestReader(
            services.parse_head,
            max_head_bytes=limits.max_head_bytes,
            max_headers=limits.max_headers,
        )
        self._phase = _HEAD
        self._head_begun = False
        self._call: Call | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._read_paused = False
        self._write_paused = False
        self._waiting_to_write = 0
        self._lingered = 0
        self.deadline = FOREVER

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket, or refuse it where too many are open."""
        # uvloop's transports are not asyncio.Transport by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._client = endpoint(transport.get_extra_info("peername"))
        self._services.clients.add(self)
        self._api.connections += 1
        self._set_deadline(self._services.limits.header_timeout_s)
        if self._services.draining:
            self._close()
        elif self._api.connections > MAX_CONNECTIONS:
            self._end_with(ApiError(503, "too many connections to the push API"))

    def data_received(self, data: bytes) -> None:
        """Feed the reader, and go on as far as the bytes reach."""
        if self._phase is _LINGER:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.abort()
        elif self._phase is not _CLOSED:
            self._reader.receive_data(data)
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or we have closed; what is under way may still be carried out."""
        self._phase = _CLOSED
        self._services.clients.discard(self)
        self._api.connections -= 1
        self._release_body()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client takes no answers: it gets no further ones."""
        self._write_paused = True
        self._waiting_to_write = self._transport.get_write_buffer_size()
        self._set_deadline(self._services.limits.send_timeout_s)

    def resume_writing(self) -> None:
        """The client has taken what waited."""
        self._write_paused = False
        if self._phase is _HEAD:
            self._set_deadline(self._services.limits.keep_alive_timeout_s)
            self._advance()

    # Requests.

    def _advance(self) -> None:
        """Read heads and bodies until more bytes, an answer or room for one is needed."""
        while self._phase is _BODY or (self._phase is _HEAD and not self._write_paused):
            event = self._reader.next_event()
            if isinstance(event, RequestHead):
                self._begin(event)
            elif isinstance(event, bytes):
                self._take_piece(event)
            elif isinstance(event, Refusal):
                self._end_with(ApiError(event.status, event.reason))
            elif event is Signal.END_OF_MESSAGE:
                self._carry_out()
            elif event is Signal.CLOSED:
                self._close()
            else:
                self._await_bytes()
                break
        if self._reader.buffered > _READ_AHEAD and self._phase in (_HEAD, _ANSWER):
            self._pause_reading()
        else:
            self._resume_reading()

    def _await_bytes(self) -> None:
        if self._phase is _BODY:
            self._set_deadline(self._services.limits.body_timeout_s)
        elif not self._head_begun and not self._reader.idle:
            self._head_begun = True
            self._set_deadline(self._services.limits.header_timeout_s)

    def _begin(self, head: RequestHead) -> None:
        """Admit a request by its head, before any of its body is held."""
        self._head_begun = False
        try:
            self._call = self._api.admit(head)
        except ApiError as error:
            self._end_with(error, head)
            return
        self._phase = _BODY
        if head.expect_continue:
            self._transport.write(CONTINUE)

    def _take_piece(self, piece: bytes) -> None:
        assert self._call is not None, "a body belongs to an admitted request"
        self._body += piece
        try:
            self._api.hold(self._call, len(self._body), len(piece))
        except ApiError as error:
            self._end_with(error, self._call.head)

    def _release_body(self) -> bytes:
        body = bytes(self._body)
        self._body.clear()
        self._api.held_bytes -= len(body)
        return body

    def _carry_out(self) -> None:
        assert self._call is not None, "only an admitted request ends"
        self._phase = _ANSWER
        self.deadline = FOREVER  # the API keeps its own
        self._task = self._services.loop.create_task(self._answer(self._call))

    async def _answer(self, call: Call) -> None:
        try:
            answer = await self._api.answer(call, bytes(self._body))
        except ApiError as error:
            answer = error_answer(error)
        except Exception:  # a fault of ours: this request fails, the connection goes on
            _log.exception("a request to the push API failed")
            answer = error_answer(ApiError(500, "the gateway failed"))
        self._task = None
        self._release_body()
        if self._phase is not _ANSWER:
            return
        keep_alive = call.head.keep_alive and not self._services.draining
        if self._write(answer, call.head, keep_alive=keep_alive):
            self._phase = _HEAD
            self._set_deadline(self._services.limits.keep_alive_timeout_s)
            self._advance()
        else:
            self._close()

    # Answers.

    def _write(self, answer: Answer, head: RequestHead | None, *, keep_alive: bool) -> bool:
        """Write an answer; returns whether the connection stays open."""
        method, version = (head.method, head.http_version) if head else ("GET", "1.1")
        writer = ResponseWriter(method, version, keep_alive)
        length = (b"content-length", b"%d" % len(answer.body))
        taken = writer.start(answer.status, [*answer.headers, length], self._services.date())
        assert taken, f"not a valid head of our own: {answer.status} {answer.headers!r}"
        if answer.status >= 400:
            self._services.count_refusal(answer.status)
        self._log(head, answer.status)
        self._transport.write(writer.body(answer.body, more=False))
        return writer.keep_alive

    def _end_with(self, error: ApiError, head: RequestHead | None = None) -> None:
        """Answer a request that is not read to its end; goes on only if it has no body."""
        self._release_body()
        keep_alive = (
            head is not None
            and head.content_length == 0
            and head.keep_alive
            and not head.upgrade
            and not self._services.draining
        )
        if self._write(error_answer(error), head, keep_alive=keep_alive):
            self._reader.next_event()  # the end of the message
            self._set_deadline(self._services.limits.keep_alive_timeout_s)
            return
        # Close our side, and read on for a moment so that the client reads the answer.
        self._phase = _LINGER
        self._resume_reading()
        self._set_deadline(_LINGER_S)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _log(self, head: RequestHead | None, status: int) -> None:
        log = self._services.access_log
        if log is not None and head is not None:
            query = b"?" + head.query_string if head.query_string else b""
            target = head.raw_path + query
            log_access(log, self._client, head.method, target, head.http_version, status)

    # Deadlines and the end.

    def _set_deadline(self, after_s: float) -> None:
        self.deadline = self._services.loop.time() + after_s

    def on_deadline(self, now: float) -> None:
        """The client has not done in time what was waited for."""
        if self._write_paused:
            waiting = self._transport.get_write_buffer_size()
            if waiting >= self._waiting_to_write:
                self.abort()
            else:
                self._waiting_to_write = waiting
                self.deadline = now + self._services.limits.send_timeout_s
        elif self._phase is _BODY or (self._phase is _HEAD and not self._reader.idle):
            self._end_with(ApiError(408, "the request took too long to come"))
        elif self._phase is _HEAD:
            self._close()
        else:
            self.abort()

    def drain(self) -> None:
        """Close at once between two requests, else after the answer."""
        if self._phase is _HEAD:
            self._close()

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    def _close(self) -> None:
        self._phase = _CLOSED
        self._set_deadline(self._services.limits.send_timeout_s)
        self._transport.close()

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()
