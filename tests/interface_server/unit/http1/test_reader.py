"""Bodies, pipelining and the ends of a connection."""

import sys

import pytest

from gateway_interface.core.http1.parsers import head_parser
from gateway_interface.core.http1.request import (
    CLOSED,
    END_OF_MESSAGE,
    NEED_DATA,
    Event,
    Refusal,
    RequestHead,
    RequestReader,
)

PARSE = head_parser("auto")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def reader_of(data: bytes) -> RequestReader:
    reader = RequestReader(PARSE, max_head_bytes=1000, max_headers=8)
    reader.receive_data(data)
    return reader


def events_of(reader: RequestReader) -> list[Event]:
    """All events until it starves or ends, that last one included."""
    events: list[Event] = []
    while not events or events[-1] not in (NEED_DATA, CLOSED):
        events.append(reader.next_event())
    return events


def body_events(data: bytes) -> list[Event]:
    """The events behind the first head."""
    head, *rest = events_of(reader_of(data))
    assert isinstance(head, RequestHead)
    return rest


def refusal_in(data: bytes) -> int:
    refusal, closed = body_events(data)[-2:]
    assert isinstance(refusal, Refusal), refusal
    assert closed is CLOSED
    return refusal.status


# Without and with Content-Length: RFC 9112 6.3


def test_a_request_without_body_ends_at_once() -> None:
    assert body_events(GET) == [END_OF_MESSAGE, NEED_DATA]


def test_a_sized_body_ends_with_its_last_byte() -> None:
    assert body_events(SIZED + b"hello") == [b"hello", END_OF_MESSAGE, NEED_DATA]


def test_body_bytes_are_given_as_they_come() -> None:
    reader = reader_of(SIZED + b"he")
    assert events_of(reader)[1:] == [b"he", NEED_DATA]
    reader.receive_data(b"llo")
    assert events_of(reader) == [b"llo", END_OF_MESSAGE, NEED_DATA]


def test_pieces_are_at_most_64_kib() -> None:
    data = SIZED.replace(b"5", b"100000") + b"x" * 100_000
    assert body_events(data)[:2] == [b"x" * 65_536, b"x" * 34_464]


def test_the_body_of_an_ignored_upgrade_is_read() -> None:  # RFC 9110 7.8
    head = SIZED.replace(b"Host", b"Connection: upgrade\r\nUpgrade: h2c\r\nHost")
    assert body_events(head + b"hello" + GET)[:2] == [b"hello", END_OF_MESSAGE]


# Chunked: RFC 9112 7.1


def test_a_chunked_body() -> None:
    data = CHUNKED + b"5\r\nhello\r\n00A\r\n, world!!!\r\n0\r\n\r\n"
    assert body_events(data) == [b"hello", b", world!!!", END_OF_MESSAGE, NEED_DATA]


def test_a_large_chunk_is_given_in_pieces() -> None:
    data = CHUNKED + b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"
    assert body_events(data)[:3] == [b"x" * 65_536, b"x" * 34_464, END_OF_MESSAGE]


@pytest.mark.parametrize("extension", [b";a", b' ; a="b"', b"\t;\t", b";" + b"x" * 1000])
def test_chunk_extensions_are_ignored(extension: bytes) -> None:  # RFC 9112 7.1.1
    data = CHUNKED + b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n"
    assert body_events(data)[:2] == [b"hello", END_OF_MESSAGE]


def test_trailers_are_dropped() -> None:  # RFC 9112 7.1.2
    data = CHUNKED + b"0\r\nA: b\r\nContent-Length: 9\r\n\r\n" + GET
    end, head, *_ = body_events(data)
    assert end is END_OF_MESSAGE
    assert isinstance(head, RequestHead)
    assert head.headers == [(b"host", b"a")]


@pytest.mark.parametrize(
    "body",
    [b"\r\n", b"x\r\n", b"-1\r\n", b"+1\r\n", b"0x5\r\nhello\r\n", b"5_0\r\n",
     b" 5\r\nhello\r\n", b"5 \r\nhello\r\n", b"5\nhello\r\n", b"5\r\nhello\n",
     b"5\r\nhelloo\r\n", b"5\r\nhell\r\n0\r\n\r\n", b"5\r\r\nhello\r\n", b"5;a\0\r\nhello\r\n",
     b"5;a\rb\r\nhello\r\n", b"5,a\r\nhello\r\n", b"00000000000000005\r\nhello\r\n",
     b"fffffffffffffffff\r\n", b"5;" + b"x" * 1022 + b"\r\nhello\r\n", b"5" * 1024,
     b"5;" + b"x" * 2000],
)  # fmt: skip
def test_malformed_chunks_are_refused(body: bytes) -> None:
    assert refusal_in(CHUNKED + body) == 400


@pytest.mark.parametrize(
    "trailer",
    [b"A\r\n", b": b\r\n", b"A : b\r\n", b" A: b\r\n", b"A: b\0\r\n", b"A: b\n", b"A: \rb\r\n"],
)  # fmt: skip
def test_malformed_trailers_are_refused(trailer: bytes) -> None:  # RFC 9112 5
    assert refusal_in(CHUNKED + b"0\r\n" + trailer + b"\r\n") == 400


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 3000, b"a: " + b"b" * 20_000])
def test_too_large_trailers_are_refused(trailers: bytes) -> None:
    assert refusal_in(CHUNKED + b"0\r\n" + trailers) == 431


