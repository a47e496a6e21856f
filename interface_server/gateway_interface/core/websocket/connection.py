"""An open WebSocket connection, from the server's side (RFC 6455 5-7)."""

import codecs
import logging
import struct
from typing import Literal, NamedTuple

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close as CloseFrame, CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from gateway_interface.core.websocket.frames import encode_message

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without its C extension
    from websockets.utils import apply_mask

# The library writes a line per frame and connection to the logger it is given; above its level, an
# unforeseen exception inside the library remains (the connection ends with 1011).
_LOGGER = logging.getLogger("gateway_interface.websocket")
_LOGGER.setLevel(logging.ERROR)

# Bound once: finding a member in an Enum costs 50 ns, several times a frame.
_OPEN = State.OPEN
_CONT, _TEXT, _CLOSE = Opcode.CONT, Opcode.TEXT, Opcode.CLOSE
_PING, _PONG = Opcode.PING, Opcode.PONG

_MAX_CONTROL_BYTES = 125  # RFC 6455 5.5
_MAX_REASON_BYTES = _MAX_CONTROL_BYTES - 2
# RFC 6455 5.2: FIN and the opcode in the first byte; MASK and a length below 126 in the second.
_WHOLE_TEXT, _WHOLE_BINARY = 0x80 | Opcode.TEXT, 0x80 | Opcode.BINARY
_MASKED = 0x80
_SMALL_HEAD_BYTES = 6
_PACK_PING = struct.Struct("!Q").pack
_UTF8_DECODER = codecs.getincrementaldecoder("utf-8")


class Close(NamedTuple):
    """How a connection ended.

    Attributes:
        code: For `websocket.disconnect`. 1005: the client's close frame had no code; 1006: the
            transport ended without a close frame (RFC 6455 7.1.5).
        reason: Text of the close frame, or "".
        by: Who sent the first close frame, "none" if nobody did. The server closes by `close` and
            upon a client's fault (1002, 1007, 1009).
    """

    code: int
    reason: str
    by: Literal["client", "server", "none"]


