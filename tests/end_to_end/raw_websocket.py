"""A WebSocket client that sends what the test says, byte by byte."""

import struct

from tests.end_to_end.processes import Gateway, RawClient, request

HANDSHAKE = (
    "upgrade: websocket",
    "connection: upgrade",
    "sec-websocket-version: 13",
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
)
FIN_TEXT, TEXT, CONT, FIN_CONT, FIN_BINARY = 0x81, 0x01, 0x00, 0x80, 0x82
CLOSE, PING, PONG = 0x88, 0x89, 0x8A


def frame(opcode: int, payload: bytes) -> bytes:
    """A short frame of a client, masked with zeros."""
    assert len(payload) < 126
    return bytes((opcode, 0x80 | len(payload))) + bytes(4) + payload


def close_frame(code: int) -> bytes:
    return frame(CLOSE, struct.pack("!H", code))


def read_frame(client: RawClient) -> tuple[int, bytes]:
    opcode, length = client.exactly(2)
    assert length < 127
    if length == 126:  # RFC 6455 5.2: two bytes more
        (length,) = struct.unpack("!H", client.exactly(2))
    return opcode, client.exactly(length)


def open_raw(gateway: Gateway, path: str, *fields: str) -> tuple[RawClient, str]:
    """Shake hands; return the client and the head of the answer."""
    client = gateway.connect()
    client.send(request(path, *HANDSHAKE, *fields))
    return client, client.until(b"\r\n\r\n").decode().lower()
