from typing import Any

import pytest
from tests.layer.endpoints import opening

from gateway_layer.codec import pack
from gateway_layer.errors import ProtocolError
from gateway_layer.wire import (
    MAX_ENTRY_BYTES,
    LinkHeader,
    Open,
    envelope_head,
    read_entry,
    read_open,
    split_frames,
    write_entry,
    write_opening,
)

FOREIGN: list[Any] = [None, True, 7, -1, 1.5, "text", b"bytes", (), (1,), {}, {"a": 1}]
"""One value of each type that the wire knows."""


@pytest.mark.parametrize("count", [0, 1, 15, 16, 70_000])
def test_frames_come_back_in_order(count: int) -> None:
    frames = [pack((number,)) for number in range(count)]
    entry = write_entry(envelope_head("pid"), None, frames)
    assert read_entry(entry).frames == tuple((number,) for number in range(count))


@pytest.mark.parametrize(
    "value",
    [None, 1, "text", (), (1,), (1, b"pid"), (1, None, None, ()), {"a": 1}],
)
def test_what_names_no_sender_is_no_envelope(value: object) -> None:
    with pytest.raises(ProtocolError, match="not an envelope") as caught:
        read_entry(pack(value))
    assert caught.value.sender == ""


@pytest.mark.parametrize("version", [0, 2, None, "1", 255, 2**63])
def test_another_version_is_refused_with_its_sender(version: object) -> None:
    with pytest.raises(
        ProtocolError, match=r"version .* from 'pid', this process reads 1"
    ) as caught:
        read_entry(pack((version, "pid", None, ())))
    assert caught.value.sender == "pid"


def test_a_later_version_may_have_more_fields() -> None:
    with pytest.raises(ProtocolError, match="version 2 from 'pid'"):
        read_entry(pack((2, "pid", None, (), "new")))


@pytest.mark.parametrize("value", [(1, "pid"), (1, "pid", None), (1, "pid", None, (), 5)])
def test_an_envelope_has_four_fields(value: object) -> None:
    with pytest.raises(ProtocolError, match="malformed envelope from 'pid'"):
        read_entry(pack(value))


@pytest.mark.parametrize("frames", [one for one in FOREIGN if not isinstance(one, tuple)])
def test_frames_are_an_array(frames: object) -> None:
    with pytest.raises(ProtocolError, match="malformed envelope from 'pid'"):
        read_entry(pack((1, "pid", None, frames)))


@pytest.mark.parametrize("link", [one for one in FOREIGN if one is not None])
def test_a_link_header_is_five_numbers(link: object) -> None:
    with pytest.raises(ProtocolError, match="malformed link header from 'pid'"):
        read_entry(pack((1, "pid", link, ())))


@pytest.mark.parametrize("field", range(5))
@pytest.mark.parametrize("value", [one for one in FOREIGN if one != 7])
def test_a_link_header_has_no_other_field(field: int, value: object) -> None:
    link = [1, 2, 3, 4, 0]
    link[field] = value  # type: ignore[call-overload] # foreign on purpose
    with pytest.raises(ProtocolError, match="malformed link header") as caught:
        read_entry(pack((1, "pid", link, ())))
    assert caught.value.sender == "pid"


def test_an_opening_comes_back() -> None:
    assert read_open(tuple(opening())) == opening()


def test_an_opening_is_written_around_its_packed_scope() -> None:
    fields = tuple(opening())
    entry = write_opening(envelope_head("p" * 22), fields[:4], pack(fields[4]), fields[5:])

    assert entry == write_entry(envelope_head("p" * 22), None, [pack(fields)])


@pytest.mark.parametrize("frame", [None, 5, "c", (), (1,), tuple(opening())[:-1], {}])
def test_what_has_not_the_fields_of_an_opening_is_none(frame: object) -> None:
    with pytest.raises(ProtocolError, match="not an opening"):
        read_open(frame)


@pytest.mark.parametrize("op", [0, 2, "1", None, (1,)])
def test_another_op_is_no_opening(op: object) -> None:
    with pytest.raises(ProtocolError, match="not an opening"):
        read_open(("c", op, *tuple(opening())[2:]))


@pytest.mark.parametrize("field", [name for name in Open._fields if name != "op"])
@pytest.mark.parametrize("value", FOREIGN)
def test_an_opening_with_a_field_of_another_type_is_refused(field: str, value: Any) -> None:
    expected = {"state": (bytes, type(None))}.get(field, (getattr(opening(), field).__class__,))
    frame = tuple(opening()._replace(**{field: value}))
    if value.__class__ in expected:
        assert getattr(read_open(frame), field) == value
    else:
        with pytest.raises(ProtocolError, match=f"an opening whose {field} is a"):
            read_open(frame)


def test_an_opening_may_bring_a_state() -> None:
    opened = opening(state=b"\x80", resumed=3)
    assert read_open(tuple(opened)) == opened


def test_frames_below_the_limit_stay_together() -> None:
    frames = [b"x" * 1000] * (MAX_ENTRY_BYTES // 1000)
    assert split_frames(frames) == [(frames, 1000 * len(frames))]


def test_frames_above_the_limit_are_split_in_order() -> None:
    frames = [bytes((number,)) * 60_000 for number in range(5)]
    assert split_frames(frames) == [
        (frames[:2], 120_000),
        (frames[2:4], 120_000),
        (frames[4:], 60_000),
    ]


def test_a_frame_larger_than_the_limit_goes_alone() -> None:
    large = b"x" * (MAX_ENTRY_BYTES + 1)
    assert split_frames([b"a", large, b"b"]) == [
        ([b"a"], 1),
        ([large], len(large)),
        ([b"b"], 1),
    ]


def test_a_large_frame_at_the_front_makes_no_empty_entry() -> None:
    large = b"x" * (MAX_ENTRY_BYTES + 1)
    assert split_frames([large, b"b"]) == [([large], len(large)), ([b"b"], 1)]


def test_a_link_header_reads_as_its_type() -> None:
    entry = write_entry(envelope_head("pid"), LinkHeader(1, 2, 3, 4, 1), [])
    header = read_entry(entry).link
    assert header is not None
    assert (header.my_gen, header.your_gen, header.seq, header.ack, header.flags) == (1, 2, 3, 4, 1)
