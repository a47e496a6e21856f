"""msgpack with ASGI's types and no others.

ASGI messages hold bytes, str, int (64 bit), finite floats, lists, dicts with str keys, bools and
None (asgiref specs/main.rst, "Events"). `pack_message` refuses anything else with a TypeError that
names the path to the value; `pack` trusts its caller and is for values the gateway made itself.
Arrays are read back as tuples: they are cheaper than lists and nobody can change them in place.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import msgpack

from gateway_layer.errors import ProtocolError

Message = dict[str, Any]

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_MAX_DEPTH: Final = 64

pack: Final[Callable[[object], bytes]] = msgpack.Packer(autoreset=True).pack
"""Pack a value made by the gateway itself. Not for use from several threads at once."""


def array_header(length: int) -> bytes:
    """Return the msgpack head of an array of `length` items, to be followed by packed items."""
    if length < 16:
        return _SHORT_ARRAYS[length]
    if length < 65_536:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


_SHORT_ARRAYS: Final = [bytes((0x90 | length,)) for length in range(16)]


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"msgpack extension type {code}")


def unpack(raw: bytes) -> Any:
    """Read one packed value; arrays become tuples.

    Raises:
        ProtocolError: Not exactly one msgpack value of ASGI's types.
    """
    try:
        # timestamp=1: msgpack's own extension type is a float, for it never reaches the hook.
        return msgpack.unpackb(raw, use_list=False, ext_hook=_refuse_extension, timestamp=1)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"not a msgpack value of ASGI's types: {error}") from error


def unpack_state(raw: bytes) -> Message:
    """Read what `pack_message` packed, for its author to go on with: arrays become lists.

    Raises:
        ProtocolError: Not a packed dict.
    """
    try:
        value = msgpack.unpackb(raw, ext_hook=_refuse_extension, timestamp=1)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"not a msgpack value of ASGI's types: {error}") from error
    if value.__class__ is not dict:
        raise ProtocolError("a state that is not a map")
    return dict(value)


def pack_message(message: Message, root: str = "event") -> bytes:
    """Pack a message that an application or a service gave us.

    Args:
        message: A dict with str keys; values of ASGI's types, nested at most 64 deep.
        root: What the message is called in errors.

    Raises:
        TypeError: A value of another type; the text names the path, as in
            `event["headers"][3][1]: bytearray`.
    """
    if message.__class__ is not dict:
        raise TypeError(f"{root}: a dict is needed, not {type(message).__name__}")
    check(message, root)
    try:
        return pack(message)
    except UnicodeEncodeError as error:
        path = _path_to(error.object, message, root)
        raise TypeError(f"{path}: holds a lone surrogate at {error.start}") from error


def _path_to(text: str, value: object, path: str) -> str:
    """Return the path to the first occurrence of a str, or the empty str if it is not there."""
    if value == text:
        return path
    if isinstance(value, dict):
        if text in value:
            return f"{path}: the key {text!r}"
        steps = [(f'["{key}"]', item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        steps = [(f"[{index}]", item) for index, item in enumerate(value)]
    else:
        return ""
    found = (_path_to(text, item, path + step) for step, item in steps)
    return next(filter(None, found), "")


_PLAIN: Final = frozenset((str, bytes, bool, type(None)))
"""Types that always travel."""


def check(value: object, path: str, depth: int = 0) -> None:
    """Raise TypeError naming the path unless `value` consists of ASGI's types alone.

    Subclasses of str, int, … are accepted as what they are; tuples travel as lists.
    """
    if value.__class__ in _PLAIN:
        return
    if depth >= _MAX_DEPTH and isinstance(value, (dict, list, tuple)):
        raise TypeError(f"{path}: nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{path}: the key {key!r} is a {type(key).__name__}, not a str")
            if item.__class__ not in _PLAIN:  # the path costs more than all else
                check(item, f'{path}["{key}"]', depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if item.__class__ not in _PLAIN:
                check(item, f"{path}[{index}]", depth + 1)
    else:
        _check_scalar(value, path)


def _check_scalar(value: object, path: str) -> None:
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise TypeError(f"{path}: {value} does not fit into 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value} is not a finite number")
    elif not isinstance(value, (str, bytes)):
        raise TypeError(
            f"{path}: {type(value).__name__} cannot travel; ASGI allows bytes, str, int, float, "
            "list, dict with str keys, bool and None"
        )
