"""permessage-deflate on the wire: RFC 7692 7.2."""

import random
import zlib

import pytest
from tests.interface_server.unit.websocket.peer import (
    Peer,
    close_of,
    frame,
    open_connection,
    request_headers,
)
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from gateway_interface.core.websocket import Handshake, encode_message

CONT, TEXT, BINARY, PING = 0x0, 0x1, 0x2, 0x9
RSV1 = 0x40
LONG = "the same words over and over, " * 40


@pytest.mark.parametrize(
    "payload",
    [
        "f248cdc9c90700",  # 7.2.3.1: one compressed block
        "000500faff48656c6c6f00",  # 7.2.3.3: a block without compression
        "f348cdc9c9070000",  # 7.2.3.4: a final block
        "f24805000000ffffcac9c90700",  # 7.2.3.5: two blocks
    ],
)
def test_the_hellos_of_the_rfc_are_read(payload: str) -> None:
    server = open_connection(deflate=True)
    server.receive_data(frame(TEXT, bytes.fromhex(payload), rsv=RSV1))
    assert server.messages() == ["Hello"]


def test_the_hello_in_two_fragments_is_read() -> None:
    """RFC 7692 7.2.3.1: RSV1 is set on the first fragment only."""
    server = open_connection(deflate=True)
    server.receive_data(frame(TEXT, bytes.fromhex("f248cd"), fin=False, rsv=RSV1))
    server.receive_data(frame(PING) + frame(CONT, bytes.fromhex("c9c90700")))
    assert server.messages() == ["Hello"]


def test_an_empty_compressed_message_is_empty() -> None:
    """RFC 7692 7.2.3.6: a single 00."""
    server = open_connection(deflate=True)
    server.receive_data(frame(TEXT, b"\x00", rsv=RSV1))
    assert server.messages() == [""]


def test_compressed_and_plain_messages_may_alternate() -> None:
    """RFC 7692 6: the sender decides by message."""
    server = open_connection(deflate=True)
    hello = frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1)
    plain = frame(TEXT, b"pla", fin=False) + frame(CONT, b"in")
    server.receive_data(hello + plain + hello + frame(TEXT, b"!"))
    assert server.messages() == ["Hello", "plain", "Hello", "!"]


@pytest.mark.parametrize(
    "wire",
    [
        frame(TEXT, b"\xff\xff\xff", rsv=RSV1),  # no DEFLATE stream
        frame(TEXT, bytes.fromhex("f200110000"), rsv=RSV1),  # 7.2.3.2 without its context
        frame(PING, b"", rsv=RSV1),  # 6.1: control frames are not compressed
        frame(TEXT, b"", fin=False) + frame(CONT, b"", rsv=RSV1),
        frame(TEXT, bytes.fromhex("f248cd"), fin=False, rsv=RSV1)
        + frame(CONT, bytes.fromhex("c9c90700"), rsv=RSV1),  # 6.1: on the first fragment only
        frame(TEXT, b"", fin=False, rsv=RSV1) + frame(TEXT, b"\x00", rsv=RSV1),
        frame(CONT, b"", rsv=RSV1),
        frame(TEXT, b"\x00", rsv=RSV1 | 0x20),
        frame(3, b"", rsv=RSV1),
    ],
)
def test_broken_compression_closes_with_1002(wire: bytes) -> None:
    server = open_connection(deflate=True)
    server.receive_data(wire)
    assert close_of(server.pending_output())[0] == 1002
    assert server.messages() == []


def test_a_client_that_keeps_its_context_is_refused() -> None:
    """RFC 7692 7.1.1.2: it agreed not to; its second message refers to the first."""
    server = open_connection(deflate=True)
    peer = Peer(server, [PerMessageDeflate(True, False, 12, 12)])
    peer.protocol.send_text(LONG.encode())
    peer.protocol.send_text(LONG.encode())
    peer.flush()
    assert server.messages() == [LONG]
    assert server.closed is not None
    assert server.closed.code == 1002


def test_a_client_without_a_small_window_is_understood() -> None:
    """RFC 7692 7.1.2.2: it did not offer client_max_window_bits, so 32 KiB may be referred to."""
    noise = random.Random(1).randbytes(20_000)
    compressor = zlib.compressobj(wbits=-15)
    payload = compressor.compress(noise + noise) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(payload) < 30_000
    offer = [(b"sec-websocket-extensions", b"permessage-deflate")]
    server = Handshake("/", request_headers(more=offer), deflate=True).connection(max_size=2**20)
    server.receive_data(frame(BINARY, payload[:-4], rsv=RSV1))
    assert server.messages() == [noise + noise]


@pytest.mark.parametrize("message", [LONG, LONG.encode(), "x" * 70_000, bytes(300)])
def test_long_messages_are_sent_deflated(message: str | bytes) -> None:
    server = open_connection(deflate=True)
    wire = server.send_text(message) if isinstance(message, str) else server.send_bytes(message)
    assert wire[0] & RSV1
    assert len(wire) < len(message)
    (received,) = Peer(server).receive(wire)
    assert bytes(received.data) == (message.encode() if isinstance(message, str) else message)


def test_each_message_is_deflated_by_itself() -> None:
    """No context takeover: the same message is the same bytes again."""
    server = open_connection(deflate=True)
    assert server.send_text(LONG) == server.send_text(LONG)


def test_the_window_promised_to_the_client_is_kept() -> None:
    """RFC 7692 7.1.2.1: a decoder that has kept no more than 4 KiB understands everything."""
    noise = random.Random(2).randbytes(6000)
    message = noise + noise + bytes(10_000)
    wire = open_connection(deflate=True).send_bytes(message)
    assert wire[:2] == bytes([0x82 | RSV1, 126])
    decompressor, rest, inflated = zlib.decompressobj(wbits=-12), wire[4:], b""
    while rest:  # in small steps: what one call returns is at the decoder's disposal meanwhile
        inflated += decompressor.decompress(rest, 500)
        rest = decompressor.unconsumed_tail
    inflated += decompressor.decompress(b"\x00\x00\xff\xff")
    assert inflated == message


@pytest.mark.parametrize(("size", "deflated"), [(0, False), (255, False), (256, True)])
def test_messages_under_256_bytes_are_sent_plain(size: int, deflated: bool) -> None:
    wire = encode_message("x" * size, True)
    assert bool(wire[0] & RSV1) is deflated


def test_what_does_not_shrink_is_sent_plain() -> None:
    noise = random.Random(3).randbytes(5000)
    assert encode_message(noise, True) == encode_message(noise, False)


def test_nothing_is_deflated_for_a_client_that_did_not_agree() -> None:
    server = open_connection(deflate=False)
    (received,) = Peer(server).receive(server.send_text(LONG))
    assert received == Frame(Opcode.TEXT, LONG.encode())


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("message", ["short", LONG, b"short", LONG.encode()])
def test_a_prepared_frame_is_what_a_connection_sends(deflate: bool, message: str | bytes) -> None:
    server = open_connection(deflate=deflate)
    wire = server.send_text(message) if isinstance(message, str) else server.send_bytes(message)
    assert encode_message(message, server.frame_form) == wire


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_are_encoded_as_the_library_encodes_them(size: int) -> None:
    """RFC 6455 5.2: the shortest form of the length."""
    text = Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)
    binary = Frame(Opcode.BINARY, bytes(size)).serialize(mask=False)
    assert encode_message("x" * size, False) == text
    assert encode_message(bytes(size), False) == binary
