"""The lists of Redis that the layer writes and reads: their expiry, and reads that block."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway_layer.base import PULL_TIMEOUT_S, OnEntries
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import RedisAddress
from gateway_layer.redis.pipe import Pipe, ServerInfo, Troubles
from gateway_layer.redis.resp import RedisReplyError, pack_command


class Backlog:
    """A list in Redis that gets an expiry while nobody keeps it empty.

    Attributes:
        key: Of the list.
        length: After the last push whose reply has come.
    """

    __slots__ = ("_kept", "_ttl_s", "_writer", "key", "length")

    def __init__(self, writer: Pipe, key: bytes, ttl_s: int) -> None:
        """Watch one list that `writer` pushes to.

        Args:
            writer: Where the expiry is written.
            key: Of the list.
            ttl_s: The expiry, in seconds.
        """
        self.key: Final = key
        self.length = 0
        self._writer = writer
        self._ttl_s = ttl_s
        self._kept = 0.0

    def on_length(self, length: Any, _index: int, count: int) -> None:
        """Take in the reply to a push."""
        if length.__class__ is int:
            self.length = length
            if length > count:
                self.keep()

    def keep(self) -> None:
        """Renew the expiry, at most once a second."""
        now = time.monotonic()
        if now - self._kept >= 1.0:
            self._kept = now
            self.leave()

    def leave(self) -> None:
        """Give what was pushed an end: nothing more follows, and there may be no reader."""
        with contextlib.suppress(LayerUnavailable):  # 64 MiB wait to leave: the next sweep
            self._writer.write(pack_command("EXPIRE", self.key, self._ttl_s), None)


class QueueReader:
    """The connection that pulls from one queue; its reads block, so nothing else goes on it."""

    def __init__(
        self,
        address: RedisAddress,
        key: bytes,
        name: str,
        troubles: Troubles,
        on_connected: Callable[[ServerInfo], None],
        on_refused: Callable[[str, Exception], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Begin to connect.

        Args:
            address: The server.
            key: Of the queue's list.
            name: Of the connection, in CLIENT LIST and log lines.
            troubles: Shared by the pipes of the process.
            on_connected: Called after each handshake.
            on_refused: Called with the queue and the error where Redis refused a read.
            on_lost: Called when the connection is there again after it broke within a read, which
                may have taken entries.
        """
        self._on_lost: Final = on_lost
        self._broke = False
        self._key: Final = key
        self._tell_connected: Final = on_connected
        self._on_refused: Final = on_refused
        self._closed = False
        self._want: tuple[int, OnEntries] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._commands: dict[int, bytes] = {}
        self._pipe: Final = Pipe(
            address,
            name=name,
            blocking_s=PULL_TIMEOUT_S,
            on_connected=self._on_connected,
            on_disconnected=None,
            troubles=troubles,
        )
        self._pipe.start()

    def pull(self, count: int, on_entries: OnEntries) -> None:
        """Ask for up to `count` entries, as soon as the connection is there."""
        assert self._want is None, "one pull per queue at a time"
        self._want = (count, on_entries)
        if self._pipe.connected:
            self._ask()
        else:
            self._finish_later()

    def stop(self) -> None:
        """Let a pull under way end without a word; `close` disconnects."""
        self._closed = True

    async def close(self) -> None:
        """Disconnect, after `stop`."""
        await self._pipe.close()

    def _on_connected(self, server: ServerInfo) -> None:
        self._tell_connected(server)
        if self._broke:
            self._broke = False
            self._on_lost()
        if self._want:
            if self._timer is not None:
                self._timer.cancel()
            self._ask()

    def _ask(self) -> None:
        assert self._want is not None, "asked without a pull"
        count = self._want[0]
        command = self._commands.get(count)
        if command is None:
            command = pack_command("BLMPOP", PULL_TIMEOUT_S, 1, self._key, "LEFT", "COUNT", count)
            self._commands[count] = command
        self._pipe.write(command, self._on_reply)

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, RedisReplyError):
            self._on_refused(self._key.decode(), reply)
            self._finish_later()
        else:
            self._broke = isinstance(reply, Exception)
            self._finish(reply[1] if reply.__class__ is list else ())

    def _finish_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PULL_TIMEOUT_S, self._finish, ())

    def _finish(self, entries: Sequence[bytes]) -> None:
        assert self._want is not None, "finished without a pull"
        _count, on_entries = self._want
        self._want = None
        if not self._closed:
            on_entries(entries)
