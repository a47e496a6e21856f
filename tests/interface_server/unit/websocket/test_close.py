"""The closing handshake and the end of the transport: RFC 6455 5.5.1, 7."""

import pytest
from tests.interface_server.unit.websocket.peer import (
    Peer,
    close_of,
    close_payload,
    frame,
    open_connection,
)
from websockets.frames import Opcode

CONT, TEXT, CLOSE, PING = 0x0, 0x1, 0x8, 0x9
VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
VALID_CODES += [3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


def test_an_open_connection_is_not_closed() -> None:
    server = open_connection()
    assert server.closed is None
    assert not server.should_close_transport


@pytest.mark.parametrize("code", VALID_CODES)
def test_a_close_of_the_client_is_echoed_and_told(code: int) -> None:
    """RFC 6455 5.5.1, 7.4."""
    server = open_connection()
    server.receive_data(frame(CLOSE, close_payload(code, "bye")))
    assert close_of(server.pending_output()) == (code, "bye")
    assert server.closed == (code, "bye", "client")
    assert server.should_close_transport


def test_a_close_without_code_is_1005_to_the_application() -> None:
    """RFC 6455 7.1.5; 7.4.1: 1005 itself is never on the wire."""
    server = open_connection()
    server.receive_data(frame(CLOSE))
    assert close_of(server.pending_output()) == (None, "")
    assert server.closed == (1005, "", "client")


def test_the_code_is_a_plain_int() -> None:
    """It travels in a message, where an enum is no int64."""
    for payload in (b"", close_payload(1001)):
        server = open_connection()
        server.receive_data(frame(CLOSE, payload))
        assert server.closed is not None
        assert type(server.closed.code) is int


@pytest.mark.parametrize("code", INVALID_CODES)
def test_an_invalid_code_of_the_client_is_a_protocol_error(code: int) -> None:
    """RFC 6455 7.4."""
    server = open_connection()
    server.receive_data(frame(CLOSE, close_payload(code)))
    assert close_of(server.pending_output())[0] == 1002
    assert server.closed is not None
    assert (server.closed.code, server.closed.by) == (1002, "server")


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"\x03", 1002),  # RFC 6455 5.5.1: two bytes if any
        (close_payload(1000) + b"\xff", 1007),  # 8.1: the reason is UTF-8
        (close_payload(1000) + b"x" * 124, 1002),  # 5.5: at most 125 bytes
    ],
)
def test_a_broken_close_frame_is_a_fault(payload: bytes, answer: int) -> None:
    server = open_connection()
    server.receive_data(frame(CLOSE, payload))
    assert close_of(server.pending_output())[0] == answer


def test_a_close_frame_may_be_full() -> None:
    server = open_connection()
    server.receive_data(frame(CLOSE, close_payload(1000, "x" * 123)))
    assert server.closed == (1000, "x" * 123, "client")


def test_messages_before_a_close_are_delivered_and_data_after_it_is_dropped() -> None:
    """RFC 6455 1.4."""
    server = open_connection()
    server.receive_data(frame(TEXT, b"a") + frame(CLOSE) + frame(TEXT, b"b") + frame(PING, b"x"))
    server.receive_data(frame(TEXT, b"c") + b"\xff" * 50)
    assert server.messages() == ["a"]
    assert close_of(server.pending_output()) == (None, "")
    assert server.closed == (1005, "", "client")


@pytest.mark.parametrize("code", VALID_CODES)
def test_the_server_closes_and_waits_for_the_reply(code: int) -> None:
    """RFC 6455 7.1.2, 7.1.1."""
    server = open_connection()
    wire = server.close(code, "because")
    assert close_of(wire) == (code, "because")
    assert (server.closed, server.should_close_transport) == (None, False)
    server.receive_data(frame(CLOSE, close_payload(code)))
    assert server.closed == (code, "because", "server")
    assert server.should_close_transport
    assert server.pending_output() == b""


def test_a_client_core_completes_the_handshake_that_the_server_began() -> None:
    server = open_connection()
    peer = Peer(server)
    peer.receive(server.close(4000, "later"))
    assert [received.opcode for received in peer.from_server] == [Opcode.CLOSE]
    peer.flush()
    assert server.closed == (4000, "later", "server")


