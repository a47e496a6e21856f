"""What a client cannot do: too large a message (1009), text that is not UTF-8 (1007)."""

import zlib

import pytest
from tests.interface_server.unit.websocket.peer import (
    MAX_SIZE,
    close_of,
    frame,
    only_frame,
    open_connection,
)
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode

from gateway_interface.core.websocket import WebSocketConnection
from gateway_interface.core.websocket.deflate import Inflate

CONT, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9
RSV1 = 0x40


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def assert_failed(server: WebSocketConnection, code: int) -> None:
    sent, reason = close_of(server.pending_output())
    assert sent == code
    assert server.closed == (code, reason, "server")
    assert type(server.closed.code) is int  # it travels in a message, an enum does not
    assert server.should_close_transport


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_may_be_as_large_as_the_limit(opcode: int) -> None:
    server = open_connection()
    server.receive_data(frame(opcode, b"x" * MAX_SIZE))
    (message,) = server.messages()
    assert len(message) == MAX_SIZE
    assert server.closed is None


@pytest.mark.parametrize("size", [MAX_SIZE + 1, MAX_SIZE + 125, MAX_SIZE + 126, 2**20])
def test_a_larger_message_closes_with_1009(size: int) -> None:
    """RFC 6455 7.4.1."""
    server = open_connection()
    server.receive_data(frame(BINARY, bytes(size)))
    assert server.messages() == []
    assert_failed(server, 1009)


def test_a_larger_message_is_refused_by_its_head() -> None:
    server = open_connection()
    server.receive_data(frame(BINARY, bytes(2**20))[:14])
    assert_failed(server, 1009)


@pytest.mark.parametrize("last", [1, 125, 126, MAX_SIZE])
def test_fragments_that_are_together_too_large_close_with_1009(last: int) -> None:
    server = open_connection()
    server.receive_data(
        frame(TEXT, b"x" * (MAX_SIZE - 1), fin=False) + frame(CONT, b"x", fin=False)
    )
    assert server.closed is None
    server.receive_data(frame(CONT, b"x" * last, fin=False))
    assert_failed(server, 1009)


def test_fragments_may_together_be_as_large_as_the_limit() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"x" * (MAX_SIZE - 1), fin=False) + frame(CONT, b"x"))
    assert server.messages() == ["x" * MAX_SIZE]


def test_a_ping_in_a_message_at_its_limit_is_answered() -> None:
    """RFC 6455 5.4: a control frame is no part of the message."""
    server = open_connection()
    server.receive_data(frame(BINARY, bytes(MAX_SIZE), fin=False) + frame(PING, b"p" * 125))
    assert only_frame(server.pending_output()) == Frame(Opcode.PONG, b"p" * 125)
    assert server.closed is None


def test_messages_before_one_too_large_are_delivered() -> None:
    server = open_connection()
    server.receive_data(
        frame(TEXT, b"a") + frame(TEXT, bytes(MAX_SIZE + 1)) + frame(TEXT, b"b") + frame(CLOSE)
    )
    assert server.messages() == ["a"]


def test_a_compressed_message_may_inflate_to_the_limit() -> None:
    server = open_connection(deflate=True)
    server.receive_data(frame(BINARY, deflated(bytes(MAX_SIZE)), rsv=RSV1))
    assert server.messages() == [bytes(MAX_SIZE)]


@pytest.mark.parametrize("size", [MAX_SIZE + 1, MAX_SIZE + 125, MAX_SIZE + 126, 2**24])
def test_a_decompression_bomb_closes_with_1009(size: int) -> None:
    """RFC 7692 does not bound inflation; the limit of messages does."""
    server = open_connection(deflate=True, max_size=MAX_SIZE)
    wire = frame(BINARY, deflated(bytes(size)), rsv=RSV1)
    server.receive_data(wire)
    assert server.messages() == []
    assert_failed(server, 1009)