class WebSocketConnection:
    """Bytes of the socket in, messages out; messages in, bytes for the socket out.

    After each `receive_data` or `receive_eof` look at `messages()`, `pending_output()` and
    `closed`, in this order: what came before the end of a connection is still delivered. Nothing
    that the client does raises.

    Attributes:
        closed: Set, once, when the closing handshake, a fault of the client or the end of the
            transport has decided how the connection ended. Later input is dropped.
        awaiting_pong: The pong to the last `ping` has not come yet.
    """

    __slots__ = (
        "_answers",
        "_max_size",
        "_messages",
        "_partial",
        "_partial_utf8",
        "_pings",
        "_protocol",
        "awaiting_pong",
        "closed",
    )

    def __init__(self, extensions: list[Extension], *, max_size: int) -> None:
        """Begin after the 101 response.

        Args:
            extensions: What the handshake agreed on: [] or [Inflate].
            max_size: Largest message from the client, in bytes after inflation.
        """
        # The library counts a control frame among the fragments of a message against the message's
        # limit. It gets room for one; `_receive_frame` holds messages to the exact limit.
        self._protocol = Protocol(
            Side.SERVER, max_size=max_size + _MAX_CONTROL_BYTES, logger=_LOGGER
        )
        self._protocol.extensions = extensions
        self._max_size = max_size
        self._messages: list[str | bytes] = []
        self._partial: bytearray | None = None
        self._partial_utf8: codecs.IncrementalDecoder | None = None
        self._pings = 0
        self._answers = False  # the library was given something that it may have answered
        self.awaiting_pong = False
        self.closed: Close | None = None

    @property
    def frame_form(self) -> bool:
        """The `deflate` of `encode_message` for frames that go to this client."""
        return bool(self._protocol.extensions)

    @property
    def should_close_transport(self) -> bool:
        """Whether the server should now close TCP (RFC 6455 7.1.1), after `pending_output`."""
        return self.closed is not None

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self.closed is not None:  # RFC 6455 1.4: discard data after the close frame
            return
        protocol = self._protocol
        closing = protocol.state is not _OPEN
        if not closing and self._partial is None and not protocol.reader.buffer:
            data = self._receive_small(data)
            if not data:
                return
        self._answers = True
        protocol.receive_data(data)
        frames = protocol.events_received()
        if not closing:  # after the server's close frame nobody waits for messages
            try:
                for frame in frames:
                    assert isinstance(frame, Frame), "the handshake is over"
                    self._receive_frame(frame)
            except UnicodeDecodeError as exc:  # RFC 6455 8.1
                protocol.fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
            except PayloadTooBig:
                reason = f"message exceeds limit of {self._max_size} bytes"
                protocol.fail(CloseCode.MESSAGE_TOO_BIG, reason)
        if protocol.eof_sent:  # the library wants TCP closed
            self._end()

    def receive_eof(self) -> None:
        """Take the end of the transport, orderly or not. Repetition does nothing."""
        if self.closed is None:
            self._answers = True
            self._protocol.receive_eof()
            self._end()

    def messages(self) -> list[str | bytes]:
        """Take the messages that were completed since the last call, in order."""
        messages, self._messages = self._messages, []
        return messages

    def pending_output(self) -> bytes:
        """Take what the protocol itself has to write: pongs, a close frame; or b""."""
        if not self._answers:
            return b""
        self._answers = False
        return b"".join(self._protocol.data_to_send())

    def send_text(self, text: str) -> bytes:
        """Make the bytes of a text message; b"" if a close frame went out or came in.

        Raises:
            UnicodeEncodeError: The text holds a lone surrogate.
        """
        return self._send(text)

    def send_bytes(self, data: bytes) -> bytes:
        """Make the bytes of a binary message; b"" if a close frame went out or came in."""
        return self._send(data)

    def close(self, code: int, reason: str) -> bytes:
        """Start the closing handshake (RFC 6455 7.1.2).

        Returns:
            Bytes for the socket: pending output and the close frame; b"" if one went out before.

        Raises:
            ValueError: The code may not be in a close frame (RFC 6455 7.4), or the reason has more
                than 123 bytes.
        """
        try:
            CloseFrame(code, reason).check()
        except ProtocolError as exc:
            raise ValueError(f"close code {code} cannot be sent") from exc
        if len(reason.encode()) > _MAX_REASON_BYTES:
            raise ValueError(f"close reason of more than {_MAX_REASON_BYTES} bytes")
        if self._protocol.state is not _OPEN:
            return b""
        self._answers = True
        self._protocol.send_close(code, reason)
        return self.pending_output()

    def ping(self) -> bytes:
        """Make a ping (RFC 6455 5.5.2); only a pong to the last one clears `awaiting_pong`.

        Returns:
            Bytes for the socket; b"" if a close frame went out or came in.
        """
        if self._protocol.state is not _OPEN:
            return b""
        self._pings += 1
        self.awaiting_pong = True
        self._answers = True
        self._protocol.send_ping(self._ping_payload())
        return self.pending_output()

    def _ping_payload(self) -> bytes:
        return _PACK_PING(self._pings)

    def _send(self, data: str | bytes) -> bytes:
        # The library's send_text and its Frame cost 1.0 us a message, this 0.35 (64-byte text).
        if self._protocol.state is not _OPEN:
            return b""
        return encode_message(data, bool(self._protocol.extensions))

    def _receive_small(self, data: bytes) -> bytes:
        """Take whole messages of one frame and at most 125 bytes; return what else came.

        The library's parser costs 3.5 us a frame, this 0.9 (64-byte text): most of what there is
        to gain in an echo. Whatever is not quite such a frame, a malformed one too, is left to it.
        """
        at, size = 0, len(data)
        limit = min(_MAX_CONTROL_BYTES, self._max_size)
        while size - at > _SMALL_HEAD_BYTES:
            first, length = data[at], data[at + 1] - _MASKED
            start = at + _SMALL_HEAD_BYTES
            if (first != _WHOLE_TEXT and first != _WHOLE_BINARY) or not 0 < length <= limit:
                break
            if start + length > size:
                break
            payload = apply_mask(data[start : start + length], data[at + 2 : start])
            if first == _WHOLE_TEXT:
                try:
                    self._messages.append(payload.decode())
                except UnicodeDecodeError:
                    break
            else:
                self._messages.append(payload)
            at = start + length
        return data[at:] if at else data

    def _receive_frame(self, frame: Frame) -> None:
        """Take one frame whose place in the stream the library has checked.

        Raises:
            UnicodeDecodeError: A text is not UTF-8.
            PayloadTooBig: A message has more than `max_size` bytes.
        """
        opcode = frame.opcode
        if opcode is _PING or opcode is _CLOSE:  # answered by the library
            return
        data = frame.data
        if opcode is _PONG:  # RFC 6455 5.5.3: an unsolicited one means nothing
            if self.awaiting_pong and data == self._ping_payload():
                self.awaiting_pong = False
            return
        if not frame.fin or opcode is _CONT:
            self._receive_fragment(frame)
            return
        if len(data) > self._max_size:
            raise PayloadTooBig(len(data), self._max_size)
        self._messages.append(str(data, "utf-8") if opcode is _TEXT else bytes(data))

    def _receive_fragment(self, frame: Frame) -> None:
        """Add a frame to a fragmented message (RFC 6455 5.4); raises as `_receive_frame`.

        One buffer grows, for a list of fragments would let empty ones grow memory.
        """
        partial = self._partial
        if partial is None:
            partial = self._partial = bytearray()
            self._partial_utf8 = _UTF8_DECODER() if frame.opcode is _TEXT else None
        if len(partial) + len(frame.data) > self._max_size:
            raise PayloadTooBig(len(frame.data), self._max_size, len(partial))
        if self._partial_utf8 is not None:
            self._partial_utf8.decode(bytes(frame.data), frame.fin)  # fail at once, not at the end
        partial += frame.data
        if frame.fin:
            text = self._partial_utf8 is not None
            self._messages.append(partial.decode() if text else bytes(partial))
            self._partial = self._partial_utf8 = None

    def _end(self) -> None:
        """Note how the connection ended.

        A client whose close frame was read has closed, even if a fault of it is found as well: a
        fragmented message cut off, or bad text in the same bytes, which the library read first.
        """
        protocol = self._protocol
        received, sent = protocol.close_rcvd, protocol.close_sent
        if received is not None and protocol.close_rcvd_then_sent:
            self.closed = Close(int(received.code), received.reason, "client")
        elif sent is not None:
            self.closed = Close(int(sent.code), sent.reason, "server")
        else:
            self.closed = Close(1006, "", "none")
        self._partial = self._partial_utf8 = None
        # The protocol is in cycles with its parser, a generator, and with the traceback of what
        # stopped it; without this, the payload and the decompressor there would wait for the
        # garbage collector.
        protocol.parser.close()
        protocol.parser_exc = None
