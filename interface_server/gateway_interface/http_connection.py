"""One client's connection while it speaks HTTP/1.1: the asyncio shell of the cores."""

from typing import Final

from gateway_interface.core.http1.head import Refusal, RequestHead, Signal
from gateway_interface.core.http1.request import RequestReader
from gateway_interface.core.http1.response import CONTINUE
from gateway_interface.core.websocket import Handshake
from gateway_interface.http_exchange import HttpExchange, may_repeat
from gateway_interface.http_socket import RETRY_AFTER, HttpSocket, Phase
from gateway_interface.scopes import http_scope
from gateway_interface.services import Services
from gateway_interface.websocket_client import WebSocketClient
from gateway_layer.codec import pack
from gateway_layer.owner import FOREVER
from gateway_layer.session import State
from gateway_layer.wire import CHUNK_BYTES

_READ_AHEAD: Final = 65_536
"""Bytes of following requests that are held while one is under way."""

_NEED_DATA: Final = Signal.NEED_DATA
_END: Final = Signal.END_OF_MESSAGE


_HEAD, _EXCHANGE, _LINGER, _CLOSED = Phase
# Bound once: an attribute of an Enum costs 50 ns.
_BOUND, _DETACHED, _ENDED = State.BOUND, State.DETACHED, State.CLOSED


