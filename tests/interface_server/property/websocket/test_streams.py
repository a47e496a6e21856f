"""Any bytes in any pieces: the same messages, and never an exception."""

import itertools
from collections.abc import Iterator

from hypothesis import given, strategies as st
from tests.interface_server.unit.websocket.peer import (
    Peer,
    close_payload,
    frame,
    open_connection,
    request_headers,
)
from websockets.extensions.permessage_deflate import PerMessageDeflate

from gateway_interface.core.websocket import Close, Handshake, encode_message

messages = st.lists(st.one_of(st.text(max_size=400), st.binary(max_size=400)), max_size=5)
cuts = st.lists(st.integers(min_value=0, max_value=4000), max_size=12)
closes = st.one_of(st.just(b""), st.integers(3000, 4999).map(close_payload))


def pieces(data: bytes, at: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    for start, end in itertools.pairwise(edges):
        yield data[start:end]


def client_bytes(sent: list[str | bytes], at: list[int], *, deflate: bool) -> bytes:
    """What a client core writes for the messages, fragmented, with pings between the fragments."""
    peer = Peer(open_connection(deflate=deflate))
    for message in sent:
        payload = message.encode() if isinstance(message, str) else message
        first, *others = pieces(payload, at)
        send = peer.protocol.send_text if isinstance(message, str) else peer.protocol.send_binary
        send(first, fin=not others)
        for number, fragment in enumerate(others, 1):
            peer.protocol.send_ping(b"between")
            peer.protocol.send_continuation(fragment, fin=number == len(others))
    return b"".join(peer.protocol.data_to_send())


@given(sent=messages, fragments=cuts, at=cuts, deflate=st.booleans())
def test_any_split_gives_the_same_messages(
    sent: list[str | bytes], fragments: list[int], at: list[int], deflate: bool
) -> None:
    server = open_connection(deflate=deflate)
    received: list[str | bytes] = []
    for piece in pieces(client_bytes(sent, fragments, deflate=deflate), at):
        server.receive_data(piece)
        received += server.messages()
    assert received == sent
    assert server.closed is None


@given(sent=messages, deflate=st.booleans())
def test_a_client_receives_what_was_sent(sent: list[str | bytes], deflate: bool) -> None:
    server = open_connection(deflate=deflate)
    peer = Peer(server)
    for message in sent:
        wire = server.send_text(message) if isinstance(message, str) else server.send_bytes(message)
        assert wire == encode_message(message, server.frame_form)
        peer.receive(wire)
    assert [bytes(received.data) for received in peer.from_server] == [
        message.encode() if isinstance(message, str) else message for message in sent
    ]


def outcome(data: bytes, at: list[int], *, deflate: bool) -> tuple[list[str | bytes], bytes, Close]:
    server = open_connection(deflate=deflate, max_size=300)
    received: list[str | bytes] = []
    output = b""
    for piece in pieces(data, at):
        server.receive_data(piece)
        received += server.messages()
        output += server.pending_output()
    server.receive_eof()
    output += server.pending_output()
    assert server.closed is not None
    assert server.should_close_transport
    return received, output, server.closed


opcodes = st.sampled_from([0, 1, 1, 2, 2, 3, 8, 9, 10])
rsv = st.sampled_from([0, 0, 0, 0x40, 0x40, 0x20, 0x10])
frames = st.builds(
    frame, opcodes, st.one_of(st.binary(max_size=140), closes), fin=st.booleans(), rsv=rsv
)
hostile = st.lists(st.one_of(frames, frames, st.binary(max_size=30)), max_size=8).map(b"".join)


@given(data=hostile, at=cuts, deflate=st.booleans())
def test_hostile_bytes_never_raise(data: bytes, at: list[int], deflate: bool) -> None:
    """Nor do they reach code that expects the impossible, which would close with 1011."""
    _, output, closed = outcome(data, at, deflate=deflate)
    faults = {1002, 1007, 1009}
    assert closed.code in faults if closed.by == "server" else 1000 <= closed.code < 5000
    Peer(open_connection()).receive(output)  # a client core understands every answer


@given(sent=messages, at=cuts, close=closes, deflate=st.booleans())
def test_any_split_of_a_whole_conversation_has_one_outcome(
    sent: list[str | bytes], at: list[int], close: bytes, deflate: bool
) -> None:
    small = [message[:60] for message in sent]
    data = client_bytes(small, [3], deflate=deflate) + frame(9, b"ping") + frame(8, close)
    assert outcome(data, at, deflate=deflate) == outcome(data, [], deflate=deflate)


@given(sent=messages, bits=st.integers(9, 15))
def test_a_client_may_use_any_window_up_to_the_agreed_one(
    sent: list[str | bytes], bits: int
) -> None:
    """RFC 7692 7.1.2.2: without an agreement, 15 bits."""
    offer = [(b"sec-websocket-extensions", b"permessage-deflate")]
    server = Handshake("/", request_headers(more=offer), deflate=True).connection(max_size=2**20)
    peer = Peer(server, [PerMessageDeflate(True, True, 12, bits)])
    for message in sent:
        if isinstance(message, str):
            peer.protocol.send_text(message.encode())
        else:
            peer.protocol.send_binary(message)
    peer.flush()
    assert server.messages() == sent


names = st.sampled_from(
    [
        b"upgrade",
        b"connection",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    ]
)
values = st.one_of(
    st.binary(max_size=30),
    st.text('permsag-dflt; =,"\\websockticn_0123', max_size=60).map(str.encode),
)


@given(more=st.lists(st.tuples(names, values), max_size=4), replace=st.booleans())
def test_any_header_fields_are_taken_or_refused(
    more: list[tuple[bytes, bytes]], replace: bool
) -> None:
    kept = {name for name, _ in more} if replace else set()
    headers = [(name, value) for name, value in request_headers() if name not in kept] + more
    handshake = Handshake("/", headers, deflate=True)
    if handshake.refusal is None:
        assert handshake.accept(None, [], b"now") is not None
    else:
        assert handshake.refusal[0] in {400, 426}
