from enum import IntEnum
from typing import Any

import pytest

from gateway_layer.codec import array_header, check, pack, pack_message, unpack
from gateway_layer.errors import ProtocolError


class Colour(IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


def nested(levels: int, inmost: object) -> Any:
    value = inmost
    for _ in range(levels):
        value = [value]
    return value


def test_every_type_of_asgi_comes_back() -> None:
    message = {
        "bytes": b"\x00\xff",
        "text": "snow ☃",
        "int": -(2**63),
        "most": 2**63 - 1,
        "float": 1.5,
        "dict": {"a": {}},
        "yes": True,
        "none": None,
    }
    assert unpack(pack_message(message)) == message


def test_lists_and_tuples_come_back_as_tuples() -> None:
    assert unpack(pack_message({"a": [1, [2]], "b": (3,)})) == {"a": (1, (2,)), "b": (3,)}


def test_subclasses_travel_as_what_they_are() -> None:
    read = unpack(pack_message({"a": Colour.RED, "b": Name("x")}))
    assert (read["a"].__class__, read["b"].__class__) == (int, str)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"headers": [[b"a", b"b"], [b"c", bytearray(b"d")]]}, r'^event\["headers"\]\[1\]\[1\]: b'),
        ({"a": {"b": {1, 2}}}, r'^event\["a"\]\["b"\]: set'),
        ({"a": (None, object())}, r'^event\["a"\]\[1\]: object'),
        ({"a": 2**63}, r'^event\["a"\]: 9223372036854775808 does not fit into 64 bits'),
        ({"a": -(2**63) - 1}, r'^event\["a"\]: -9223372036854775809 does not fit'),
        ({"a": float("nan")}, r'^event\["a"\]: nan is not a finite number'),
        ({"a": [float("inf")]}, r'^event\["a"\]\[0\]: inf is not a finite number'),
        ({"a": {b"k": 1}}, r"^event\[\"a\"\]: the key b'k' is a bytes, not a str"),
        ({1: 2}, r"^event: the key 1 is a int, not a str"),
        ({"a": [{"b": "x\ud800"}]}, r'^event\["a"\]\[0\]\["b"\]: holds a lone surrogate at 1$'),
        ({"a": [1, {"\udfff": 1}]}, r"^event\[\"a\"\]\[1\]: the key '\\udfff': holds a lone"),
    ],
)
def test_what_cannot_travel_is_named_with_its_path(message: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        pack_message(message)


def test_the_root_of_the_path_is_the_callers() -> None:
    with pytest.raises(TypeError, match=r'^message\["a"\]: complex'):
        pack_message({"a": 1j}, "message")


@pytest.mark.parametrize("message", [None, [], "text", Name("x")])
def test_a_message_is_a_dict(message: Any) -> None:
    with pytest.raises(TypeError, match=r"^event: a dict is needed, not "):
        pack_message(message)


@pytest.mark.parametrize("inmost", [1, 0.5, "x", b"x", None, True])
def test_values_may_lie_64_deep(inmost: object) -> None:
    check(nested(64, inmost), "event")


@pytest.mark.parametrize("inmost", [[], {}, ()])
def test_containers_nested_deeper_are_refused(inmost: object) -> None:
    with pytest.raises(TypeError, match="nested deeper than 64"):
        check(nested(64, inmost), "event")


@pytest.mark.parametrize("length", [0, 1, 15, 16, 65_535, 65_536])
def test_an_array_header_is_msgpacks_own(length: int) -> None:
    assert array_header(length) + b"\xc0" * length == pack([None] * length)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x92\x01",
        b"\xa2\xff\xff",
        b"\xd4\x05\x00",
        b"\xd4\xff\x00",
        b"\x81\x01\x02",
        b"\x81\x90\x02",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000 + b"\xc0",
    ],
    ids=[
        "nothing",
        "an unused type",
        "two values",
        "a short array",
        "no UTF-8",
        "an extension",
        "a broken timestamp",
        "an int as key",
        "an array as key",
        "an array without end",
        "deeper than the parser goes",
    ],
)
def test_other_bytes_are_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a msgpack value of ASGI's types"):
        unpack(raw)


def test_a_timestamp_is_read_as_a_float() -> None:
    assert unpack(b"\xd6\xff\x00\x00\x00\x05").__class__ is float
