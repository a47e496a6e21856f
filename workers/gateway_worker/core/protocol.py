"""What an application may send on a connection of a protocol of its own, without I/O.

ASGI leaves the events of other protocols to whoever defines them (asgiref specs/main.rst,
"Protocol Specifications"); these are the rules that every one of them has here. Only `text` or
`bytes` may be large: they are what credit counts.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from gateway_layer.codec import pack_message, unpack_state
from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_layer.session import PART
from gateway_worker.core.http import as_bytes, as_text, describe

_MAX_REST_BYTES: Final = 4096
"""What a message may have beside its payload, packed: it costs 256 bytes of credit, whatever it
is, so it must not be much more."""


class ProtocolState(Enum):
    """The application's side of a connection.

    CONNECTING ─ accept ─> OPEN ─ close ─> CLOSED
        └─ close ─> DENIED
    CONNECTING, OPEN ─ the client leaves ─> LEFT
    """

    CONNECTING = "the connection is to be accepted or closed first"
    OPEN = "the connection is accepted"
    CLOSED = "the application has closed the connection"
    DENIED = "the application has refused the connection"
    LEFT = "the client has left"


class ProtocolRules:
    """The order and the types of what one application instance sends on one connection.

    A message that is refused changes nothing.
    """

    __slots__ = ("_prefix", "state")

    def __init__(self, kind: str) -> None:
        """Begin where the application has been asked to accept.

        Args:
            kind: The protocol: what the types of its messages begin with, before a dot.
        """
        self._prefix = f"{kind}."
        self.state = ProtocolState.CONNECTING

    @property
    def closed(self) -> bool:
        """Nothing more can be sent: closed or refused by the application, or the client left."""
        return self.state is not ProtocolState.CONNECTING and self.state is not ProtocolState.OPEN

    def receive_disconnect(self) -> None:
        """Note that the client has left: from now on sending raises ClientDisconnected."""
        if not self.closed:
            self.state = ProtocolState.LEFT

    def send(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Check whatever the application sends.

        Returns:
            A fresh dict of plain values. `KIND.accept` has `resume`, a bool; `KIND.close` has
            `code`, an int, 1000 if not given, and `reason`, a str.

        Raises:
            TypeError: A value of a wrong type; the text names the path to it.
            ApplicationError: A message not allowed here; the text says why.
            ClientDisconnected: The client has left.
        """
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str) or not kind.startswith(self._prefix):
            raise ApplicationError(f"{describe(message)}: expected a type {self._prefix + '*'!r}")
        step = kind[len(self._prefix) :]
        following = self._following(step, message)
        event = _plain(message)
        if step == "accept":
            event["resume"] = _of_type(bool, event.get("resume", False), "resume")
        elif step == "close":
            event["code"] = _of_type(int, event.get("code", 1000), "code")
            event["reason"] = _of_type(str, event.get("reason") or "", "reason")
        self.state = following
        return event

    def _following(self, step: str, message: Mapping[str, Any]) -> ProtocolState:
        """Return the state after a message, or raise what tells why it cannot be sent now."""
        state = self.state
        if state is ProtocolState.LEFT:
            raise ClientDisconnected(state.value)
        if step in ("connect", "disconnect"):
            raise ApplicationError(f"{describe(message)}: is received, not sent")
        if state is ProtocolState.CONNECTING and step == "accept":
            return ProtocolState.OPEN
        if state is ProtocolState.CONNECTING and step == "close":
            return ProtocolState.DENIED
        if state is ProtocolState.OPEN and step == "close":
            return ProtocolState.CLOSED
        if state is ProtocolState.OPEN and step != "accept":
            return state
        raise ApplicationError(f"{describe(message)}: {state.value}")


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a message that can certainly travel."""
    text, data = message.get("text"), message.get("bytes")
    if text is not None and data is not None:
        raise ApplicationError(f'{describe(message)}: event["text"] and event["bytes"] exclude')
    rest = {key: value for key, value in message.items() if key not in ("text", "bytes", PART)}
    packed = pack_message(rest, "event")
    if len(packed) > _MAX_REST_BYTES:
        raise ApplicationError(
            f"{describe(message)}: {len(packed)} bytes beside text and bytes, packed; "
            f"{_MAX_REST_BYTES} may be sent"
        )
    event = unpack_state(packed)
    if text is not None:
        event["text"] = as_text(text, 'event["text"]')
    elif data is not None:
        event["bytes"] = as_bytes(data, 'event["bytes"]')
    return event


def _of_type(kind: type, value: Any, key: str) -> Any:
    if value.__class__ is not kind:  # a bool is no code
        raise TypeError(f'event["{key}"] must be a {kind.__name__}, not {type(value).__name__}')
    return value
