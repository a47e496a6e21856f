"""What stands under CONFIG of a channel layer, checked, without a loop or a connection."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from gateway_layer.errors import ConfigError, LayerUnavailable
from gateway_layer.redis.address import RedisAddress, parse_address

_DEFAULT_HOST: Final = "redis://localhost:6379"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+(?:![A-Za-z0-9_.-]*)?")
_GROUP: Final = re.compile(r"[A-Za-z0-9_.-]+")
_LONGEST_NAME: Final = 99
_CLIENT: Final = re.compile(r"(?:.*\.)?([A-Za-z0-9_-]{22})!.*")

_OF_REDIS_PY: Final = frozenset(
    {
        "socket_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "health_check_interval",
        "retry_on_timeout",
        "retry_on_error",
        "retry",
        "max_connections",
        "timeout",
        "decode_responses",
        "protocol",
    }
)
"""Options that tune redis-py's connections, of which this layer has none: accepted, without use."""


def check_channel(channel: object) -> str:
    """Return a channel's name.

    Raises:
        TypeError: Not ASCII letters, digits, `-_.`, one `!` at most, shorter than 100.
    """
    if channel.__class__ is not str or len(channel) > _LONGEST_NAME or not _NAME.fullmatch(channel):
        raise TypeError(
            f"channel name {channel!r:.120}: fewer than 100 ASCII letters, digits, '-', '_', '.', "
            "and one '!' at most"
        )
    return channel


def check_group(group: object) -> str:
    """Return a group's name.

    Raises:
        TypeError: Not ASCII letters, digits, `-_.`, shorter than 100.
    """
    if group.__class__ is not str or len(group) > _LONGEST_NAME or not _GROUP.fullmatch(group):
        raise TypeError(
            f"group name {group!r:.120}: fewer than 100 ASCII letters, digits, '-', '_', '.'"
        )
    return group


CLIENT: Final = ""
"""What `client_of` says of a reply channel."""


def client_of(channel: str) -> str | None:
    """Return whose process-local channel it is.

    None: any process may read it; a name with a `!` that no `new_channel` made is such a one.
    CLIENT: it is a connection's reply channel, the client itself.
    """
    found = _CLIENT.fullmatch(channel) if "!" in channel else None
    if found is None:
        return None
    return found[1] if found.start(1) else CLIENT  # `new_channel` puts a prefix in front


class Keys:
    """Every key of a layer, as bytes; the tags in braces keep multi-key scripts in one slot.

    | key | type | what | end |
    |---|---|---|---|
    | `PREFIX:{q:NAME}` | list | messages of a channel that any process reads | `expiry` |
    | `PREFIX:{CLIENT}:in` | list | inbox of one process | `expiry` |
    | `PREFIX:{CLIENT}:up` | string | exists while the process lives | 60 s, renewed each 20 |
    | `PREFIX:{g:GROUP}` | zset | processes with members -> when noted, ms | `group_expiry` |
    | `PREFIX:{g:GROUP}:n` | hash | the same -> number of members | `group_expiry` |
    """

    def __init__(self, prefix: str) -> None:
        """Take the prefix that all keys of the layer begin with."""
        self._prefix: Final = prefix.encode()
        escaped = re.sub(r"([*?\[\]\\])", r"\\\1", prefix).encode()
        self.everything: Final = escaped + b":{*"

    def plain(self, channel: str) -> bytes:
        """Return the list of a channel that any process may read."""
        return b"%b:{q:%b}" % (self._prefix, channel.encode())

    def inbox(self, client: str) -> bytes:
        """Return the inbox of one process."""
        return b"%b:{%b}:in" % (self._prefix, client.encode())

    def lease(self, client: str) -> bytes:
        """Return the string that exists while the process lives."""
        return b"%b:{%b}:up" % (self._prefix, client.encode())

    def group(self, group: str) -> tuple[bytes, bytes]:
        """Return the processes of a group, and the numbers of their members."""
        key = b"%b:{g:%b}" % (self._prefix, group.encode())
        return key, key + b":n"

    def client_of_lease(self, key: bytes) -> str | None:
        """Return whose lease a key is, None if it is something else."""
        rest = key.removeprefix(self._prefix + b":{")
        return rest[:-4].decode() if rest.endswith(b"}:up") and b":" not in rest[:-4] else None


