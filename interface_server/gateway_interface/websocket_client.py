"""One client's connection while it speaks WebSocket, and its session, in one object.

There may be many thousands of these, nearly all idle: one object each, and nothing kept of the
handshake once the application has accepted.
"""

import asyncio
import logging
import time
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.core.http1.response import ResponseWriter, simple_response
from gateway_interface.core.websocket import Handshake, WebSocketConnection
from gateway_interface.openings import OpeningSession
from gateway_interface.pushes import Pushable
from gateway_interface.scopes import Endpoint, endpoint, websocket_scope
from gateway_interface.services import FOREVER, Services, log_access
from gateway_layer.codec import Message, pack
from gateway_layer.errors import ProtocolError
from gateway_layer.push.frames import FULL, GONE, OK
from gateway_layer.session import PART, State, event_cost, join_parts, split_event
from gateway_layer.wire import CHUNK_BYTES, RESET, Reset

_log = logging.getLogger("gateway.interface")

_HELD_BYTES: Final = 65_536
"""What a client may send before the application has accepted; then its socket is not read."""

_PIECE_BYTES: Final = 16_384
"""So much is parsed before credit is looked at again: parsed, tiny messages take 50 times the
room of their bytes, which wait in `raw_held` instead."""

_CLOSE_TIMEOUT_S: Final = 10.0
"""How long a client may take to answer a close frame."""

_ACCEPT_S: Final = 10.0
"""How long the next instance may take to accept a connection that is open."""

_DEATHS: Final = 3
"""So many instances of one connection may die over what they were given, in a row."""

_RETRY_AFTER: Final = [(b"retry-after", b"1")]

POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013


class _Phase(Enum):
    """What the connection does now."""

    WAITING = auto()
    """The application has not answered the handshake."""
    OPEN = auto()
    CLOSING = auto()
    """We sent a close frame and wait for the client's."""
    DENYING = auto()
    """The application sends a response instead of accepting."""
    OVER = auto()


_WAITING, _OPEN, _CLOSING, _DENYING, _OVER = _Phase


class _About(NamedTuple):
    """What is told of a connection when somebody asks."""

    connected_at_ms: int
    client: Endpoint
    user_agent: str
    path: str