def test_a_chunk_is_taken_before_the_fault_behind_it_is_seen() -> None:
    assert body_events(CHUNKED + b"1\r\nx\r\nbad\r\n")[0] == b"x"


# Pipelining: RFC 9112 9.3.2


def test_pipelined_requests_come_in_order() -> None:
    reader = reader_of(SIZED + b"hello" + CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + GET)
    events = events_of(reader)
    heads = [event.method for event in events if isinstance(event, RequestHead)]
    assert heads == ["POST", "POST", "GET"]
    assert [event for event in events if isinstance(event, bytes)] == [b"hello", b"x"]


def test_the_next_request_is_not_looked_at_before_it_is_asked_for() -> None:
    reader = reader_of(GET + b"\0")
    assert isinstance(reader.next_event(), RequestHead)
    assert reader.next_event() is END_OF_MESSAGE
    assert isinstance(reader.next_event(), Refusal)


def test_nothing_behind_the_last_request_is_served() -> None:  # RFC 9112 9.6
    reader = reader_of(GET.replace(b"Host", b"Connection: close\r\nHost") + GET)
    assert events_of(reader)[1:] == [END_OF_MESSAGE, CLOSED]
    reader.receive_data(GET)
    assert (reader.next_event(), reader.buffered, reader.truncated) == (CLOSED, 0, False)


# Empty lines: RFC 9112 2.2


def test_some_empty_lines_before_a_request_are_passed_over() -> None:
    reader = reader_of(b"\r\n" * 4 + GET)
    assert isinstance(reader.next_event(), RequestHead)


def test_the_count_of_empty_lines_begins_anew_with_each_request() -> None:
    events = events_of(reader_of((b"\r\n" * 3 + GET) * 2))
    assert [type(event) for event in events].count(RequestHead) == 2


def test_too_many_empty_lines_are_refused() -> None:
    refusal = reader_of(b"\r\n" * 5 + GET).next_event()
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


# The ends of a connection


def test_a_close_between_requests() -> None:
    reader = reader_of(GET)
    reader.receive_eof()
    assert events_of(reader)[1:] == [END_OF_MESSAGE, CLOSED]
    assert not reader.truncated


@pytest.mark.parametrize(
    "data", [GET[:-1], b"\r", SIZED + b"hell", CHUNKED + b"5\r\nhello\r\n0\r\n"]
)
def test_a_close_within_a_request(data: bytes) -> None:  # RFC 9112 8
    reader = reader_of(data)
    reader.receive_eof()
    assert events_of(reader)[-1] is CLOSED
    assert reader.truncated


def test_a_refused_connection_reads_nothing_more() -> None:
    reader = reader_of(b"\0")
    assert isinstance(reader.next_event(), Refusal)
    reader.receive_data(GET)
    assert (reader.next_event(), reader.buffered) == (CLOSED, 0)


def test_an_upgrade_hands_over_the_rest() -> None:  # RFC 9110 7.8
    reader = reader_of(UPGRADE + b"\x81\x80")
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    assert head.upgrade
    reader.receive_data(b"\0\n")
    assert reader.buffered == 4
    assert reader.take_rest() == b"\x81\x80\0\n"
    assert reader.next_event() is CLOSED


def test_a_refused_upgrade_goes_on_with_the_next_request() -> None:
    events = body_events(UPGRADE + GET)
    assert events[0] is END_OF_MESSAGE
    assert isinstance(events[1], RequestHead)


# What is held


def test_buffered_counts_what_was_not_taken() -> None:
    reader = reader_of(SIZED + b"hello" + GET[:7])
    assert reader.buffered == len(SIZED) + 5 + 7
    reader.next_event()
    assert reader.buffered == 5 + 7
    reader.next_event()
    reader.receive_data(GET[7:])
    assert reader.buffered == len(GET)


def test_idle_until_the_first_byte_of_a_request() -> None:
    reader = reader_of(b"\r\n")
    assert reader.next_event() is NEED_DATA
    idle = [reader.idle]
    reader.receive_data(GET)
    idle.append(reader.idle)
    for _ in ("head", "end"):
        reader.next_event()
        idle.append(reader.idle)
    assert idle == [True, False, False, True]


def test_a_long_head_may_come_byte_by_byte() -> None:
    reader = RequestReader(PARSE, max_head_bytes=65_536, max_headers=8)
    head = GET[:-2] + b"A: " + b"a" * 60_000 + b"\r\n\r\n"
    for octet in range(len(head) - 1):
        reader.receive_data(head[octet : octet + 1])
        assert reader.next_event() is NEED_DATA
    reader.receive_data(b"\n")
    assert isinstance(reader.next_event(), RequestHead)


def test_a_body_is_not_held_once_it_was_taken() -> None:
    data = SIZED + b"hello"
    references = sys.getrefcount(data)
    reader = reader_of(data)
    events_of(reader)
    assert reader.idle
    assert sys.getrefcount(data) == references