@pytest.mark.parametrize("code", [*INVALID_CODES, -1])
def test_the_server_does_not_send_an_invalid_code(code: int) -> None:
    server = open_connection()
    with pytest.raises(ValueError, match=str(code)):
        server.close(code, "")
    assert close_of(server.close(1000, "")) == (1000, "")  # still open


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62])
def test_a_reason_over_123_bytes_is_refused(reason: str) -> None:
    """RFC 6455 5.5: 125 bytes with the code."""
    with pytest.raises(ValueError, match="123 bytes"):
        open_connection().close(1000, reason)


def test_only_the_first_close_of_the_server_is_sent() -> None:
    server = open_connection()
    server.close(1000, "")
    assert server.close(1001, "") == b""


def test_a_close_carries_out_what_else_is_pending() -> None:
    server = open_connection()
    server.receive_data(frame(PING, b"x"))
    peer = Peer(server)
    peer.receive(server.close(1000, ""))
    assert [received.opcode for received in peer.from_server] == [Opcode.PONG, Opcode.CLOSE]


def test_messages_after_the_server_closed_are_dropped() -> None:
    server = open_connection()
    server.receive_data(frame(TEXT, b"a") + frame(TEXT, b"half", fin=False))
    server.close(1000, "")
    server.receive_data(frame(CONT, b"done") + frame(TEXT, b"b") + frame(TEXT, b"\xff"))
    assert server.messages() == ["a"]
    assert server.closed is None


def test_when_both_close_the_first_close_frame_counts() -> None:
    server = open_connection()
    server.close(1000, "ours")
    server.receive_data(frame(CLOSE, close_payload(1001, "theirs")))
    assert server.closed == (1000, "ours", "server")


def test_a_fault_after_the_server_closed_ends_without_a_second_close_frame() -> None:
    """RFC 6455 5.5.1: nothing is sent after a close frame."""
    server = open_connection()
    server.close(1000, "")
    server.receive_data(frame(3))
    assert server.pending_output() == b""
    assert server.closed == (1000, "", "server")


@pytest.mark.parametrize("end", ["client", "server", "fault", "eof"])
def test_nothing_is_sent_after_the_end(end: str) -> None:
    server = open_connection()
    match end:
        case "client":
            server.receive_data(frame(CLOSE))
        case "server":
            server.close(1000, "")
        case "fault":
            server.receive_data(frame(3))
        case _:
            server.receive_eof()
    server.pending_output()
    assert server.send_text("x") == b""
    assert server.send_bytes(b"x") == b""
    assert server.ping() == b""
    assert not server.awaiting_pong
    assert server.close(1000, "") == b""


def test_the_end_of_the_transport_without_a_close_frame_is_1006() -> None:
    """RFC 6455 7.1.5."""
    server = open_connection()
    server.receive_data(frame(TEXT, b"a") + frame(TEXT, b"cut")[:-1])
    server.receive_eof()
    assert server.messages() == ["a"]
    assert server.pending_output() == b""
    assert server.closed == (1006, "", "none")
    assert server.should_close_transport


def test_the_end_of_the_transport_after_our_close_frame_keeps_our_code() -> None:
    server = open_connection()
    server.close(1001, "going")
    server.receive_eof()
    assert server.closed == (1001, "going", "server")


def test_the_end_of_the_transport_changes_nothing_about_a_closed_connection() -> None:
    server = open_connection()
    server.receive_data(frame(CLOSE, close_payload(4001)))
    server.receive_eof()
    server.receive_eof()
    assert server.closed == (4001, "", "client")


def test_data_after_the_end_of_the_transport_is_dropped() -> None:
    server = open_connection()
    server.receive_eof()
    server.receive_data(frame(TEXT, b"x"))
    assert server.messages() == []


def test_a_close_inside_a_fragmented_message_counts_as_the_clients() -> None:
    """RFC 6455 5.4, 5.5.1: the library answers 1002; the client has left with its own code."""
    server = open_connection()
    server.receive_data(frame(TEXT, b"x", fin=False) + frame(CLOSE, close_payload(1001)))
    assert close_of(server.pending_output())[0] == 1002
    assert server.closed == (1001, "", "client")
    assert server.messages() == []
