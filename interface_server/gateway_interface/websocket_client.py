"""One client's connection while it speaks WebSocket, and its session, in one object.

There may be many thousands of these, nearly all idle: one object each, and nothing kept of the
handshake once the application has accepted.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.core.http1.response import ResponseWriter, simple_response
from gateway_interface.core.websocket import Handshake, WebSocketConnection, encode_message
from gateway_interface.scopes import endpoint, websocket_scope
from gateway_interface.services import Services, log_access
from gateway_layer.codec import Message
from gateway_layer.owner import FOREVER, About, Phase, SocketSession
from gateway_layer.owner.phase import ABNORMAL, SERVICE_RESTART

_RETRY_AFTER: Final = [(b"retry-after", b"1")]

POLICY_VIOLATION: Final = 1008


class WebSocketClient(SocketSession):
    """A client's WebSocket."""

    KIND: ClassVar[str] = "websocket"

    __slots__ = ("_denial", "_handshake", "_services", "_subprotocol", "_ws")

    def __init__(self, services: Services, handshake: Handshake, head: RequestHead) -> None:
        """Begin with a valid handshake."""
        super().__init__(services.owner)
        self._services = services
        self._handshake: tuple[Handshake, RequestHead] | None = (handshake, head)
        self._ws: WebSocketConnection | None = None
        self._denial: ResponseWriter | None = None
        self._subprotocol: str | None = None

    def open(self, transport: asyncio.Transport, rest: bytes) -> None:
        """Take over a socket and ask the workers.

        Args:
            transport: From which the handshake was read.
            rest: What came behind it.
        """
        services = self._services
        assert self._handshake is not None, "opened once"
        handshake, head = self._handshake
        transport.set_protocol(self)
        self.take_socket(transport, _about(head, transport))
        services.websockets += 1
        if rest:
            self.hold(rest)
        server = endpoint(transport.get_extra_info("sockname"))
        scope = websocket_scope(head, handshake.subprotocols, self.about.client, server)
        self.start(services.routes.queue(head.path, "websocket"), scope)

    # From the client.

    def receive(self, data: bytes) -> None:
        """Take in a piece of what the client sent."""
        ws = self._ws
        assert ws is not None, "an accepted connection"
        ws.receive_data(data)
        for message in ws.messages():
            key = "text" if message.__class__ is str else "bytes"
            self.say({"type": "websocket.receive", key: message}, key)
        out = ws.pending_output()
        if out:
            self.transport.write(out)
            if self.write_paused:
                # Whoever takes no pongs gets no more of them.
                self.pause_reading()
        if ws.closed is not None:
            self.end_session(ws.closed.code, ws.closed.reason)
            self.close_transport()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        ws, self._ws = self._ws, None
        if ws is not None:
            ws.receive_eof()
            if ws.closed is not None:
                self.end_session(ws.closed.code, ws.closed.reason)
        self._log(499)  # if the application has not answered
        super().connection_lost(exc)

    # From the worker.

    def encode(self, payload: str | bytes) -> bytes:
        """Return the frame of a message."""
        return encode_message(payload, self._ws is not None and self._ws.frame_form)

    def accept(self, event: Message) -> None:
        """Answer the handshake with 101."""
        assert self._handshake is not None, "waiting keeps the handshake"
        handshake, _head = self._handshake
        subprotocol = event.get("subprotocol")
        response = handshake.accept(subprotocol, event.get("headers") or (), self._services.date())
        if response is None:
            self.refuse(500, "Internal Server Error")
            return
        self._log(101)
        self._subprotocol = subprotocol
        self._ws = handshake.connection(max_size=self._services.config.websocket.max_size)
        self._handshake = None
        self.transport.write(response)
        self.opened()

    def accept_again(self, event: Message) -> None:
        """The client was promised a subprotocol."""
        if event.get("subprotocol") != self._subprotocol:
            self.close_client(SERVICE_RESTART, "the application speaks another subprotocol now")

    def carry_out(self, kind: str, event: Message) -> None:
        """Send a response of the application's in place of 101."""
        if kind == "websocket.http.response.start" and self.resuming:
            self.close_client(POLICY_VIOLATION, "", told=True)
        elif kind == "websocket.http.response.start" and self.phase is Phase.WAITING:
            self._deny(event["status"], event["headers"])
        elif kind == "websocket.http.response.body" and self._denial is not None:
            self._deny_body(self._denial, event["body"], event["more_body"])
        else:
            super().carry_out(kind, event)

    def _deny(self, status: int, headers: Iterable[Any]) -> None:
        self._denial = ResponseWriter("GET", "1.1", keep_alive=False)
        if not self._denial.start(status, headers, self._services.date()):
            self.refuse(502, "the application sent an invalid response head")
            return
        self._log(status)
        self._handshake = None
        self.phase = Phase.DENYING
        self.deadline = FOREVER  # as a response: the application may take its time
        self.raw_held = b""

    def _deny_body(self, denial: ResponseWriter, body: bytes, more: bool) -> None:
        self.transport.write(denial.body(body, more))
        if not more:
            self.end_session(ABNORMAL, "")
            self.close_transport()

    def refuse(self, status: int, reason: str) -> None:
        """Answer the handshake with an error instead of 101."""
        self._services.count_refusal(status)
        self._log(status)
        self._handshake = None
        self.end_session(ABNORMAL, "")
        date = self._services.date()
        headers = _RETRY_AFTER if status == 503 else ()
        self.transport.write(simple_response(status, reason + "\n", date=date, headers=headers))
        self.close_transport()

    def close_client(self, code: int, reason: str, *, told: bool = False) -> None:
        """Begin the closing handshake; the application needs to hear no more."""
        if self._ws is None:
            # A denial that has begun: cut it.
            self.end_session(ABNORMAL, "", told=told)
            self.close_transport()
            return
        out = self._ws.close(code, reason)
        if out:
            self.transport.write(out)
        self.await_close()
        self.end_session(code, reason, told=told)
        self.read_on()

    # From other services.

    @property
    def frame_form(self) -> bool | None:
        """Whether its frames are compressed; None while the connection is not open."""
        return self._ws.frame_form if self._ws is not None and self.phase is Phase.OPEN else None

    # Deadlines and the end.

    def silent_until(self) -> float:
        """Ping a client that is silent for long."""
        options = self._services.config.websocket
        if self._ws is not None and self._ws.awaiting_pong and options.ping_timeout_s:
            # What the client has just taken may have stood before the ping: it gets its time anew.
            return self._services.loop.time() + options.ping_timeout_s
        interval_s = options.ping_interval_s
        return self.heard + interval_s if interval_s else FOREVER

    def on_silence(self, now: float) -> None:
        """Ping, or give up a client that did not answer the last ping."""
        ws, options = self._ws, self._services.config.websocket
        assert ws is not None, "an open connection"
        if self.read_paused or now - self.heard < options.ping_interval_s:
            # While we do not read, a pong could not be seen: the clock stands still.
            self.heard = max(self.heard, now) if self.read_paused else self.heard
            self.set_deadline()
        elif ws.awaiting_pong and options.ping_timeout_s:
            self.transport.abort()
        else:
            self.transport.write(ws.ping())
            self.deadline = now + (options.ping_timeout_s or options.ping_interval_s)

    def _log(self, status: int) -> None:
        log = self._services.access_log
        if log is not None and self._handshake is not None:
            head = self._handshake[1]
            query = b"?" + head.query_string if head.query_string else b""
            client = endpoint(self.transport.get_extra_info("peername"))
            log_access(log, client, head.method, head.raw_path + query, head.http_version, status)


def _about(head: RequestHead, transport: asyncio.Transport) -> About:
    agent = next((value for name, value in head.headers if name == b"user-agent"), b"")
    return About(
        int(time.time() * 1000),
        endpoint(transport.get_extra_info("peername")),
        agent[:256].decode("latin-1"),
        head.path[:1024],
    )
