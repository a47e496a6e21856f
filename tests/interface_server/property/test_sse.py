"""A client of a spliced stream sees the events of its parts, by the rules of HTML 9.2.6."""

import re
from itertools import pairwise

from hypothesis import given, settings, strategies as st

from gateway_interface.core.sse import EventStream

BOM = b"\xef\xbb\xbf"
FIELDS = [
    b"data: a",
    b"data:b",
    b"data",
    b"id: 1",
    b"id:2",
    b"id",
    b"id: \0",
    b"event: e",
    b"ID: 3",
]
LINES = st.sampled_from([*FIELDS, b": comment", b":", b"retry: 9", b"", b"", b"", BOM + b"id: 7"])
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
TEXTS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=12).map(b"".join)
STREAMS = st.builds(bytes.__add__, st.sampled_from([b"", b"", BOM, BOM + BOM]), TEXTS)
CUTS = st.lists(st.integers(0, 100), max_size=6)

Event = tuple[bytes, bytes, bytes]
"""(type, data, last event id)."""


def parse(data: bytes, last: bytes = b"") -> tuple[list[Event], bytes]:
    """Interpret a stream that is all there; the last id is kept as browsers do."""
    lines = re.split(rb"\r\n|\r|\n", data.removeprefix(BOM))[:-1]  # an unended line is none
    events: list[Event] = []
    texts: list[bytes] = []
    kind, buffered = b"message", last
    for line in lines:
        if not line:
            last = buffered
            if texts:
                events.append((kind, b"\n".join(texts), last))
            texts, kind = [], b"message"
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            texts.append(value)
        elif name == b"event":
            kind = value or b"message"
        elif name == b"id" and b"\0" not in value:
            buffered = value
    return events, last


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(deadline=None)
@given(STREAMS, CUTS)
def test_what_passes_is_a_prefix_with_all_events_however_it_comes(
    data: bytes, cuts: list[int]
) -> None:
    stream = EventStream()
    passed, come = b"", b""
    for piece in pieces(data, cuts):
        passed += stream.feed(piece)
        come += piece
        assert come.startswith(passed)
        assert (parse(passed)[0], stream.last_event_id) == parse(come)
    assert passed + stream.finish(b"") == data


@settings(deadline=None)
@given(STREAMS)
def test_nothing_is_held_behind_an_empty_line(data: bytes) -> None:
    stream = EventStream()
    assert stream.feed(data + b"\n\n") == data + b"\n\n"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(STREAMS, CUTS), min_size=1, max_size=4), STREAMS)
def test_streams_that_break_off_are_one_with_the_events_of_all(
    broken: list[tuple[bytes, list[int]]], last: bytes
) -> None:
    stream = EventStream()
    passed = last_id = b""
    expected: list[Event] = []
    for data, cuts in broken:
        passed += b"".join(map(stream.feed, pieces(data, cuts)))
        events, last_id = parse(data, last_id)
        expected += events
        assert stream.last_event_id == last_id
        stream.restart()
    expected += parse(last, last_id)[0]
    passed += stream.finish(last)
    assert parse(passed)[0] == expected
