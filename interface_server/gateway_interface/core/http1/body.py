"""The chunked transfer coding (RFC 9112 7.1), read strictly."""

from enum import Enum

from gateway_interface.core.http1.grammar import HEX_DIGITS, NOT_CONTROL, TOKEN
from gateway_interface.core.http1.head import Refusal, Signal

MAX_PIECE_BYTES = 65_536
"""Largest piece of body that a reader gives out: what one event may carry on the wire."""

_MAX_CHUNK_LINE_BYTES = 1_024
"""Size and extensions of one chunk. Extensions are ignored, so none has a reason to be long."""

_MAX_SIZE_DIGITS = 16
"""RFC 9112 7.1 asks to prevent overflow: 16 digits are 64 bits."""

_MAX_TRAILER_BYTES = 16_384
"""All trailer fields of a body, which are read and dropped (RFC 9110 6.5.1)."""


class _Part(Enum):
    """What comes next in the coding."""

    SIZE = "chunk-size and extensions"
    DATA = "chunk-data"
    DATA_END = "line end after chunk-data"
    TRAILER = "trailer field or final empty line"


_SIZE, _DATA, _DATA_END, _TRAILER = _Part


class ChunkedBody:
    """Decodes one body; the bytes stay in the reader's buffer until they are taken."""

    __slots__ = ("_part", "_remaining", "_trailer_bytes")

    def __init__(self) -> None:
        """Begin before the first chunk."""
        self._part = _SIZE
        self._remaining = 0
        self._trailer_bytes = 0

    def read(
        self, buffer: bytes | bytearray, position: int
    ) -> tuple[bytes | Signal | Refusal, int]:
        """Take the next thing from `buffer` at `position`.

        Returns:
            A piece of data (1 to MAX_PIECE_BYTES), NEED_DATA, END_OF_MESSAGE, or a Refusal; and
            the position of the first byte that was not taken.
        """
        while True:
            if self._part is _DATA:
                return self._read_data(buffer, position)
            limit = self._max_line_bytes()
            line_end = buffer.find(b"\n", position, position + limit)
            if line_end < 0:
                if len(buffer) - position >= limit:
                    return self._too_long(), position
                return Signal.NEED_DATA, position
            line = bytes(buffer[position : line_end + 1])
            position = line_end + 1
            outcome = self._read_line(line)
            if outcome is not None:
                return outcome, position

    def _read_data(self, buffer: bytes | bytearray, position: int) -> tuple[bytes | Signal, int]:
        """Take what is there of the chunk."""
        piece = bytes(buffer[position : position + min(self._remaining, MAX_PIECE_BYTES)])
        if not piece:
            return Signal.NEED_DATA, position
        self._remaining -= len(piece)
        if not self._remaining:
            self._part = _DATA_END
        return piece, position + len(piece)

    def _max_line_bytes(self) -> int:
        """How long the line that comes next may be, with its end."""
        if self._part is _SIZE:
            return _MAX_CHUNK_LINE_BYTES
        if self._part is _DATA_END:
            return 2
        return _MAX_TRAILER_BYTES - self._trailer_bytes

    def _too_long(self) -> Refusal:
        """The line that comes next is longer than it may be."""
        if self._part is _TRAILER:
            return Refusal(431, "trailer fields too large")
        return Refusal(400, "malformed chunk")

    def _read_line(self, line: bytes) -> Signal | Refusal | None:
        """Take one line with its LF; None if the body goes on."""
        if line[-2:] != b"\r\n":  # RFC 9112 2.2 tolerates a bare LF, smugglers live on it
            return Refusal(400, "malformed chunk")
        if self._part is _DATA_END:
            self._part = _SIZE  # only CRLF itself fits into its limit
            return None
        if self._part is _TRAILER:
            return self._read_trailer(line)
        size = _chunk_size(line[:-2])
        if size is None:
            return Refusal(400, "malformed chunk")
        self._remaining = size
        self._part = _DATA if size else _TRAILER
        return None

    def _read_trailer(self, line: bytes) -> Signal | Refusal | None:
        """Check a field line and forget it; the empty one ends the message."""
        if line == b"\r\n":
            return Signal.END_OF_MESSAGE
        self._trailer_bytes += len(line)
        name, colon, value = line[:-2].partition(b":")
        if (
            not colon
            or not name
            or name.translate(None, TOKEN)
            or value.translate(None, NOT_CONTROL)
        ):
            return Refusal(400, "malformed trailer field")
        return None


def _chunk_size(line: bytes) -> int | None:
    """The size of `chunk-size [chunk-ext]`; None if that is not what the line is."""
    digits, semicolon, extension = line.partition(b";")
    if semicolon:  # RFC 9112 7.1.1: BWS may stand before the ";"
        digits = digits.rstrip(b" \t")
    if not 0 < len(digits) <= _MAX_SIZE_DIGITS or digits.translate(None, HEX_DIGITS):
        return None
    if extension.translate(None, NOT_CONTROL):
        return None
    return int(digits, 16)
