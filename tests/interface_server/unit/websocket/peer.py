"""A client joined to the server's core by a fake wire, and frames as a client writes them."""

from collections.abc import Sequence

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway_interface.core.websocket import Handshake, WebSocketConnection

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455 1.3
MASK = bytes.fromhex("37fa213d")  # the example of RFC 6455 5.7
DEFLATE_OFFER = b"permessage-deflate; client_max_window_bits"
MAX_SIZE = 4096

Fields = list[tuple[bytes, bytes]]


def request_headers(
    *,
    key: bytes | None = KEY,
    version: bytes | None = b"13",
    more: Sequence[tuple[bytes, bytes]] = (),
) -> Fields:
    fields = [(b"host", b"localhost"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
    if key is not None:
        fields.append((b"sec-websocket-key", key))
    if version is not None:
        fields.append((b"sec-websocket-version", version))
    return [*fields, *more]


def open_connection(*, deflate: bool = False, max_size: int = MAX_SIZE) -> WebSocketConnection:
    offer = [(b"sec-websocket-extensions", DEFLATE_OFFER)] if deflate else []
    handshake = Handshake("/", request_headers(more=offer), deflate=deflate)
    assert handshake.accept(None, [], b"now") is not None
    return handshake.connection(max_size=max_size)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A masked frame, valid or not; `rsv` as the three bits of the first byte (RFC 6455 5.2)."""
    head = (0x80 if fin else 0) | rsv | opcode
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    masked = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))
    return bytes([head]) + length + MASK + masked


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


class Peer:
    """The client's core of `websockets`; `from_server` gathers the frames that it was sent."""

    def __init__(self, server: WebSocketConnection, extensions: Sequence[Extension] = ()) -> None:
        self.server = server
        self.protocol = Protocol(Side.CLIENT, max_size=None)
        if server.frame_form and not extensions:
            extensions = [PerMessageDeflate(True, True, 12, 12)]
        self.protocol.extensions = list(extensions)
        self.from_server: list[Frame] = []

    def receive(self, data: bytes) -> list[Frame]:
        """Take bytes from the server; the frames in them."""
        self.protocol.receive_data(data)
        frames = [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        assert self.protocol.parser_exc is None
        self.from_server += frames
        return frames

    def flush(self) -> list[Frame]:
        """Carry what the client wrote to the server, and the server's answer back."""
        for chunk in self.protocol.data_to_send():
            if chunk:
                self.server.receive_data(chunk)
            else:
                self.server.receive_eof()
        return self.receive(self.server.pending_output())


def only_frame(data: bytes) -> Frame:
    """The one frame in bytes from a server without extensions."""
    protocol = Protocol(Side.CLIENT, max_size=None)
    protocol.receive_data(data)
    (event,) = protocol.events_received()
    assert isinstance(event, Frame)
    return event


def close_of(data: bytes) -> tuple[int | None, str]:
    """Code and reason of the close frame, the only thing in bytes from the server."""
    received = only_frame(data)
    assert received.opcode is Opcode.CLOSE
    payload = bytes(received.data)
    if not payload:
        return None, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()
