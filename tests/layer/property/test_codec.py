from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway_layer.codec import pack_message, unpack
from gateway_layer.errors import ProtocolError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner, inner)
    ),
    max_leaves=12,
)
MESSAGES = st.dictionaries(st.text(), VALUES)
FOREIGN = st.one_of(
    st.integers(min_value=2**63),
    st.integers(max_value=-(2**63) - 1),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.builds(bytearray, st.binary()),
    st.binary().map(lambda raw: memoryview(raw)),
    st.sets(st.integers()),
    st.complex_numbers(),
    st.just(Fraction(1, 2)),
    st.builds(object),
    st.just(len),
    st.just("\ud800"),
    st.dictionaries(st.integers(), st.none(), min_size=1),
)


Step = tuple[Callable[[Any], Any], str]
"""What wraps a value, and how the path to it is written."""


def as_read(value: Any) -> Any:
    """What a value is on the other side: arrays are tuples there."""
    if isinstance(value, (list, tuple)):
        return tuple(map(as_read, value))
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    return value


def in_dict(key: str, siblings: dict[str, Any]) -> Step:
    return lambda inner: {**siblings, key: inner}, f'["{key}"]'


def in_list(before: list[Any], after: list[Any]) -> Step:
    return lambda inner: [*before, inner, *after], f"[{len(before)}]"


KEYS = st.text("abc", min_size=1, max_size=3)
DICT_STEPS = st.builds(in_dict, KEYS, st.dictionaries(KEYS, SCALARS, max_size=3))
LIST_STEPS = st.builds(in_list, st.lists(SCALARS, max_size=3), st.lists(SCALARS, max_size=3))


@given(MESSAGES)
def test_every_message_comes_back(message: dict[str, Any]) -> None:
    assert unpack(pack_message(message)) == as_read(message)


@given(foreign=FOREIGN, outmost=DICT_STEPS, steps=st.lists(DICT_STEPS | LIST_STEPS, max_size=5))
def test_a_foreign_value_is_named_wherever_it_lies(
    foreign: Any,
    outmost: Step,
    steps: list[Step],
) -> None:
    message, path = foreign, ""
    for wrap, step in [*steps, outmost]:
        message, path = wrap(message), step + path
    with pytest.raises(TypeError) as caught:
        pack_message(message)
    assert str(caught.value).startswith(f"event{path}: ")


@given(st.binary())
def test_any_bytes_are_a_value_or_a_protocol_error(raw: bytes) -> None:
    try:
        unpack(raw)
    except ProtocolError as error:
        assert "not a msgpack value" in str(error)  # noqa: PT017 - either outcome is right


@given(MESSAGES, st.data())
def test_a_message_cut_short_is_a_protocol_error(message: dict[str, Any], data: Any) -> None:
    raw = pack_message(message)
    with pytest.raises(ProtocolError):
        unpack(raw[: data.draw(st.integers(0, len(raw) - 1))])
