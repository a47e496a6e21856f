"""What an application may send on a WebSocket (ASGI WebSocket 2.5), without I/O."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NoReturn

from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_worker.core.http import (
    HttpResponseRules,
    as_bytes,
    as_text,
    describe,
    header_fields,
    is_token,
)

# RFC 6455 7.4 and the IANA registry of it: what an endpoint may send. 1004 has no meaning yet,
# 1005, 1006 and 1015 are never in a frame, and 1016 to 2999 are kept for the protocol itself.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
# RFC 6455 5.5: a control frame carries 125 bytes, two of which are the close code.
_MAX_REASON_BYTES = 123
# RFC 6455 4.2.2: the server writes these itself; a second one would break the handshake.
_HANDSHAKE_FIELDS = frozenset(
    {
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
    }
)


class WebSocketState(Enum):
    """The application's side of a WebSocket.

    CONNECTING ─ accept ─> OPEN ─ close ─> CLOSED
        ├─ http.response.start ─> DENYING ─ last http.response.body ─> DENIED
        └─ close ─> DENIED
    CONNECTING, OPEN, DENYING ─ the client leaves ─> LEFT
    """

    CONNECTING = "expected 'websocket.accept', 'websocket.close' or 'websocket.http.response.start'"
    OPEN = "expected 'websocket.send' or 'websocket.close'"
    DENYING = "expected 'websocket.http.response.body'"
    CLOSED = "the application has closed the WebSocket"
    DENIED = "the application has denied the WebSocket"
    LEFT = "the client has left"


_OPEN = WebSocketState.OPEN  # bound once: an Enum's attribute costs 50 ns, its hash 200


class WebSocketRules:
    """The order and the types of what one application instance sends on one WebSocket.

    A message that is refused changes nothing.
    """

    __slots__ = ("_denial", "state")

    def __init__(self) -> None:
        """Begin where the application has been asked to accept."""
        self.state = WebSocketState.CONNECTING
        self._denial: HttpResponseRules | None = None

    @property
    def accepted(self) -> bool:
        """The application accepted, and the client has not left: open, or closed by it."""
        return self.state is WebSocketState.OPEN or self.state is WebSocketState.CLOSED

    @property
    def denied(self) -> bool:
        """The application refused: with a close before accept, or a response of its own."""
        return self.state is WebSocketState.DENIED or self.state is WebSocketState.DENYING

    @property
    def closed(self) -> bool:
        """Nothing more can be sent: closed or denied by the application, or the client left."""
        return self.state in _FINAL

    def receive_disconnect(self) -> None:
        """Note that the client has left: from now on sending raises ClientDisconnected.

        What the application ended itself stays so.
        """
        if self.state not in _FINAL:
            self.state = WebSocketState.LEFT

    def send(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Check whatever the application sends.

        Returns:
            A fresh dict of plain values:
            `{"type": "websocket.accept", "subprotocol": str | None, "headers": list of
            (bytes, bytes), "resume": bool}`;
            `{"type": "websocket.send", "text": str}` or `"bytes": bytes`;
            `{"type": "websocket.close", "code": int, "reason": str}`; or the two messages of a
            denial response with the keys of `http.response.start` and `http.response.body`.

        Raises:
            TypeError: A value of a wrong type, or a str that UTF-8 cannot encode; the text
                names the path to it.
            ApplicationError: A message or a value not allowed here; the text says what is.
            ClientDisconnected: The client has left (ASGI www 2.4).
        """
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "websocket.send" and self.state is _OPEN:  # nearly always
            return self._message(message)
        # A type that cannot be hashed is no type at all.
        step = _STEPS[self.state].get(kind) if isinstance(kind, str) else None
        if step is None:
            self._refuse(message)
        check, following = step
        event = check(self, message)
        if not event.get("more_body", False):  # only a denial's body ever has it
            self.state = following
        return event

    def _refuse(self, message: object) -> NoReturn:
        """Raise what tells the application why this message cannot be sent now."""
        if self.state is WebSocketState.LEFT:
            raise ClientDisconnected(WebSocketState.LEFT.value)
        raise ApplicationError(f"{describe(message)}: {self.state.value}")

    def _accept(self, message: Mapping[str, Any]) -> dict[str, Any]:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            subprotocol = as_text(subprotocol, 'event["subprotocol"]')
            # RFC 6455 4.2.2: a token. Anything else could write header lines of its own.
            if not is_token(subprotocol.encode()):
                raise ApplicationError(f'event["subprotocol"]: {subprotocol!r:.80} is no token')
        fields = header_fields(message.get("headers", ()))
        for index, (name, _) in enumerate(fields):
            if name in _HANDSHAKE_FIELDS:
                # ASGI www, Accept: sec-websocket-protocol must not be among them.
                raise ApplicationError(
                    f'event["headers"][{index}]: {name.decode()!r} is written by the server'
                    f' (a subprotocol goes into event["subprotocol"])'
                )
        resume = message.get("resume", False)
        if not isinstance(resume, bool):
            raise TypeError(f'event["resume"] must be a bool, not {type(resume).__name__}')
        return {
            "type": "websocket.accept",
            "subprotocol": subprotocol,
            "headers": fields,
            "resume": resume,
        }

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        text = message.get("text")
        data = message.get("bytes")
        if (text is None) is (data is None):
            raise ApplicationError(
                '\'websocket.send\' needs exactly one of event["text"] and event["bytes"]'
            )
        if text is None:
            if type(data) is not bytes:
                data = as_bytes(data, 'event["bytes"]')
            return {"type": "websocket.send", "bytes": data}
        return {"type": "websocket.send", "text": as_text(text, 'event["text"]')}

    def _close(self, message: Mapping[str, Any]) -> dict[str, Any]:
        code = message.get("code", 1000)
        if not isinstance(code, int) or isinstance(code, bool):
            raise TypeError(f'event["code"] must be an int, not {type(code).__name__}')
        if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
            raise ApplicationError(
                f'event["code"]: {code} may not be sent (RFC 6455 7.4): 1000 to 1003, '
                "1007 to 1014 or 3000 to 4999"
            )
        reason = message.get("reason")
        reason = "" if reason is None else as_text(reason, 'event["reason"]')
        if len(reason.encode()) > _MAX_REASON_BYTES:
            raise ApplicationError(
                f'event["reason"] must be at most {_MAX_REASON_BYTES} bytes of UTF-8, '
                f"not {len(reason.encode())}"
            )
        return {"type": "websocket.close", "code": int(code), "reason": reason}

    def _deny(self, message: Mapping[str, Any]) -> dict[str, Any]:
        denial = HttpResponseRules("GET")  # RFC 6455 4.1: a handshake is always a GET
        event = denial.start(message)
        self._denial = denial
        event["type"] = "websocket.http.response.start"
        return event

    def _denial_body(self, message: Mapping[str, Any]) -> dict[str, Any]:
        assert self._denial is not None, "DENYING is entered by _deny alone"
        body, more_body = self._denial.body(message)
        return {"type": "websocket.http.response.body", "body": body, "more_body": more_body}


_Check = Callable[[WebSocketRules, Mapping[str, Any]], dict[str, Any]]

# (state, type of message) -> (its check, the state that follows once it passed). Of a message to an
# open connection `send` takes care itself.
_STEPS: dict[WebSocketState, dict[str, tuple[_Check, WebSocketState]]] = {
    WebSocketState.CONNECTING: {
        "websocket.accept": (WebSocketRules._accept, WebSocketState.OPEN),
        "websocket.close": (WebSocketRules._close, WebSocketState.DENIED),
        "websocket.http.response.start": (WebSocketRules._deny, WebSocketState.DENYING),
    },
    WebSocketState.OPEN: {
        "websocket.close": (WebSocketRules._close, WebSocketState.CLOSED),
    },
    WebSocketState.DENYING: {
        "websocket.http.response.body": (WebSocketRules._denial_body, WebSocketState.DENIED),
    },
    WebSocketState.CLOSED: {},
    WebSocketState.DENIED: {},
    WebSocketState.LEFT: {},
}
_FINAL = frozenset(state for state, steps in _STEPS.items() if not steps)