class HttpConnection(HttpSocket):
    """Feeds the request reader, runs one exchange at a time, keeps the deadlines."""

    __slots__ = (
        "_exchange",
        "_head_begun",
        "_last_head",
        "_queue",
        "_raw_scope",
        "_reader",
        "_unsent",
        "node",
    )

    def __init__(self, services: Services) -> None:
        """Prepare for a socket."""
        super().__init__(services)
        limits = services.limits
        self._reader = RequestReader(
            services.parse_head,
            max_head_bytes=limits.max_head_bytes,
            max_headers=limits.max_headers,
        )
        self._exchange: HttpExchange | None = None
        self._last_head: RequestHead | None = None
        self._raw_scope = b""
        self._queue = ""
        self._head_begun = False
        self._unsent = 0
        self.node = services.node

    # asyncio's side.

    def data_received(self, data: bytes) -> None:
        """Feed the reader, and serve what is complete."""
        phase = self._phase
        if phase is _HEAD:
            self._reader.receive_data(data)
            if not self._write_paused:
                self._read_head()
        elif phase is _EXCHANGE:
            self._reader.receive_data(data)
            exchange = self._exchange
            assert exchange is not None, "an exchange is under way"
            if not exchange.body_ended:
                self._read_body(exchange)
            elif self._reader.buffered > _READ_AHEAD:
                self._pause_reading()
        elif phase is _LINGER:
            self._drop(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or we have closed."""
        self._phase = _CLOSED
        self._services.clients.discard(self)
        exchange = self._exchange
        if exchange is not None:
            self._log(exchange.head, 499)
            self._give_up(exchange)

    def resume_writing(self) -> None:
        """The client has taken what waited."""
        self._write_paused = False
        unsent, self._unsent = self._unsent, 0
        exchange = self._exchange
        if exchange is not None:
            if exchange.state is _DETACHED:
                self.reopen(suspect=False)
                return
            if unsent:
                exchange.drained(unsent)
            self._set_deadline(exchange)
        elif self._phase is _HEAD:
            self._next_request()

    # Requests.

    def _read_head(self) -> None:
        event = self._reader.next_event()
        if event.__class__ is RequestHead:
            self._begin(event)
        elif event is _NEED_DATA:
            if not self._head_begun and not self._reader.idle:
                self._head_begun = True
                self.deadline = self._services.loop.time() + self._services.limits.header_timeout_s
            self._resume_reading()
        elif isinstance(event, Refusal):
            self._refuse(event)
        else:
            self._close()

    def _begin(self, head: RequestHead) -> None:
        """Open an exchange with as much of the body as has come."""
        services = self._services
        if head.upgrade:
            self._upgrade(head)
            return
        keep_alive = head.keep_alive and not services.draining
        config = services.config
        spare_bytes = -1
        if config.retry_body_bytes and may_repeat(head, by_key=config.retry_idempotency_key):
            spare_bytes = config.retry_body_bytes
        exchange = HttpExchange(
            self,
            head,
            services.ids.new(),
            services.limits.window_bytes,
            keep_alive=keep_alive,
            spare_bytes=spare_bytes,
            sse_resume=config.sse_resume,
        )
        body = b""
        if exchange.body_ended:
            self._reader.next_event()
        else:
            body = self._first_of_body(exchange)
            if self._phase is not _HEAD:
                return
            exchange.open_with(len(body))
        services.requests += 1
        self._exchange = exchange
        self._phase = _EXCHANGE
        self._head_begun = False
        self.deadline = services.loop.time() + services.config.queue_deadline_s
        services.node.sessions[exchange.connection] = exchange
        if head is not self._last_head:
            # A client that asks the same again in the same words has the same scope.
            self._last_head = head
            self._raw_scope = pack(http_scope(head, self._client, self._server))
            self._queue = services.routes.queue(head.path, "http")
        more = not exchange.body_ended
        services.openings.open(exchange, self._queue, "http", self._raw_scope, body, more)

    def _first_of_body(self, exchange: HttpExchange) -> bytes:
        """Return what has come of the body, up to about a chunk; refuses a malformed one."""
        pieces: list[bytes] = []
        size = 0
        while size < CHUNK_BYTES:
            event = self._reader.next_event()
            if isinstance(event, bytes):
                pieces.append(event)
                size += len(event)
            elif event is _END:
                exchange.body_ended = True
                break
            elif isinstance(event, Refusal):
                self._refuse(event)
                break
            else:
                break
        if size:
            exchange.expects = False
        return b"".join(pieces)

    def _read_body(self, exchange: HttpExchange) -> None:
        """Pass on what has come of the body, as far as the application's credit goes."""
        while not exchange.congested:
            event = self._reader.next_event()
            if isinstance(event, bytes):
                exchange.expects = False
                exchange.emit_body(event)
            elif event is _END:
                exchange.emit_body_end()
                break
            elif isinstance(event, Refusal):
                self._refuse(event)
                return
            else:
                break
        waits = not exchange.body_ended and exchange.congested
        if waits or self._reader.buffered > _READ_AHEAD:
            self._pause_reading()
            if waits and self.node.outlet.room <= 0:
                self.node.outlet.when_room(self._on_room)
        else:
            self._resume_reading()
        self._set_deadline(exchange)

    def _on_room(self) -> None:
        """The way to Redis is free again."""
        exchange = self._exchange
        if exchange is not None and not exchange.body_ended:
            self._read_body(exchange)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a malformed request, and close."""
        exchange = self._exchange
        if exchange is not None:
            self.fail(refusal.status, refusal.reason)
            return
        self._services.count_refusal(refusal.status)
        self._respond(refusal.status, refusal.reason)
        self._linger()

    def _upgrade(self, head: RequestHead) -> None:
        """Hand the socket over to a WebSocket client."""
        services = self._services
        deflate = services.config.websocket.deflate
        handshake = Handshake(head.path, head.headers, deflate=deflate)
        if handshake.refusal is not None:
            status, reason, headers = handshake.refusal
            services.count_refusal(status)
            self._log(head, status)
            self._respond(status, reason, headers)
            self._linger()
            return
        services.clients.discard(self)
        self._resume_reading()
        WebSocketClient(services, handshake, head).open(self._transport, self._reader.take_rest())
        self._phase = _CLOSED

    # What the exchange asks for.

    def claimed(self) -> None:
        """A worker has the request: from now on it is the response that is waited for."""
        exchange = self._exchange
        if exchange is not None:
            self._services.openings.claimed(exchange)
            if not exchange.body_ended:
                self._read_body(exchange)
            else:
                self._set_deadline(exchange)

    def reopen(self, *, suspect: bool) -> None:
        """Have another worker answer the request, or go on with its answer.

        Where the client has still to take what the last worker sent, when it has: credit counts
        from the start with each worker, so that the windows of several could wait for the client.

        Args:
            suspect: As for `Openings.reopen`.
        """
        if self._exchange is None:
            return
        self._unsent = 0
        if self._write_paused:
            self._exchange.detach()
        else:
            self.deadline = self._services.loop.time() + self._services.config.queue_deadline_s
            self._services.openings.reopen(self._exchange, suspect=suspect)

    def room(self) -> None:
        """More of the body may be read."""
        self._on_room()

    def redis_was_away(self) -> bool:
        """Whether Redis may have lost the opening."""
        return self._services.openings.redis_was_away()

    def body_wanted(self) -> None:
        """The application asks for the body."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.expects:
            exchange.expects = False
            if not exchange.writer.started:
                self.write(CONTINUE)
        self._read_body(exchange)

    def sent(self, cost: int) -> None:
        """Grant credit for what was written, once the client has taken it."""
        exchange = self._exchange
        if exchange is None:
            return
        if self._write_paused:
            self._unsent += cost
            # More waits, so that it shows whether the client takes some. What an event stream
            # had held back is more than this turn's cost.
            waiting = self._transport.get_write_buffer_size()
            self._waiting_to_write = max(self._waiting_to_write + cost, waiting)
        else:
            exchange.drained(cost)
            self._set_deadline(exchange)

    def finished(self) -> None:
        """The application has answered: on to the next request, or close."""
        exchange = self._exchange
        assert exchange is not None, "only the current exchange finishes"
        writer = exchange.writer
        if not writer.complete:
            self.fail(502, "the response was shorter than its Content-Length")
            return
        self._exchange = None
        exchange.state = _ENDED
        del self.node.sessions[exchange.connection]
        if exchange.resumed:  # claimed and answered in one turn, its return is not over yet
            self._services.openings.forget(exchange)
        if self._services.access_log is not None:
            self._log(exchange.head, writer.status)
        if not exchange.body_ended:
            self._linger()
        elif not writer.keep_alive or self._services.draining:
            self._close()
        else:
            self._phase = _HEAD
            if self._write_paused:
                # Requests of a client that takes no answers wait in its own memory.
                self._pause_reading()
            else:
                self._next_request()

    def _next_request(self) -> None:
        """Wait for the next request, or begin with it where it has come already."""
        self.deadline = self._services.loop.time() + self._services.limits.keep_alive_timeout_s
        buffered = self._reader.buffered
        if buffered <= _READ_AHEAD:
            self._resume_reading()
        if buffered:
            self._read_head()

    def fail(self, status: int, reason: str, *, retry_after: bool = False) -> None:
        """Answer with this status, or cut the response if it has begun."""
        exchange = self._exchange
        if exchange is None:
            return
        self._give_up(exchange)
        writer = exchange.writer
        if writer.head_sent:
            self._log(exchange.head, writer.status)
            self._cut(writer)
            return
        self._services.count_refusal(status)
        self._log(exchange.head, status)
        head_only = exchange.head.method == "HEAD"
        self._respond(status, reason, RETRY_AFTER if retry_after else [], head_only=head_only)
        if exchange.body_ended:
            self._close()
        else:
            self._linger()

    def refused(self) -> None:
        """A worker gave the opening back."""
        if self._exchange is not None:
            self._services.openings.give_back(self._exchange)

    def _give_up(self, exchange: HttpExchange) -> None:
        """End the session: nobody waits for the application's answer."""
        self._exchange = None
        self._services.openings.forget(exchange)
        exchange.disconnect()
        self.node.sessions.pop(exchange.connection, None)

    # Deadlines.

    def _set_deadline(self, exchange: HttpExchange) -> None:
        """Wait for whoever has the next step."""
        if self._write_paused or exchange.state is not _BOUND:
            return
        limits = self._services.limits
        now = self._services.loop.time()
        if not (exchange.body_ended or exchange.expects or exchange.congested):
            self.deadline = now + limits.body_timeout_s
        elif exchange.answering or not limits.response_timeout_s:
            self.deadline = FOREVER
        else:
            self.deadline = now + limits.response_timeout_s

    def on_deadline(self, now: float) -> None:
        """Somebody has not done in time what was waited for."""
        exchange = self._exchange
        if self._write_paused:
            self._check_progress(now)
        elif self._phase is _LINGER or self._phase is _CLOSED:
            self._transport.abort()
        elif exchange is None:
            if self._head_begun:
                self._refuse(Refusal(408, "the request took too long"))
            else:
                self._close()
        elif exchange.state is not _BOUND:
            exchange.on_expired()
        elif not (exchange.body_ended or exchange.expects or exchange.congested):
            self.fail(408, "the body took too long")
        else:
            self.fail(504, "the application took too long")

    # The end.

    def drain(self) -> None:
        """Close at once between two requests, else after the answer."""
        if self._phase is _HEAD:
            self._close()
        elif self._exchange is not None:
            self._exchange.writer.keep_alive = False
