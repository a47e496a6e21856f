"""Names of processes, connections, channels and queues.

A channel is `name` (a shared queue: any competing reader takes it) or `process!local` (delivered to
one process, which dispatches by the local part). The reply channel of a connection is
`process!connection`; both parts are 128 random bits in base64url, so it can stand in a URL and
cannot be guessed.
"""

import os
import re
from binascii import b2a_base64

from gateway_layer.errors import ConfigError

_QUEUE = re.compile(r"[A-Za-z0-9_.-]{1,99}")
_CHANNEL = re.compile(r"[A-Za-z0-9_.-]{1,64}(?:![A-Za-z0-9_.-]{1,64})?")
_POOL_OF_IDS = 256
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")

DEFAULT_POOL = "default"


def _random_id(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).translate(_TO_URL_SAFE)[:22].decode()


def new_pid() -> str:
    """Return a new process id: 22 characters of base64url, 128 random bits, never used before."""
    return _random_id(os.urandom(16))


class ConnectionIds:
    """Connection ids of at least 128 random bits, drawn from the system 256 at a time.

    One call to the system costs more than the rest of an id together; a busy interface server
    needs tens of thousands a second.
    """

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        """Start with an empty stock."""
        self._ids: list[str] = []

    def new(self) -> str:
        """Return an id (22 characters of base64url) that was never given out before."""
        if not self._ids:
            # 18 octets are 24 characters, so that one call encodes the whole stock.
            raw = b2a_base64(os.urandom(18 * _POOL_OF_IDS), newline=False)
            text = raw.translate(_TO_URL_SAFE).decode()
            self._ids = [text[at : at + 22] for at in range(0, len(text), 24)]
        return self._ids.pop()


def queue_name(pool: str, kind: str) -> str:
    """Return the shared queue of a pool for one kind of connection (`http`, `websocket`).

    The default pool's queues are named after the kind alone: `http`, `websocket`.

    Raises:
        ConfigError: The pool's name has characters that no queue may have.
    """
    name = kind if pool == DEFAULT_POOL else f"{pool}.{kind}"
    if not _QUEUE.fullmatch(name):
        raise ConfigError(f"queue {pool!r}: letters, digits, '-', '_' and '.' only, at most 80")
    return name


def split_channel(channel: str) -> tuple[str | None, str]:
    """Split a channel name into (process, local part), or (None, name) for a shared queue.

    Raises:
        TypeError: Not a str, or not a channel name: ASCII letters, digits, `-_.`, one `!` at most.
    """
    if channel.__class__ is not str or not _CHANNEL.fullmatch(channel):
        raise TypeError(
            f"channel name {channel!r}: ASCII letters, digits, '-', '_', '.', at most one '!', "
            "each part at most 64 characters"
        )
    process, bang, local = channel.partition("!")
    return (process, local) if bang else (None, process)