def test_a_bomb_in_fragments_closes_with_1009() -> None:
    server = open_connection(deflate=True)
    bomb = deflated(bytes(MAX_SIZE * 3))
    server.receive_data(frame(BINARY, bomb[:3], fin=False, rsv=RSV1))
    for byte in bomb[3:]:
        server.receive_data(frame(CONT, bytes([byte]), fin=False))
    assert_failed(server, 1009)


@pytest.mark.parametrize("limit", [0, 1, 1000])
def test_inflation_stops_at_the_limit_of_the_frame(limit: int) -> None:
    """A limit of 0 is what a message has left at its limit; zlib would take it for none."""
    exact = Frame(Opcode.BINARY, deflated(bytes(limit)), rsv1=True)
    assert Inflate(12).decode(exact, max_size=limit).data == bytes(limit)
    over = Frame(Opcode.BINARY, deflated(bytes(limit + 1)), rsv1=True)
    with pytest.raises(PayloadTooBig):
        Inflate(12).decode(over, max_size=limit)


def test_data_after_the_final_deflate_block_does_not_pile_up() -> None:
    """RFC 7692 7.2.3.4 lets a final block end the data; more after it is refused, not kept."""
    server = open_connection(deflate=True)
    ended = bytes.fromhex("f348cdc9c9070000")
    server.receive_data(frame(TEXT, ended, fin=False, rsv=RSV1))
    assert server.closed is None
    server.receive_data(frame(CONT, b"x" * 100, fin=False))
    assert_failed(server, 1002)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"\xc0\xaf",  # overlong
        b"\xed\xa0\x80",  # surrogate
        b"\xf4\x90\x80\x80",  # over U+10FFFF
        b"\xf8\x88\x80\x80\x80",
        b"caf\xc3",  # cut off
        "κόσμε".encode() + b"\xed\xa0\x80edited",  # Autobahn 6.3.1
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_text_that_is_not_utf8_closes_with_1007(text: bytes, compressed: bool) -> None:
    """RFC 6455 8.1."""
    server = open_connection(deflate=compressed)
    wire = frame(TEXT, deflated(text), rsv=RSV1) if compressed else frame(TEXT, text)
    server.receive_data(frame(TEXT, b"ok") + wire + frame(TEXT, b"late"))
    assert server.messages() == ["ok"]
    assert_failed(server, 1007)


@pytest.mark.parametrize(
    "text", ["", "κόσμε", "\U0001f600" * 3, "\x00", "\ufffe\uffff", "\U0010ffff", "\ud7ff\ue000"]
)
def test_any_utf8_is_a_text(text: str) -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, text.encode()))
    assert server.messages() == [text]


def test_a_character_may_be_divided_between_fragments() -> None:
    """RFC 6455 5.6: a frame of a text may hold a partial UTF-8 sequence."""
    server = open_connection()
    raw = "κόσμε😀".encode()
    server.receive_data(frame(TEXT, raw[:1], fin=False))
    for byte in raw[1:-1]:
        server.receive_data(frame(CONT, bytes([byte]), fin=False))
    server.receive_data(frame(CONT, raw[-1:]))
    assert server.messages() == ["κόσμε😀"]


def test_a_bad_fragment_closes_before_the_message_ends() -> None:
    """Autobahn 6.4.1: fail fast."""
    server = open_connection()
    server.receive_data(frame(TEXT, "κόσμε".encode(), fin=False))
    assert server.closed is None
    server.receive_data(frame(CONT, b"\xf4\x90\x80\x80", fin=False))
    assert_failed(server, 1007)


def test_a_text_that_ends_within_a_character_closes_with_1007() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"caf", fin=False) + frame(CONT, b"\xc3"))
    assert_failed(server, 1007)


def test_binary_need_not_be_utf8() -> None:
    server = open_connection()
    server.receive_data(frame(BINARY, b"\xff", fin=False) + frame(CONT, b"\xfe"))
    assert server.messages() == [b"\xff\xfe"]
