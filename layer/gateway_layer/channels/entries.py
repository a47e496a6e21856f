"""What travels in the lists of the channel layer: msgpack `[expiry_ms, kind, name, payload, …]`."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, Final

import msgpack

from gateway_layer.codec import check, pack_message, unpack
from gateway_layer.errors import ChannelFull, ProtocolError

MESSAGE: Final = 0
"""`[expiry, 0, channel, payload]`"""

GROUP_MESSAGE: Final = 1
"""`[expiry, 1, group, payload, excluded channels]`, to all members in the process."""

JOIN: Final = 2
"""`[expiry, 2, group, channel]`: another process made a channel a member."""

PART: Final = 3
"""`[expiry, 3, group, channel]`: another process ended a membership."""

FLUSH: Final = 4
"""`[expiry, 4, when]`: forget the messages and memberships of before, ms since 1970."""


class Packer:
    """Packs for one event loop: msgpack's packers are not for several threads at once."""

    def __init__(self) -> None:
        """Make the packer of the loop."""
        self.pack: Final = msgpack.Packer(autoreset=True).pack

    def payload(self, message: object) -> bytes:
        """Return a message packed.

        Raises:
            AssertionError: Not a dict, or with the reserved key `__asgi_channel__`.
            TypeError: A value of another type than ASGI's; the text names the path to it.
        """
        if not isinstance(message, dict):
            raise AssertionError(f"message is not a dict: {type(message).__name__}")  # noqa: TRY004
        if "__asgi_channel__" in message:
            raise AssertionError("message holds the reserved key __asgi_channel__")
        check(message, "message")
        try:
            packed: bytes = self.pack(message)
        except UnicodeEncodeError:
            return pack_message(dict(message), "message")  # raises, and says where
        return packed


def read_entry(raw: bytes) -> tuple[Any, ...]:
    """Return an entry.

    Raises:
        ProtocolError: It is none.
    """
    entry: Any = unpack(raw)
    if not isinstance(entry, tuple) or len(entry) < 2 or entry[1].__class__ is not int:
        raise ProtocolError("not an entry of a channel layer")
    if tuple(map(type, entry)) != _SHAPES.get(entry[1]):
        raise ProtocolError("an entry of a channel layer with parts of wrong types")
    return entry


_SHAPES: Final[dict[Any, tuple[type, ...]]] = {
    MESSAGE: (int, int, str, bytes),
    GROUP_MESSAGE: (int, int, str, bytes, tuple),
    JOIN: (int, int, str, str),
    PART: (int, int, str, str),
    FLUSH: (int, int, int),
}


def read_payload(payload: bytes) -> dict[str, Any]:
    """Return a message, fresh, with lists where it has arrays.

    Raises:
        ProtocolError: It is none.
    """
    try:
        message: dict[str, Any] = msgpack.unpackb(payload)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from error
    if message.__class__ is not dict:
        raise ProtocolError(f"a message that is a {type(message).__name__}")
    return message


class Fanned(bytes):
    """A payload for many members of a group: read once, as long as nothing in it can be changed.

    Each gets a dict of its own all the same. A copy of one takes a fifth of reading it, and none
    of the time of decrypting it.
    """

    flat: dict[str, Any] | None = None
    """To be copied, once it is known."""

    def message(self, read: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
        """Return what `read` makes of it; sets `flat` where that may be copied from now on."""
        message = read(self)
        if not any(isinstance(value, (dict, list)) for value in message.values()):
            self.flat = message.copy()
        return message


@functools.cache
def channel_full() -> type[ChannelFull]:
    """Return our ChannelFull; a subclass of that of Django Channels too where it is installed."""
    try:
        theirs: type[Exception] = importlib.import_module("channels.exceptions").ChannelFull
    except ImportError:
        return ChannelFull
    return type("ChannelFull", (ChannelFull, theirs), {"__doc__": ChannelFull.__doc__})
