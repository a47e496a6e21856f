import pytest

from gateway_layer.codec import Message, pack, unpack
from gateway_layer.session import PART, event_cost, join_parts, split_event
from gateway_layer.wire import CHUNK_BYTES, EVENT_OVERHEAD

CHARACTERS = CHUNK_BYTES // 4


def sent(event: Message, key: str) -> list[Message]:
    """The parts of an event, as they come out of the wire."""
    return [unpack(pack(part)) for part in split_event(event, key)]


def event(key: str, payload: str | bytes) -> Message:
    return {"type": "websocket.receive", key: payload}


@pytest.mark.parametrize(
    ("key", "payload"),
    [
        ("text", ""),
        ("bytes", b""),
        ("text", "x" * CHARACTERS),
        ("bytes", b"x" * CHARACTERS),
        ("bytes", b"x" * (CHARACTERS + 1)),
        ("bytes", b"x" * CHUNK_BYTES),
    ],
)
def test_what_fits_a_chunk_is_one_part(key: str, payload: str | bytes) -> None:
    assert split_event(event(key, payload), key) == [event(key, payload)]


@pytest.mark.parametrize(
    ("key", "payload", "count"),
    [
        ("bytes", b"ab" * CHUNK_BYTES + b"c", 3),
        ("bytes", b"x" * (2 * CHUNK_BYTES), 2),
        ("text", "é" * (CHARACTERS + 1), 2),
        ("text", "\U0001f600" * (3 * CHARACTERS), 3),
    ],
)
def test_a_large_event_travels_in_parts_and_is_whole_again(
    key: str, payload: str | bytes, count: int
) -> None:
    *parts, last = sent(event(key, payload), key)
    assert len(parts) == count - 1
    assert join_parts(parts, last) == event(key, payload)


def test_all_but_the_last_are_marked() -> None:
    marks = [PART in part for part in split_event(event("bytes", b"x" * 200_000), "bytes")]
    assert marks == [True, True, True, False]


def test_no_part_is_larger_than_a_chunk() -> None:
    parts = split_event(event("text", "\U0001f600" * 100_000), "text")
    assert max(len(part["text"].encode()) for part in parts) <= CHUNK_BYTES


def test_other_keys_travel_with_the_last_part() -> None:
    whole = {"type": "websocket.send", "bytes": b"x" * 70_000, "text": None, "more": 1}
    *parts, last = sent(whole, "bytes")
    assert join_parts(parts, last) == whole


@pytest.mark.parametrize("key", ["body", "text", "bytes"])
def test_an_event_costs_its_payload_and_the_overhead(key: str) -> None:
    payload = "12345" if key == "text" else b"12345"
    assert event_cost({"type": "t", key: payload}) == 5 + EVENT_OVERHEAD


def test_an_event_without_payload_costs_the_overhead() -> None:
    assert event_cost({"type": "t", "text": None, "bytes": b""}) == EVENT_OVERHEAD
