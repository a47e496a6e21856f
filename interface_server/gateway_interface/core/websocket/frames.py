"""Outbound data frames (RFC 6455 5.2), deflated or plain (RFC 7692 7.2.1).

A server's frames are unmasked and nothing of an earlier message goes into a later one (no context
takeover), so the bytes of a message depend on the message and on `deflate` alone: they are made
once for all members of a group.
"""

import struct
import zlib

SERVER_WINDOW_BITS = 12
"""LZ77 window of what the server sends, promised to the client in the handshake."""

DEFLATE_MIN_BYTES = 256
"""Shorter payloads go out plain: deflating one costs more than sending it."""

# Chosen by measurement (CPython 3.11, zlib 1.3): 4 KiB of JSON take 9 us and become 591 bytes;
# level 6 takes 16 us for 512. A higher memLevel or a larger window gains nothing at such sizes,
# and the compressor costs 32 KiB while it runs, none between messages.
_LEVEL = 1
_MEM_LEVEL = 5

_TEXT = 0x81  # FIN, opcode 1
_BINARY = 0x82  # FIN, opcode 2
_RSV1 = 0x40  # "Per-Message Compressed" (RFC 7692 6)
_MEDIUM = struct.Struct("!BBH").pack
_LONG = struct.Struct("!BBQ").pack


def encode_message(data: str | bytes, deflate: bool) -> bytes:
    """Make the one frame that carries a message from the server.

    Args:
        data: A text (opcode 1) or bytes (opcode 2).
        deflate: The `frame_form` of the connections that it is for.

    Raises:
        UnicodeEncodeError: The text holds a lone surrogate.
    """
    if isinstance(data, str):
        head, payload = _TEXT, data.encode()
    else:
        head, payload = _BINARY, data
    size = len(payload)
    if deflate and size >= DEFLATE_MIN_BYTES:
        deflated = _deflate(payload)
        if len(deflated) < size:
            head, payload, size = head | _RSV1, deflated, len(deflated)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65536:
        return _MEDIUM(head, 126, size) + payload
    return _LONG(head, 127, size) + payload


def _deflate(payload: bytes) -> bytes:
    """Compress a whole message and cut the 00 00 ff ff at its end (RFC 7692 7.2.1)."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -SERVER_WINDOW_BITS, _MEM_LEVEL)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
