"""Event streams: what is one, what of it passes, and from where another can go on."""

import pytest

from gateway_interface.core.sse import MAX_TAIL_BYTES, EventStream, is_event_stream

BOM = b"\xef\xbb\xbf"
TYPE = (b"content-type", b"text/event-stream")
GZIP = (b"content-encoding", b"gzip")
LENGTH = (b"content-length", b"9")


def after(*pieces: bytes, client: bytes = b"") -> EventStream:
    """A stream that has taken these pieces in."""
    stream = EventStream(client)
    for piece in pieces:
        stream.feed(piece)
    return stream


# Which responses.


@pytest.mark.parametrize(
    "headers",
    [
        [TYPE],
        [(b"Content-Type", b"Text/Event-Stream ; charset=utf-8")],
        [(b"cache-control", b"no-cache"), TYPE, (b"content-encoding", b"identity")],
    ],
)
def test_is_an_event_stream(headers: list[tuple[bytes, bytes]]) -> None:
    assert is_event_stream(200, headers)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, []),
        (200, [(b"content-type", b"text/html")]),
        (200, [(b"content-type", b"text/event-streams")]),
        (200, [TYPE, (b"content-type", b"text/html")]),
        (200, [TYPE, GZIP]),
        (200, [LENGTH, TYPE]),
        (204, [TYPE]),
        (206, [TYPE]),
        (404, [TYPE]),
    ],
)
def test_is_no_event_stream(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    assert not is_event_stream(status, headers)


# What passes.


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_passes_with_its_empty_line(end: bytes) -> None:
    stream = EventStream()
    assert stream.feed(b"id: 1" + end + b"data: one" + end) == b""
    assert stream.feed(end) == b"id: 1" + end + b"data: one" + end + end


def test_several_events_pass_together_and_the_last_waits() -> None:
    stream = EventStream()
    assert stream.feed(b"data: 1\n\ndata: 2\n\ndata: 3") == b"data: 1\n\ndata: 2\n\n"
    assert stream.feed(b"\n\n") == b"data: 3\n\n"


def test_a_crlf_in_two_pieces_is_one_line_end() -> None:
    stream = EventStream()
    assert stream.feed(b"data: 1\r") == b""
    assert stream.feed(b"\ndata: 2\r\n") == b""
    assert stream.feed(b"\r\n") == b"data: 1\r\ndata: 2\r\n\r\n"


def test_an_event_does_not_wait_for_what_may_follow_its_cr() -> None:
    stream = EventStream()
    assert stream.feed(b"data: 1\r\n\r") == b"data: 1\r\n\r"
    assert stream.feed(b"\n") == b"\n"


@pytest.mark.parametrize("line", [b":\n", b": alive\n", b"retry: 5\n", b"other: 5\n", b"\n"])
def test_a_line_that_leaves_nothing_with_the_client_passes_at_once(line: bytes) -> None:
    assert EventStream().feed(line + b"data") == line


def test_a_comment_within_an_event_waits_for_it() -> None:
    assert EventStream().feed(b"data: 1\n: comment\n") == b""


@pytest.mark.parametrize("line", [b"data\n", b"event: e\n", b"id: 1\n"])
def test_a_field_waits_for_its_empty_line(line: bytes) -> None:
    assert EventStream().feed(line) == b""


def test_what_is_left_passes_where_the_response_ends() -> None:
    stream = after(b"data: 1\n\ndata:")
    assert stream.finish(b" 2") == b"data: 2"


def test_a_byte_order_mark_passes_and_is_no_part_of_the_first_field() -> None:
    stream = EventStream()
    assert stream.feed(BOM[:2]) == b""
    assert stream.feed(BOM[2:] + b"id: 1\n\n") == BOM + b"id: 1\n\n"
    assert stream.last_event_id == b"1"


# The last event's id.


def test_an_id_counts_with_the_empty_line() -> None:
    stream = after(b"id: 1\n\nid: 2\ndata: 2\n")
    assert stream.last_event_id == b"1"
    stream.feed(b"\n")
    assert stream.last_event_id == b"2"


@pytest.mark.parametrize(
    ("line", "last"),
    [
        (b"id:2", b"2"),
        (b"id:  2", b" 2"),
        (b"id: a:b", b"a:b"),
        (b"id", b""),
        (b"id:", b""),
        (b"id: 2\0", b"1"),
        (b"Id: 2", b"1"),
        (b" id: 2", b"1"),
        (b"data: 2", b"1"),
    ],
)
def test_the_id_of_a_line(line: bytes, last: bytes) -> None:
    assert after(b"id: 1\n\n", line + b"\n\n").last_event_id == last


def test_the_id_of_the_client_holds_until_there_is_another() -> None:
    stream = after(b"data: 1\n\n", client=b"c")
    assert stream.last_event_id == b"c"
    stream.feed(b"id: 2\n\n")
    assert stream.last_event_id == b"2"


# Another stream.


def test_the_event_that_was_not_whole_is_forgotten() -> None:
    stream = after(b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n")
    stream.restart()
    assert stream.feed(b"\ndata: 3\n\n") == b"\ndata: 3\n\n"
    assert stream.last_event_id == b"1"


def test_the_byte_order_mark_of_another_stream_does_not_pass() -> None:
    stream = after(b"id: 1\n\n")
    stream.restart()
    assert stream.feed(BOM[:1]) == b""
    assert stream.feed(BOM[1:]) == b""
    assert stream.feed(b"id: 2\n\n") == b"id: 2\n\n"
    assert stream.last_event_id == b"2"


def test_the_byte_order_mark_of_another_stream_does_not_pass_at_its_end() -> None:
    stream = after(b"id: 1\n\n")
    stream.restart()
    assert stream.finish(BOM + b"data: 2\n") == b"data: 2\n"


def test_the_byte_order_mark_passes_where_nothing_has() -> None:
    stream = after(b"data: 1")
    stream.restart()
    assert stream.feed(BOM + b"data: 2\n\n") == BOM + b"data: 2\n\n"


def test_restarts_count_until_an_event_passes() -> None:
    stream = after(b"id: 1\n\n")
    stream.restart()
    stream.restart()
    stream.feed(b": alive\n\nid: 2\n")
    assert stream.restarts == 2
    stream.feed(b"\n")
    assert stream.restarts == 0


@pytest.mark.parametrize(
    ("data", "client", "resumable"),
    [
        (b"", b"", True),
        (b": alive\n\n", b"", True),
        (b"event: e\n\n", b"", True),
        (b"data: 1\n", b"", True),
        (b"data: 1\n\n", b"", False),
        (b"data: 1\n\n", b"c", True),
        (b"id: 1\ndata: 1\n\n", b"", True),
        (b"id: 1\n\ndata: 2\n\n", b"", True),
        (b"id: 1\ndata: 1\n\nid:\n\n", b"c", False),
    ],
)
def test_without_an_id_only_what_no_event_has_left_can_go_on(
    data: bytes, client: bytes, resumable: bool
) -> None:
    assert after(data, client=client).resumable is resumable


# Events that are too long.


def test_an_event_of_the_limit_is_held() -> None:
    stream = EventStream()
    assert stream.feed(b"data:" + bytes(MAX_TAIL_BYTES - 5)) == b""
    assert (stream.overflow, stream.resumable) == (False, True)


def test_a_longer_event_passes_as_it_comes() -> None:
    stream = after(b"id: 1\n\n")
    begun = b"data:" + bytes(MAX_TAIL_BYTES - 5)
    assert stream.feed(begun) == b""
    assert stream.feed(b"x") == begun + b"x"
    assert stream.feed(b"y") == b"y"
    assert stream.finish(b"z") == b"z"
    assert (stream.overflow, stream.resumable) == (True, False)