@dataclass(frozen=True, slots=True)
class Host:
    """One server of `hosts`: an address, or sentinels that know it."""

    address: RedisAddress
    """Behind sentinels: all but host and port."""

    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""
    sentinel_options: tuple[tuple[str, Any], ...] = ()

    async def find(self) -> RedisAddress:
        """Return the address to connect to now; asked before each connection.

        Raises:
            LayerUnavailable: No sentinel knows the master.
        """
        if not self.sentinels:
            return self.address
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self.sentinels, sentinel_kwargs={"socket_timeout": 1.0, **dict(self.sentinel_options)}
        )
        try:
            host, port = await sentinel.discover_master(self.master_name)
        except (RedisError, OSError) as error:
            raise LayerUnavailable(f"no sentinel knows {self.master_name}: {error}") from error
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        known = self.address
        return RedisAddress(
            host=str(host),
            port=int(port),
            db=known.db,
            username=known.username,
            password=known.password,
            ssl=known.ssl,
            client_name=known.client_name,
            url_for_logs=f"redis://{host}:{port}/{known.db} (master {self.master_name})",
        )


def read_hosts(hosts: Sequence[Any] | None) -> list[Host]:
    """Read `hosts` in all the forms of channels_redis.

    Args:
        hosts: None or empty for localhost, else a list of a URL, (host, port), or a dict with
            `address`, with `host` and `port`, or with `sentinels` and `master_name`; in a dict also
            `db`, `username`, `password`, `client_name`, `ssl` and redis-py's `ssl_…`.

    Raises:
        ValueError: A bare string.
        ConfigError: A form, URL or option that is not understood.
    """
    if isinstance(hosts, (str, bytes)):
        text = "hosts must be a list of Redis hosts, even if there is only one"
        raise ValueError(text)  # noqa: TRY004 - as channels_redis has it
    return [_read_host(host) for host in hosts or [_DEFAULT_HOST]]


def _read_host(host: Any) -> Host:
    if isinstance(host, str):
        return Host(_address(host, {}))
    if isinstance(host, (tuple, list)) and len(host) == 2:
        return Host(_address(f"redis://{host[0]}:{host[1]}", {}))
    if not isinstance(host, Mapping):
        raise ConfigError(f"hosts: {host!r:.120}: a URL, (host, port) or a dict is needed")
    options = {
        name: value
        for name, value in host.items()
        if name not in _OF_REDIS_PY and value is not None
    }
    if "sentinels" in options or "master_name" in options:
        return _read_sentinels(options)
    if "address" in options:
        return Host(_address(str(options.pop("address")), options))
    return Host(_address(_url(options), options))


def _url(options: dict[str, Any]) -> str:
    """Take host, port, path and ssl out of the options, as a URL."""
    host, port = options.pop("host", "localhost"), options.pop("port", 6379)
    path, secure = options.pop("path", None), options.pop("ssl", False)
    if path is not None:
        return f"unix://{path}"
    return f"{'rediss' if secure else 'redis'}://{host}:{port}"


def _read_sentinels(options: dict[str, Any]) -> Host:
    try:
        sentinels = tuple((str(name), int(port)) for name, port in options.pop("sentinels"))
        master_name = str(options.pop("master_name"))
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            "hosts: sentinels must be a list of (host, port), beside a master_name"
        ) from None
    sentinel_options = dict(options.pop("sentinel_kwargs", {}))
    return Host(
        _address(_url(options), options), sentinels, master_name, tuple(sentinel_options.items())
    )


def _address(url: str, options: Mapping[str, Any]) -> RedisAddress:
    joint = "&" if "?" in url else "?"
    try:
        return parse_address(f"{url}{joint}{urlencode(options)}" if options else url)
    except ConfigError as error:
        raise ConfigError(f"hosts: {str(error).removeprefix('--redis: ')}") from error


Capacities = list[tuple[re.Pattern[str], int]]


def read_capacities(channel_capacity: Mapping[Any, Any] | None) -> Capacities:
    """Compile the keys of `channel_capacity`: globs, and regular expressions as they are.

    Raises:
        ConfigError: A capacity that is no positive int.
    """
    compiled = []
    for pattern, capacity in (channel_capacity or {}).items():
        if not isinstance(capacity, int) or capacity < 1:
            raise ConfigError(f"channel_capacity: {pattern!r}: {capacity!r}: from 1 up")
        regex = (
            pattern if isinstance(pattern, re.Pattern) else re.compile(fnmatch.translate(pattern))
        )
        compiled.append((regex, capacity))
    return compiled
