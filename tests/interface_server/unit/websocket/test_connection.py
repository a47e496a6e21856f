"""Messages and control frames of an open connection: RFC 6455 5."""

import gc
import weakref

import pytest
from tests.interface_server.unit.websocket.peer import (
    Peer,
    close_of,
    frame,
    only_frame,
    open_connection,
)
from websockets.frames import Frame, Opcode

from gateway_interface.core.websocket import WebSocketConnection
from gateway_interface.core.websocket.deflate import Inflate

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def test_the_masked_hello_of_the_rfc_is_a_text() -> None:
    """RFC 6455 5.7, second example."""
    server = open_connection()
    server.receive_data(bytes.fromhex("818537fa213d7f9f4d5158"))
    assert server.messages() == ["Hello"]


def test_messages_come_in_order_each_once() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT, "é".encode()))
    assert server.messages() == ["a", b"b", "é"]
    assert server.messages() == []


def test_messages_wait_until_they_are_taken() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"a"))
    server.receive_data(frame(TEXT, b"b"))
    assert server.messages() == ["a", "b"]


@pytest.mark.parametrize(("opcode", "empty"), [(TEXT, ""), (BINARY, b"")])
def test_an_empty_message_is_a_message(opcode: int, empty: str | bytes) -> None:
    server = open_connection()
    server.receive_data(frame(opcode))
    assert server.messages() == [empty]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_every_form_of_the_length_is_read(size: int) -> None:
    """RFC 6455 5.2: 7 bits, 7+16 and 7+64."""
    server = open_connection(max_size=2**20)
    server.receive_data(frame(BINARY, bytes(size)))
    assert server.messages() == [bytes(size)]


def test_a_message_split_at_any_byte_is_the_same() -> None:
    data = frame(TEXT, "grüße".encode(), fin=False) + frame(PING, b"p") + frame(CONT, b"!")
    for cut in range(len(data) + 1):
        server = open_connection()
        server.receive_data(data[:cut])
        server.receive_data(data[cut:])
        assert server.messages() == ["grüße!"]


def test_fragments_are_joined() -> None:
    """RFC 6455 5.4."""
    server = open_connection()
    server.receive_data(frame(TEXT, b"Hel", fin=False))
    server.receive_data(frame(CONT, b"", fin=False))
    assert server.messages() == []
    server.receive_data(frame(CONT, b"lo"))
    assert server.messages() == ["Hello"]


def test_binary_fragments_are_bytes_after_text_ones() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"a", fin=False) + frame(CONT, b"b"))
    server.receive_data(frame(BINARY, b"\xff", fin=False) + frame(CONT, b"\xfe"))
    (text, binary) = server.messages()
    assert text == "ab"
    assert binary == b"\xff\xfe"
    assert type(binary) is bytes


def test_control_frames_may_come_between_fragments() -> None:
    """RFC 6455 5.4: an endpoint handles control frames in the middle of a message."""
    server = open_connection()
    server.receive_data(frame(TEXT, b"a", fin=False) + frame(PING, b"now") + frame(CONT, b"b"))
    assert server.messages() == ["ab"]
    assert only_frame(server.pending_output()) == Frame(Opcode.PONG, b"now")


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125))])
def test_a_ping_is_answered_with_its_payload(payload: bytes) -> None:
    """RFC 6455 5.5.3."""
    server = open_connection()
    server.receive_data(frame(PING, payload))
    assert only_frame(server.pending_output()) == Frame(Opcode.PONG, payload)
    assert server.pending_output() == b""
    assert server.messages() == []


def test_an_unsolicited_pong_means_nothing() -> None:
    """RFC 6455 5.5.3."""
    server = open_connection()
    server.receive_data(frame(PONG, b"whatever"))
    assert server.pending_output() == b""
    assert server.closed is None


def test_our_ping_waits_for_its_pong() -> None:
    server = open_connection()
    waiting = [server.awaiting_pong]
    ping = only_frame(server.ping())
    waiting.append(server.awaiting_pong)
    server.receive_data(frame(PONG, bytes(ping.data)))
    waiting.append(server.awaiting_pong)
    assert ping.opcode is Opcode.PING
    assert waiting == [False, True, False]


def test_a_pong_with_another_payload_is_not_the_answer() -> None:
    server = open_connection()
    server.ping()
    server.receive_data(frame(PONG, b"other"))
    assert server.awaiting_pong


def test_a_late_pong_does_not_answer_the_next_ping() -> None:
    server = open_connection()
    first, second = only_frame(server.ping()), only_frame(server.ping())
    waiting = []
    for ping in (first, second):
        server.receive_data(frame(PONG, bytes(ping.data)))
        waiting.append(server.awaiting_pong)
    assert waiting == [True, False]


def test_a_ping_carries_out_what_else_is_pending() -> None:
    server = open_connection()
    server.receive_data(frame(PING, b"x"))
    peer = Peer(server)
    assert [received.opcode for received in peer.receive(server.ping())] == [
        Opcode.PONG,
        Opcode.PING,
    ]


def test_sent_messages_arrive_unmasked() -> None:
    """RFC 6455 5.1: a server must not mask; a client core would refuse."""
    server = open_connection()
    peer = Peer(server)
    peer.receive(server.send_text("Grüße") + server.send_bytes(b"\x00\xff"))
    assert peer.from_server == [
        Frame(Opcode.TEXT, "Grüße".encode()),
        Frame(Opcode.BINARY, b"\x00\xff"),
    ]


def test_a_lone_surrogate_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        open_connection().send_text("\ud800")


@pytest.mark.parametrize(
    "wire",
    [
        b"\x81\x05Hello",  # RFC 6455 5.1: not masked
        frame(TEXT, b"x", rsv=0x40),  # 5.2: RSV bits without an extension
        frame(TEXT, b"x", rsv=0x20),
        frame(TEXT, b"x", rsv=0x10),
        frame(PING, b"x", rsv=0x40),
        *(frame(opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),  # 5.2: reserved
        frame(CONT, b"x"),  # 5.4: nothing to continue
        frame(CONT, b"x", fin=False),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),  # 5.4: not interleaved
        frame(BINARY, b"x", fin=False) + frame(BINARY, b"y", fin=False),
        frame(PING, fin=False),  # 5.5: control frames are not fragmented
        frame(PONG, fin=False),
        frame(PING, bytes(126)),  # 5.5: at most 125 bytes
        frame(PONG, bytes(126)),
    ],
)
def test_a_protocol_error_closes_with_1002(wire: bytes) -> None:
    server = open_connection()
    server.receive_data(wire)
    code, reason = close_of(server.pending_output())
    assert code == 1002
    assert server.closed == (1002, reason, "server")
    assert server.should_close_transport
    assert server.messages() == []


def test_what_came_before_a_protocol_error_is_delivered() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"before") + frame(3) + frame(TEXT, b"after"))
    assert server.messages() == ["before"]


@pytest.mark.parametrize("end", [frame(3), frame(CLOSE), frame(TEXT, b"\xff"), b""])
def test_an_ended_connection_is_freed_at_once(end: bytes) -> None:
    """What a client left behind does not wait for the garbage collector."""
    inflate = Inflate(12)
    freed = weakref.ref(inflate)
    server = WebSocketConnection([inflate], max_size=4096)
    gc.disable()
    try:
        server.receive_data(frame(TEXT, b"\x00", fin=False, rsv=0x40) + end)
        server.receive_eof()
        del server, inflate
        assert freed() is None
    finally:
        gc.enable()
