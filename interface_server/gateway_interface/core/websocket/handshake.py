"""The server's side of the WebSocket opening handshake (RFC 6455 4.2, RFC 7692 7.1)."""

import re
from collections.abc import Iterable, Sequence

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader, InvalidUpgrade
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gateway_interface.core.websocket.connection import WebSocketConnection
from gateway_interface.core.websocket.deflate import InflateFactory

Refusal = tuple[int, str, list[tuple[bytes, bytes]]]

_VERSION = b"13"

# RFC 6455 4.2.2 step 4 and 4.4: 426 names the version that would do. RFC 9110 15.5.22: 426 has an
# Upgrade field, and 7.8: then Connection has that option.
_UPGRADE_REQUIRED: list[tuple[bytes, bytes]] = [
    (b"sec-websocket-version", _VERSION),
    (b"upgrade", b"websocket"),
    (b"connection", b"upgrade"),
]

# What the handshake itself writes, and what a 101 may not have (RFC 9110 8.6, RFC 9112 6.1).
_RESERVED = frozenset(
    {
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",  # ASGI www 2.5, websocket.accept: `subprotocol` sets it
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    }
)
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 5.6.2
_FIELD_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch  # RFC 9110 5.5


class Handshake:
    """One opening handshake: check the request, then write the 101 if the application accepts.

    It refers to nothing of the open connection and may be dropped after `connection`.

    Attributes:
        refusal: None, or why the request is no valid handshake, before any application is asked:
            (status 400 or 426, body text, lower-case headers for the response).
        subprotocols: What the client offers, in its order, for the scope.
    """

    __slots__ = ("_accept_key", "_extensions", "_extensions_field", "refusal", "subprotocols")

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]], *, deflate: bool) -> None:
        """Check a GET request of HTTP/1.1 that asks for an upgrade to WebSocket.

        Args:
            path: The target of the request.
            headers: Its fields, names in lower case.
            deflate: Whether an offer of permessage-deflate may be taken.
        """
        subprotocols: list[str] = []
        self.subprotocols = subprotocols
        self.refusal: Refusal | None = None
        # The version comes first: what else a client of another version sends is unknown.
        if [value for name, value in headers if name == b"sec-websocket-version"] != [_VERSION]:
            self.refusal = (426, "WebSocket version 13 required\n", _UPGRADE_REQUIRED)
            return

        def note_offer(_protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> None:
            subprotocols.extend(offered)

        negotiation = ServerProtocol(
            extensions=[InflateFactory()] if deflate else None,
            select_subprotocol=note_offer,  # the application's choice, so none is made here
        )
        try:
            fields = Headers(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
            )
            accepted = negotiation.process_request(Request(path, fields))
        except InvalidUpgrade:
            self.refusal = (426, "upgrade to WebSocket required\n", _UPGRADE_REQUIRED)
        except InvalidHeader as exc:
            # Without the value: what a client sent is not repeated to whoever made it send that.
            self.refusal = (400, f"missing or invalid {exc.name} header\n", [])
        else:
            self._accept_key, self._extensions_field, _ = accepted
            self._extensions = negotiation.extensions

    def accept(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]], date: bytes
    ) -> bytes | None:
        """Write the 101 response (RFC 6455 4.2.2 step 5).

        Args:
            subprotocol: One of `subprotocols`, or None.
            headers: Further fields from the application, names in any case.
            date: Value of the Date field, unless the application gave one.

        Returns:
            The bytes for the socket, or None if the application's part is invalid: a subprotocol
            that was not offered, a field that the handshake sets itself, a broken name or value.
        """
        assert self.refusal is None, "a refused handshake cannot be accepted"
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + self._accept_key.encode(),
        ]
        if self._extensions_field is not None:
            lines.append(b"Sec-WebSocket-Extensions: " + self._extensions_field.encode())
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                return None
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
        dated = False
        for name, value in headers:
            lower = name.lower()
            if lower in _RESERVED or not _FIELD_NAME(name) or not _FIELD_VALUE(value):
                return None
            dated = dated or lower == b"date"
            lines.append(name + b": " + value)
        if not dated:
            lines.append(b"Date: " + date)
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def connection(self, *, max_size: int) -> WebSocketConnection:
        """Make the open connection, once, after `accept`.

        Args:
            max_size: Largest message from the client, in bytes after inflation.
        """
        return WebSocketConnection(self._extensions, max_size=max_size)
