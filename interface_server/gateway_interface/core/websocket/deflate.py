"""permessage-deflate without context takeover (RFC 7692), as an extension of `websockets`.

The library's own extension is used for negotiation. Its decoder is not: it lets a client that ends
the DEFLATE stream early grow memory without bound (what follows is kept, and costs no output), and
it inflates without limit once nothing of the limit is left.
"""

import zlib
from collections.abc import Sequence

from websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions import Extension, ServerExtensionFactory
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.typing import ExtensionParameter

from gateway_interface.core.websocket.frames import SERVER_WINDOW_BITS

CLIENT_WINDOW_BITS = 12
"""Asked of clients that let the server choose: inflating takes 4 KiB then instead of 32."""

_CONT = Opcode.CONT
_FIRST = (Opcode.TEXT, Opcode.BINARY)
_TAIL = b"\x00\x00\xff\xff"  # what the sender cut off (RFC 7692 7.2.2)


class Inflate(Extension):
    """Inflates what one client sends.

    A decompressor exists only while a message is being received. The library sends nothing but
    control frames through `encode`; messages are made by `encode_message`.
    """

    name = ServerPerMessageDeflateFactory.name

    def __init__(self, window_bits: int) -> None:
        """Inflate messages whose LZ77 window is at most 2**`window_bits` bytes."""
        self._window_bits = window_bits
        self._decompressor: zlib._Decompress | None = None

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Inflate a frame of a compressed message; pass any other as it is.

        Args:
            frame: As parsed; one with a RSV1 bit where none belongs keeps it and so is refused.
            max_size: Bytes that the rest of the message may have after inflation.

        Raises:
            PayloadTooBig: The frame inflates to more than `max_size`.
            ProtocolError: The payload is no DEFLATE stream.
        """
        assert max_size is not None, "connections always have a limit"
        if frame.rsv1 and frame.opcode in _FIRST:
            decompressor = zlib.decompressobj(-self._window_bits)
        elif self._decompressor is not None and frame.opcode is _CONT and not frame.rsv1:
            decompressor = self._decompressor
        else:
            return frame
        data = _inflate(decompressor, frame, max_size)
        self._decompressor = None if frame.fin else decompressor
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)

    def encode(self, frame: Frame) -> Frame:
        """Pass a control frame: these are never compressed (RFC 7692 6)."""
        return frame


def _inflate(decompressor: "zlib._Decompress", frame: Frame, max_size: int) -> bytes:
    deflated = bytes(frame.data) + _TAIL if frame.fin else frame.data
    try:
        # One more than allowed tells too much from just enough, and zlib takes 0 for "no limit".
        data = decompressor.decompress(deflated, max_size + 1)
    except zlib.error as exc:
        raise ProtocolError("invalid compressed data") from exc
    if len(data) > max_size:
        raise PayloadTooBig(None, max_size)
    # RFC 7692 7.2.3.4 allows a final block (BFINAL); only the empty block that stands for the cut
    # bytes may follow it, 00 and `_TAIL`. zlib would keep anything more and return nothing.
    if len(decompressor.unused_data) > 1 + len(_TAIL):
        raise ProtocolError("compressed data after its final block")
    return data


class InflateFactory(ServerExtensionFactory):
    """Negotiates permessage-deflate with no context takeover either way (RFC 7692 7.1)."""

    name = ServerPerMessageDeflateFactory.name

    def __init__(self) -> None:
        """Hold the server's side of the negotiation."""
        self._negotiation = ServerPerMessageDeflateFactory(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            server_max_window_bits=SERVER_WINDOW_BITS,
            client_max_window_bits=CLIENT_WINDOW_BITS,
        )

    def process_request_params(
        self,
        params: Sequence[ExtensionParameter],
        accepted_extensions: Sequence[Extension],
    ) -> tuple[list[ExtensionParameter], Extension]:
        """Answer one offer.

        Raises:
            NegotiationError: The offer is declined: a second one, one with invalid parameters,
                or one that wants a window smaller than the one that messages are encoded with.
        """
        answer, _ = self._negotiation.process_request_params(params, accepted_extensions)
        agreed = dict(answer)
        if agreed["server_max_window_bits"] != str(SERVER_WINDOW_BITS):
            raise NegotiationError("server_max_window_bits too small")
        return answer, Inflate(int(agreed.get("client_max_window_bits") or 15))