class WebSocketClient(OpeningSession, Pushable, asyncio.Protocol):
    """A client's WebSocket.

    Attributes:
        deadline: When `on_deadline` is due, by the loop's clock.
    """

    __slots__ = (
        "_about",
        "_deaths",
        "_denial",
        "_early",
        "_handshake",
        "_heard",
        "_left",
        "_parts",
        "_phase",
        "_read_paused",
        "_resumable",
        "_resuming",
        "_services",
        "_subprotocol",
        "_transport",
        "_unsent",
        "_waiting_to_write",
        "_write_paused",
        "_ws",
        "deadline",
        "raw_held",
    )

    def __init__(
        self,
        services: Services,
        transport: asyncio.Transport,
        handshake: Handshake,
        head: RequestHead,
    ) -> None:
        """Take over a socket from which a valid handshake was read."""
        super().__init__(services.ids.new(), services.limits.window_bytes)
        self._services = services
        self._transport = transport
        self._handshake: tuple[Handshake, RequestHead] | None = (handshake, head)
        self._ws: WebSocketConnection | None = None
        self._denial: ResponseWriter | None = None
        self._phase = _WAITING
        self._about = _about(head, transport)
        self._early: list[Message] | None = None
        self._parts: list[Message] | None = None
        self._subprotocol: str | None = None
        self._resumable = False
        self._resuming = False  # the next instance has not accepted yet
        self._left = False  # the client has; only the application does not know it for certain
        self._deaths = 0
        self._read_paused = False
        self._write_paused = False
        self._waiting_to_write = 0
        self._unsent = 0
        self._heard = 0.0
        self.raw_held = b""
        self.deadline = FOREVER

    def open(self, rest: bytes) -> None:
        """Ask the workers; `rest` are the bytes that came behind the handshake."""
        services = self._services
        transport = self._transport
        transport.set_protocol(self)
        services.clients.add(self)
        services.websockets += 1
        services.node.sessions[self.connection] = self
        self.deadline = services.loop.time() + services.config.queue_deadline_s
        assert self._handshake is not None, "opened once"
        handshake, head = self._handshake
        if rest:
            self._hold(rest)
        client = self._about.client
        server = endpoint(transport.get_extra_info("sockname"))
        scope = websocket_scope(head, handshake.subprotocols, client, server)
        queue = services.routes.queue(head.path, "websocket")
        services.openings.open(self, queue, "websocket", pack(scope))

    def mark(self) -> None:
        """Have this session's frames sent at the end of the turn."""
        if not self.dirty:
            self._services.node.mark(self)

    # asyncio's side.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._ws is not None:
            self._heard = self._services.loop.time()
            if self.raw_held:  # the transport had read already when it was told to pause
                self.raw_held += data
            else:
                self._feed(self._ws, data)
        elif self._phase is _WAITING:
            self._hold(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._services.clients.discard(self)
        if self._ws is not None:
            self._ws.receive_eof()
            self._tell_end(self._ws)
        else:
            self._end_session(1006, "")
        self._phase = _OVER
        self._ws = None

    def pause_writing(self) -> None:
        """The client takes less than the application gives: grant it no more credit."""
        self._write_paused = True
        self._waiting_to_write = self._transport.get_write_buffer_size()
        self.deadline = self._services.loop.time() + self._services.limits.send_timeout_s

    def resume_writing(self) -> None:
        """The client has taken what waited."""
        self._write_paused = False
        unsent, self._unsent = self._unsent, 0
        if unsent and self.state is State.BOUND:
            self.drained(unsent)
        self._set_deadline()
        self._read_on()

    # From the client.

    @property
    def congested(self) -> bool:
        """Whether the socket should not be read: no credit, or no room on the way to Redis."""
        return bool(self._held) or self._services.node.outlet.room <= 0

    def claim_room(self, cost: int) -> bool:
        """Many clients may get credit in one turn; what they hold leaves in several."""
        return self._services.node.outlet.claim(cost, self.release_held)

    def _hold(self, data: bytes) -> None:
        """Keep what comes before the answer; the protocol must not see it yet."""
        self.raw_held += data
        if len(self.raw_held) > _HELD_BYTES:
            self._pause_reading()

    def _feed(self, ws: WebSocketConnection, data: bytes) -> None:
        """Take in what the client sent, as long as the socket would be read at all."""
        while len(data) > _PIECE_BYTES:
            self._feed_piece(ws, data[:_PIECE_BYTES])
            data = data[_PIECE_BYTES:]
            if ws.closed is not None:
                return
            if self._read_paused:
                self.raw_held = data
                return
        self._feed_piece(ws, data)

    def _feed_piece(self, ws: WebSocketConnection, data: bytes) -> None:
        ws.receive_data(data)
        for message in ws.messages():
            key = "text" if message.__class__ is str else "bytes"
            event: Message = {"type": "websocket.receive", key: message}
            cost = event_cost(event)
            self._services.node.outlet.room -= cost
            self.emit([event] if cost < CHUNK_BYTES // 4 else split_event(event, key), cost)
        out = ws.pending_output()
        if out:
            self._transport.write(out)
        if ws.closed is not None:
            self._tell_end(ws)
            self._close_transport()
        elif self.congested or (out and self._write_paused):
            # Whoever takes no pongs gets no more of them.
            self._pause_reading()
            if self._services.node.outlet.room <= 0:
                self._services.node.outlet.when_room(self._read_on)

    def _tell_end(self, ws: WebSocketConnection) -> None:
        code, reason = (ws.closed.code, ws.closed.reason) if ws.closed else (1006, "")
        self._end_session(code, reason)

    def _end_session(self, code: int, reason: str, *, told: bool = False) -> None:
        """The connection is over: tell the application, and forget the connection.

        Where it can be resumed, the end is an event like others: if the worker dies over it, the
        next instance hears of it.

        Args:
            code: Of the `websocket.disconnect`.
            reason: Of it.
            told: The application knows, or there is none any more.
        """
        if self.state is State.CLOSED or self._left:
            return
        if self._handshake is not None:
            self._log(499)
        self._services.pushes.left(self)
        event = {"type": "websocket.disconnect", "code": code, "reason": reason}
        if self._resumable and not told:
            self._left = True
            self.emit_last(event)
            if self.state is State.DETACHED:
                self._reopen()
            return
        self.close(None if told else event)
        self._forget()

    def _forget(self) -> None:
        """Nobody has anything more to say to this connection's application."""
        self._services.openings.forget(self)
        self.state = State.CLOSED
        self._services.node.sessions.pop(self.connection, None)

    # From the worker.

    def on_events(self, events: tuple[Message, ...]) -> None:
        """Write what the application sent in one turn, all frames in one piece."""
        if self._left:
            self._on_events_of_the_left(events)
            return
        chunks: list[bytes] = []
        cost = 0
        for event in events:
            kind = event["type"]
            if kind == "websocket.send":
                if PART in event:
                    self._parts = [*(self._parts or ()), event]
                    continue
                if self._parts:
                    event = join_parts(self._parts, event)
                    self._parts = None
                chunks.append(self._encode(event))
            elif chunks and kind == "websocket.close":
                self._transport.write(b"".join(chunks))
                chunks.clear()
                self._handle(kind, event)
            else:
                self._handle(kind, event)
            cost += event_cost(event)
        if chunks:
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if self.state is State.BOUND:
            if self._write_paused:
                self._unsent += cost
                self._waiting_to_write += cost  # more waits; that the client takes some shows
            else:
                self.drained(cost)

    def _encode(self, event: Message) -> bytes:
        if self._ws is None or self._resuming:
            raise ProtocolError("websocket.send before websocket.accept")
        text = event.get("text")
        return self._ws.send_bytes(event["bytes"]) if text is None else self._ws.send_text(text)

    def _handle(self, kind: str, event: Message) -> None:
        """Carry out an event that is not a message."""
        if kind == "websocket.accept" and self._phase is _WAITING:
            self._accept(event.get("subprotocol"), event.get("headers") or ())
            self._resumable = event.get("resume") is True
        elif kind == "websocket.accept" and self._resuming:
            self._resume(event)
        elif kind == "websocket.http.response.start" and self._resuming:
            self._close(POLICY_VIOLATION, "", told=True)
        elif kind == "websocket.close":
            if self._phase is _WAITING:
                self._refuse(403, "Forbidden")
            else:
                self._close(event["code"], event.get("reason") or "", told=True)
        elif kind == "websocket.http.response.start" and self._phase is _WAITING:
            self._deny(event["status"], event["headers"])
        elif kind == "websocket.http.response.body" and self._denial is not None:
            self._deny_body(self._denial, event["body"], event["more_body"])
        else:
            raise ProtocolError(f"event {kind!r} while {self._phase.name}")

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        assert self._handshake is not None, "waiting keeps the handshake"
        handshake, _head = self._handshake
        response = handshake.accept(subprotocol, headers, self._services.date())
        if response is None:
            self._refuse(500, "Internal Server Error")
            return
        self._log(101)
        self._subprotocol = subprotocol
        self._ws = handshake.connection(max_size=self._services.config.websocket.max_size)
        self._handshake = None
        self._phase = _OPEN
        self._transport.write(response)
        early, self._early = self._early, None
        for event in early or ():
            self.push(event)
        held, self.raw_held = self.raw_held, b""
        self._heard = self._services.loop.time()
        self._set_deadline()
        self._resume_reading()
        if held:
            self._feed(self._ws, held)

    # Instances that follow one another.

    @property
    def repeatable(self) -> bool:
        """A handshake is a GET; an open connection says whether it may be resumed."""
        return self._phase is _WAITING or self._resumable

    def next_epoch(self) -> int:
        """Begin a new opening; an open connection's next instance has to accept it first."""
        epoch = super().next_epoch()
        self._parts = None
        if self._phase is not _WAITING:
            self.gated = self._resuming = True
        return epoch

    def _reopen(self) -> None:
        self._services.openings.reopen(self, paced=self._phase is not _WAITING)
        if self._phase is _WAITING:
            self.deadline = self._services.loop.time() + self._services.config.queue_deadline_s

    def _resume(self, event: Message) -> None:
        """Take the `accept` of a further instance: the client knows nothing of it."""
        self._resuming = False
        self._resumable = event.get("resume") is True
        self.gated = self.releasing is not None
        if event.get("subprotocol") != self._subprotocol:
            self._close(SERVICE_RESTART, "the application speaks another subprotocol now")
            return
        self._set_deadline()
        self.release_held()
        self._read_on()

    def _on_events_of_the_left(self, events: tuple[Message, ...]) -> None:
        """The client has left: let an instance accept, so that it hears of that, and no more."""
        kind = events[0]["type"]
        if self._resuming and kind == "websocket.accept":
            self._resuming = False
            self.gated = self.releasing is not None
            self.release_held()
        elif self._resuming:
            self._forget()  # it does not want the connection

    def emit(self, parts: list[Message], cost: int) -> None:
        """Send an event to the application; a connection without an instance gets one."""
        super().emit(parts, cost)
        if self.state is State.DETACHED:
            self._reopen()

    def on_detached(self, reason: str) -> None:
        """The worker has let go: another gets the connection, now or when there is an event."""
        if self._left and not self.waiting:
            self._forget()
        elif reason != "hibernate" or self.waiting:
            self._reopen()

    def on_lost(self, reason: str) -> None:
        """The worker died, or has forgotten this connection: another one gets it, if it may."""
        if not self.repeatable:
            self._give_up(502, "the worker died", SERVICE_RESTART)
            return
        if self.unconfirmed or self._resuming or self._phase is _WAITING:
            self._deaths += 1  # whoever has confirmed all, and waits, did not die of it
            if self._deaths >= _DEATHS:
                _log.error("workers die of this connection, closed: %s", self.describe())
                self._give_up(502, "the workers died", INTERNAL_ERROR, told=True)
                return
        self._reopen()

    def _no_accept(self) -> None:
        """The next instance has not accepted in time: that counts as its death."""
        if self.worker is not None:
            reset = pack(Reset(self.connection, RESET, self.epoch))
            self._services.node.send(self.worker, [reset])
        self.on_lost("the application does not accept the connection again")

    def on_room(self) -> None:
        """The link to the worker is not full any more."""
        self.release_held()
        self._read_on()

    @property
    def blocked(self) -> bool:
        """Whether the link to the worker is full."""
        return self.worker in self._services.node.full

    def _deny(self, status: int, headers: Any) -> None:
        self._denial = ResponseWriter("GET", "1.1", keep_alive=False)
        if not self._denial.start(status, headers, self._services.date()):
            self._refuse(502, "the application sent an invalid response head")
            return
        self._log(status)
        self._handshake = None
        self._phase = _DENYING
        self.deadline = FOREVER  # as a response: the application may take its time
        self.raw_held = b""

    def _deny_body(self, denial: ResponseWriter, body: bytes, more: bool) -> None:
        self._transport.write(denial.body(body, more))
        if not more:
            self._end_session(1006, "")
            self._close_transport()

    def _refuse(self, status: int, reason: str, headers: Any = ()) -> None:
        """Answer the handshake with an error instead of 101."""
        self._services.count_refusal(status)
        self._log(status)
        self._handshake = None
        self._end_session(1006, "")
        date = self._services.date()
        self._transport.write(simple_response(status, reason + "\n", date=date, headers=headers))
        self._close_transport()

    def _close(self, code: int, reason: str, *, told: bool = False) -> None:
        """Begin the closing handshake; the application needs to hear no more."""
        if self._ws is None:
            # A denial that has begun: cut it.
            self._end_session(1006, "", told=told)
            self._close_transport()
            return
        out = self._ws.close(code, reason)
        if out:
            self._transport.write(out)
        self._phase = _CLOSING
        self.deadline = self._services.loop.time() + _CLOSE_TIMEOUT_S
        self._end_session(code, reason, told=told)
        self._read_on()

    def _give_up(self, status: int, reason: str, code: int, *, told: bool = False) -> None:
        """Refuse with a status before the answer, close with a code after it."""
        if self._phase is _WAITING:
            self._refuse(status, reason, _RETRY_AFTER if status == 503 else ())
        elif self._phase is _OPEN or self._phase is _DENYING:
            self._close(code, reason, told=told)
        elif self._left:
            self._forget()

    def on_confirmed(self, seq: int) -> None:
        """The application has consumed: read on."""
        if seq:
            self._deaths = 0
        if self._read_paused:
            self._read_on()
        if self._left and not self.waiting:
            self._forget()

    def on_claimed(self) -> None:
        """A worker has the connection; now it is its answer that is waited for."""
        self._services.openings.claimed(self)
        if self._resuming and not self._left:
            self.deadline = self._services.loop.time() + _ACCEPT_S
        elif self._phase is _WAITING:
            timeout_s = self._services.limits.response_timeout_s
            self.deadline = self._services.loop.time() + timeout_s if timeout_s else FOREVER

    def on_done(self, outcome: str) -> None:
        """The application ended without closing."""
        if self._left:
            self._forget()
        elif outcome == "returned" and self._phase is _OPEN:
            self._close(1000, "", told=True)
        elif outcome == "drain" and self.repeatable:
            self._reopen()
        elif outcome == "drain":
            self._give_up(503, "the worker stopped", SERVICE_RESTART, told=True)
        else:
            self._give_up(500, "Internal Server Error", INTERNAL_ERROR, told=True)

    def on_refused(self) -> None:
        """Certainly not started: another worker shall have it."""
        self._services.openings.give_back(self)

    def on_malformed(self, reason: str) -> None:
        """The worker sent what cannot be read."""
        self._give_up(502, "the worker sent an invalid event", INTERNAL_ERROR)

    def on_queue_full(self) -> None:
        """Too many connections wait already."""
        self._give_up(503, "too many connections are waiting", TRY_AGAIN_LATER, told=True)

    def on_expired(self) -> None:
        """No worker took the connection in time."""
        if self._phase is _WAITING and not self._services.node.layer.available:
            self.on_unavailable()
        else:
            self._give_up(504, "no worker took the connection in time", TRY_AGAIN_LATER, told=True)

    def on_unavailable(self) -> None:
        """Redis is away."""
        reason = "the gateway has no connection to its workers"
        # An instance that there is hears of it when Redis is back.
        self._give_up(503, reason, TRY_AGAIN_LATER, told=self.state is not State.BOUND)

    @property
    def keeps_groups(self) -> bool:
        """Whether its instance ends by a hand-over: what it leaves now, the next is still in."""
        return self.released and self.state is State.BOUND

    # From other services.

    @property
    def frame_form(self) -> bool | None:
        """Which encoding `push_frame` wants; None while the connection is not open."""
        return self._ws.frame_form if self._ws is not None and self._phase is _OPEN else None

    def push(self, event: Message) -> str:
        """Send an event, hold it until the application has accepted, or close."""
        if self._phase is _WAITING:
            early = self._early = self._early or []
            early.append(event)
            if sum(map(event_cost, early)) <= self.window:
                return OK
            self._refuse(503, "too much was pushed before the application accepted")
            return FULL
        if self._phase is not _OPEN:
            return GONE
        if event["type"] == "websocket.close":
            self._close(event.get("code", 1000), event.get("reason") or "")
            return OK
        return OK if self.push_frame(self._encode(event)) else FULL

    def push_frame(self, frame: bytes) -> bool:
        """Write an encoded frame; a client that takes too little is closed with 1013."""
        if self._write_paused:
            waiting = self._transport.get_write_buffer_size() + len(frame)
            if waiting > self._services.limits.max_send_buffer_bytes:
                self._close(TRY_AGAIN_LATER, "too slow")
                return False
            self._waiting_to_write += len(frame)  # more waits; that the client takes some shows
        self._transport.write(frame)
        return True

    def flushed(self) -> str | None:
        """Whether the kernel has taken what was pushed; None: look again."""
        if self._transport.is_closing():
            return GONE
        waits = self._phase is _WAITING or self._transport.get_write_buffer_size()
        return None if waits else OK

    def info(self) -> dict[str, Any]:
        """Return what is known of this connection."""
        heard_before_s = self._services.loop.time() - self._heard if self._heard else 0.0
        return {
            "connected_at_ms": self._about.connected_at_ms,
            "last_active_ms": int((time.time() - heard_before_s) * 1000),
            "client": self._about.client,
            "user_agent": self._about.user_agent,
            "path": self._about.path,
            "worker": self.worker,
            "epoch": self.epoch,
        }

    def describe(self) -> str:
        """Return connection and address for a log line."""
        return f"connection={self.connection} client={self._about.client}"

    # Deadlines and the end.

    def _set_deadline(self) -> None:
        """Ping a client that is silent for long."""
        if self._resuming and self.state is State.BOUND:
            return
        if self._phase is _DENYING and not self._write_paused:
            self.deadline = FOREVER
        elif self._phase is _OPEN and not self._write_paused:
            interval_s = self._services.config.websocket.ping_interval_s
            self.deadline = self._heard + interval_s if interval_s else FOREVER

    def on_deadline(self, now: float) -> None:
        """Somebody has not done in time what was waited for."""
        if self._write_paused:
            waiting = self._transport.get_write_buffer_size()
            if waiting >= self._waiting_to_write:
                self._transport.abort()
            else:
                self._waiting_to_write = waiting
                self.deadline = now + self._services.limits.send_timeout_s
        elif self._resuming and self.state is State.BOUND:
            self.deadline = FOREVER
            self._no_accept()
        elif self._phase is _OPEN:
            self._keep_alive(now)
        elif self._phase is _WAITING:
            if self.state is State.QUEUED:
                self.on_expired()
            else:
                self._refuse(504, "the application took too long")
        else:
            self._transport.abort()

    def _keep_alive(self, now: float) -> None:
        """Ping, or give up a client that did not answer the last ping."""
        ws, options = self._ws, self._services.config.websocket
        assert ws is not None, "an open connection"
        if self._read_paused or now - self._heard < options.ping_interval_s:
            # While we do not read, a pong could not be seen: the clock stands still.
            self._heard = max(self._heard, now) if self._read_paused else self._heard
            self._set_deadline()
        elif ws.awaiting_pong and options.ping_timeout_s:
            self._transport.abort()
        else:
            self._transport.write(ws.ping())
            self.deadline = now + (options.ping_timeout_s or options.ping_interval_s)

    def drain(self) -> None:
        """The server stops."""
        self._give_up(503, "the server stops", SERVICE_RESTART)

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    def _close_transport(self) -> None:
        self._phase = _OVER
        self.deadline = self._services.loop.time() + _CLOSE_TIMEOUT_S
        self._transport.close()

    def _log(self, status: int) -> None:
        log = self._services.access_log
        if log is not None and self._handshake is not None:
            head = self._handshake[1]
            query = b"?" + head.query_string if head.query_string else b""
            client = endpoint(self._transport.get_extra_info("peername"))
            log_access(log, client, head.method, head.raw_path + query, head.http_version, status)

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Take in what is held and read the socket again, unless there is a reason to wait."""
        ws = self._ws
        if not self._read_paused or ws is None or self._held or self._write_paused:
            return
        outlet = self._services.node.outlet
        if outlet.room <= 0:
            outlet.when_room(self._read_on)
            return
        held, self.raw_held = self.raw_held, b""
        self._resume_reading()
        if held:
            self._feed(ws, held)

    def _resume_reading(self) -> None:
        if self._read_paused and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()


def _about(head: RequestHead, transport: asyncio.Transport) -> _About:
    agent = next((value for name, value in head.headers if name == b"user-agent"), b"")
    return _About(
        int(time.time() * 1000),
        endpoint(transport.get_extra_info("peername")),
        agent[:256].decode("latin-1"),
        head.path[:1024],
    )
