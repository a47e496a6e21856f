"""Where a message to a channel goes, looked up once: the same names come again and again."""

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway_layer.channels.options import Keys, check_channel, client_of
from gateway_layer.redis.resp import pack_command

_MOST: Final = 1000


class Route(NamedTuple):
    """One list, and what stands around an entry that is appended to it."""

    client: str | None
    """Whose channel it is, as `client_of` says."""

    shard: int
    """Index of the server."""

    key: bytes
    """The list."""

    push: bytes
    """RPUSH of one entry, up to the entry's length."""

    expire: bytes
    """PEXPIRE, which follows."""


class Routes:
    """The routes of one layer, for any thread."""

    def __init__(self, keys: Keys, shard_of: Callable[[str], int], expiry_ms: int) -> None:
        """Begin without any.

        Args:
            keys: Names of keys.
            shard_of: Index of the server that holds what belongs to a name.
            expiry_ms: How long a message lives.
        """
        self._keys: Final = keys
        self._shard_of: Final = shard_of
        self._expiry_ms: Final = expiry_ms
        self._known: dict[str, Route] = {}

    def of(self, channel: str) -> Route:
        """Return the route of a channel.

        Raises:
            TypeError: Not a channel's name.
        """
        route = self._known.get(channel) if channel.__class__ is str else None
        return route or self._find(channel)

    def _find(self, channel: str) -> Route:
        client = client_of(check_channel(channel))
        if client is None:
            shard, key = self._shard_of(channel), self._keys.plain(channel)
        else:
            shard, key = self._shard_of(client), self._keys.inbox(client)
        push = b"*3\r\n$5\r\nRPUSH\r\n$%d\r\n%b\r\n" % (len(key), key)
        route = Route(client, shard, key, push, pack_command("PEXPIRE", key, self._expiry_ms))
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[channel] = route
        return route
