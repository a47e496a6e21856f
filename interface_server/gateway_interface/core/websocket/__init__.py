"""WebSocket without I/O: the opening handshake, an open connection, message frames."""

from gateway_interface.core.websocket.connection import Close, WebSocketConnection
from gateway_interface.core.websocket.frames import encode_message
from gateway_interface.core.websocket.handshake import Handshake

__all__ = ["Close", "Handshake", "WebSocketConnection", "encode_message"]
