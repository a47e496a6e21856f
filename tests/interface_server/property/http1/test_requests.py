"""Any bytes, split anywhere: the same events, from both parsers, and never an exception."""

from itertools import pairwise
from typing import Any

import h11
from hypothesis import example, given, settings, strategies as st

from gateway_interface.core.http1.parsers import HeadParser, head_parser
from gateway_interface.core.http1.request import (
    CLOSED,
    NEED_DATA,
    Event,
    Refusal,
    RequestHead,
    RequestReader,
    Signal,
)

H11 = head_parser("h11")
HTTPTOOLS = head_parser("httptools")

TOKENS = st.text("abcXYZ09-_!", min_size=1, max_size=8).map(str.encode)
VALUES = st.sampled_from([b"", b"x", b"close", b"a, b", b"\t y \xff", b"chunked", b"5", b"6, 7"])
NAMES = st.one_of(
    TOKENS,
    TOKENS,
    TOKENS,
    st.sampled_from(
        [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect"]
    ),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES).map(b": ".join), max_size=4)
METHODS = st.sampled_from([b"GET", b"POST"] * 4 + [b"OPTIONS", b"CONNECT", b"PURGE", b"g(t"])
TARGETS = st.sampled_from(
    [b"/", b"/a%20b?c=%ff"] * 6 + [b"*", b"http://h:1/p", b"h:1", b"/#", b"/\xe9"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 16 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1", b"http/1.1"])
CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that may be well formed, with a body that may fit its head."""
    line = b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])
    host = draw(st.sampled_from([[b"Host: a"]] * 9 + [[]]))
    chunks = draw(CHUNKS)
    body, framing = draw(
        st.sampled_from(
            [
                (b"", []),
                (b"".join(chunks), [b"Content-Length: %d" % len(b"".join(chunks))]),
                (chunked(chunks), [b"Transfer-Encoding: chunked"]),
            ]
        )
    )
    return b"\r\n".join([line, *host, *framing, *draw(FIELDS), b"", body])


def chunked(chunks: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Some requests, in which a few bytes may be replaced, put in or lost."""
    stream = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    noise = st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b":", b"\0", b"\t", b"x", b"\xff"])
    edits = draw(
        st.lists(st.tuples(st.integers(0, len(stream)), st.integers(0, 1), noise), max_size=2)
    )
    for position, removed, inserted in edits:
        stream[position : position + removed] = inserted
    return bytes(stream)


def summary(events: list[Event]) -> list[Any]:
    """Events as comparable values; neighbouring pieces of a body are one."""
    values: list[Any] = []
    for event in events:
        if isinstance(event, bytes):
            assert event
            if values and isinstance(values[-1], bytes):
                values[-1] += event
                continue
            values.append(event)
        elif isinstance(event, RequestHead):
            values.append(tuple(getattr(event, name) for name in RequestHead.__slots__))
        elif isinstance(event, Refusal):
            values.append((event.status, event.reason))
        elif event is not NEED_DATA:
            values.append(event)
    return values


def drain(reader: RequestReader) -> list[Event]:
    """The events up to NEED_DATA, or to CLOSED, which is one of them."""
    events: list[Event] = []
    while (event := reader.next_event()) is not NEED_DATA:
        events.append(event)
        if event is CLOSED:
            break
    return events


def read(parse: HeadParser, pieces: list[bytes]) -> tuple[list[Any], bool]:
    """All events of the pieces and of the end of file behind them; and `truncated`."""
    reader = RequestReader(parse, max_head_bytes=300, max_headers=6)
    events: list[Event] = []
    for piece in pieces:
        reader.receive_data(piece)
        events += drain(reader)
    reader.receive_eof()
    events += drain(reader)
    return [event for event in summary(events) if event is not CLOSED], reader.truncated


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def read_with_h11(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """Headers and body of the first request as all of h11 reads it; None if it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    headers: list[tuple[bytes, bytes]] = []
    body = b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                headers = list(event.headers)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return None
    except h11.RemoteProtocolError:
        return None
    return headers, body


@settings(deadline=None)
@given(streams())
def test_both_parsers_give_the_same_events(stream: bytes) -> None:
    assert read(HTTPTOOLS, [stream]) == read(H11, [stream])


@settings(deadline=None)
@given(streams(), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_split_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    assert read(HTTPTOOLS, split(stream, cuts)) == read(HTTPTOOLS, [stream])


@settings(deadline=None, max_examples=30)
@given(streams())
def test_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    pieces = [bytes([octet]) for octet in stream]
    assert read(HTTPTOOLS, pieces) == read(HTTPTOOLS, [stream])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
@example([b"\r", b"\n\r\n\r\n\r\n\r\n\r\n"])
@example([b"GET / HTTP/1.1\r", b"x\n\r\n\r\n"])
def test_garbage_is_refused_or_waited_for(pieces: list[bytes]) -> None:
    events, truncated = read(HTTPTOOLS, pieces)
    assert (events, truncated) == read(H11, [b"".join(pieces)])
    statuses = [event[0] for event in events if isinstance(event, tuple)]
    assert truncated or set(statuses) <= {400, 431, 505}


@settings(deadline=None)
@given(
    CHUNKS,
    st.sampled_from([b"", b";a", b";a=b", b'; a="b"']),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
)
def test_well_formed_chunks_are_read_as_h11_reads_them(
    chunks: list[bytes], extension: bytes, trailers: bytes
) -> None:
    lines = [b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    body = b"".join([*lines, b"0", extension, b"\r\n", trailers, b"\r\n"])
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert read_with_h11(data) == (
        [(b"host", b"a"), (b"transfer-encoding", b"chunked")],
        b"".join(chunks),
    )
    events, _ = read(HTTPTOOLS, [data])
    assert events[1:] == [b"".join(chunks), Signal.END_OF_MESSAGE][not chunks :]


@settings(deadline=None, max_examples=300)
@given(streams())
def test_h11_agrees_with_what_is_accepted(stream: bytes) -> None:
    events, _ = read(HTTPTOOLS, [stream])
    if Signal.END_OF_MESSAGE not in events:
        return
    body = b"".join(events[1 : events.index(Signal.END_OF_MESSAGE)])
    target = stream.lstrip(b"\r\n").split(b" ", 2)[1]
    headers = events[0][RequestHead.__slots__.index("headers")]
    seen = read_with_h11(stream.lstrip(b"\r\n"))
    assert seen is not None
    assert seen[1] == body
    if target.startswith(b"/"):
        # h11 writes the one coding it knows in lower case.
        assert [name for name, _ in seen[0]] == [name for name, _ in headers]
