"""One established connection to Redis: packs a turn's commands, hands out replies in order.

This is the hot path. A command costs one append to each of two lists and, once a loop turn, its
share of one `transport.write`; its reply is handed over inside `data_received`. There is no task,
lock, timer or log call per command.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import RedisAddress
from gateway_layer.redis.checks import ServerInfo, parse_info
from gateway_layer.redis.resp import RedisReplyError, pack_command, pack_rpush

_MAX_UNSENT_BYTES = 64 * 2**20
_HIGH_WATER_BYTES = 2**20  # `paused` from here on: well above the writes of one busy turn

_log = logging.getLogger("gateway.redis")


class ConnectionLost(LayerUnavailable):
    """The connection ended before the reply: the command was carried out or not, unknown."""


Reply = bytes | int | list[Any] | RedisReplyError | ConnectionLost | None
OnReply = Callable[[Reply], None]
OnLength = Callable[[int | Exception, int, int], None]


@dataclass(slots=True)
class PipeStats:
    """Counters over the life of a pipe."""

    commands: int = 0
    """Commands sent, those of the handshake included; an RPUSH of many entries is one."""

    entries: int = 0
    """Entries pushed."""

    reconnects: int = 0
    """Connections made after the first."""

    errors: int = 0
    """Error replies to pushes, and to commands whose caller did not ask for the reply."""


class _Push:
    """The entries of one loop turn for one key, and who wants to know the length."""

    __slots__ = ("_on_error", "_packed", "entries", "key", "watchers")

    def __init__(self, key: bytes, on_error: Callable[[RedisReplyError], None]) -> None:
        self.key = key
        self.entries: list[bytes] = []
        self.watchers: list[tuple[OnLength, int]] = []
        self._packed = 0
        self._on_error = on_error

    def pack(self) -> bytes:
        command = pack_rpush(self.key, self.entries)
        self._packed = len(self.entries)
        self.entries = []  # in the transport's hands: not kept twice until the reply
        return command

    def on_reply(self, reply: Reply) -> None:
        count = self._packed or len(self.entries)  # lost before it was packed
        length = reply if isinstance(reply, (int, Exception)) else 0
        if isinstance(reply, RedisReplyError):
            self._on_error(reply)
        for on_length, index in self.watchers:
            try:
                on_length(length, index, count)
            except Exception:
                _log.exception("redis length callback failed key=%r", self.key)


class RedisProtocol(asyncio.Protocol):
    """One established connection: packs a turn's commands, hands out replies in order."""

    def __init__(
        self,
        stats: PipeStats,
        on_error: Callable[[RedisReplyError], None],
        on_lost: Callable[["RedisProtocol", Exception | None], None],
        on_room: Callable[[], None],
    ) -> None:
        """Start empty; the callbacks are told of error replies (see `PipeStats`), the end, room."""
        self.paused = False
        self.held = False
        self.lost: ConnectionLost | None = None
        self._stats = stats
        self._on_error = on_error
        self._on_lost = on_lost
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=RedisReplyError)
        self._pending: deque[OnReply | None] = deque()
        self._turn: list[bytes | _Push] = []
        self._pushes: dict[bytes, _Push] = {}
        self._room = _MAX_UNSENT_BYTES
        self._reading = self._flush_after_read = self._scheduled = False
        self._received = self._received_before = 0
        self._stalled_s = 0.0
        self._reason: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def write(self, command: bytes, on_reply: OnReply | None) -> None:
        """Queue a packed command; see `Pipe.write`."""
        self._room -= len(command)
        if self._room < 0:
            self._make_room(len(command))
        self._turn.append(command)
        self._pending.append(on_reply)
        self._leave_soon()

    def write_all(self, commands: bytes, on_replies: Sequence[OnReply | None]) -> None:
        """Queue commands that leave together or not at all; see `Pipe.write_all`."""
        self._room -= len(commands)
        if self._room < 0:
            self._make_room(len(commands))
        self._turn.append(commands)
        self._pending.extend(on_replies)
        self._stats.commands += len(on_replies) - 1
        self._leave_soon()

    def _leave_soon(self) -> None:
        # What a reply calls for (the next BLMPOP) leaves when the replies at hand are done,
        # instead of in the next turn.
        if self._reading:
            self._flush_after_read = True
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def push(self, key: bytes, entry: bytes, on_length: OnLength | None) -> None:
        """Queue an entry; see `Pipe.push`."""
        self._room -= len(entry)
        if self._room < 0:
            self._make_room(len(entry))
        push = self._pushes.get(key)
        if push is None:
            push = self._pushes[key] = _Push(key, self._on_error)
            self._turn.append(push)
            self._pending.append(push.on_reply)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self.flush)
        if on_length is not None:
            push.watchers.append((on_length, len(push.entries)))
        push.entries.append(entry)

    def _make_room(self, needed: int) -> None:
        """Hand over the turn so far, to learn how much the transport really holds."""
        self._room += needed
        if self.held:
            raise LayerUnavailable(f"{_MAX_UNSENT_BYTES >> 20} MiB wait to leave for Redis")
        self.flush()
        self._room = _MAX_UNSENT_BYTES - self._transport.get_write_buffer_size()
        if self._room < needed:
            raise LayerUnavailable(f"{_MAX_UNSENT_BYTES >> 20} MiB wait to be taken by Redis")
        self._room -= needed

    def flush(self) -> None:
        """Write what the turn has queued, at once."""
        self._scheduled = False
        turn = self._turn
        if not turn or self.held:
            return
        self._turn = []
        self._pushes.clear()
        stats = self._stats
        stats.commands += len(turn)
        commands = []
        for command in turn:
            if isinstance(command, _Push):
                stats.entries += len(command.entries)
                commands.append(command.pack())
            else:
                commands.append(command)
        self._transport.write(b"".join(commands) if len(commands) > 1 else commands[0])
        self._room = _MAX_UNSENT_BYTES - self._transport.get_write_buffer_size()

    @property
    def idle(self) -> bool:
        """Whether nothing was written that has no reply yet."""
        return not self._pending

    def hold(self) -> None:
        """Write nothing until `release`; see `Pipe.hold`."""
        self.held = True

    def release(self) -> None:
        """Write what was queued meanwhile."""
        self.held = False
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Hand out each complete reply, then send what the callbacks wrote."""
        self._received += 1
        self._reading = True
        try:
            self._reader.feed(data)
            self._hand_out_replies()
        except hiredis.ProtocolError as error:
            self.abort(error)
        finally:
            self._reading = False
        if self._flush_after_read:
            self._flush_after_read = False
            self.flush()

    def _hand_out_replies(self) -> None:
        gets = self._reader.gets
        pending = self._pending
        # False is hiredis's "not enough data"; RESP2 has no booleans.
        while (reply := gets(False)) is not False:
            if not pending:
                self.abort(hiredis.ProtocolError("a reply that no command asked for"))
                return
            on_reply = pending.popleft()
            if on_reply is not None:
                try:
                    on_reply(reply)
                except Exception:
                    _log.exception("redis reply callback failed")
            elif isinstance(reply, RedisReplyError):
                self._on_error(reply)

    def pause_writing(self) -> None:
        """Note that the socket takes less than we write."""
        self.paused = True

    def resume_writing(self) -> None:
        """Note that the socket has caught up."""
        self.paused = False
        self._on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what had not left, and say why the connection ended."""
        self._turn = []
        self._pushes = {}
        self._on_lost(self, self._reason or exc)

    def fail_pending(self, error: ConnectionLost) -> None:
        """Tell each command without a reply, once, whether it had left or not."""
        self.lost = error
        pending, self._pending = self._pending, deque()
        for on_reply in pending:
            if on_reply is not None:
                try:
                    on_reply(error)
                except Exception:
                    _log.exception("redis reply callback failed")

    def watch(self, elapsed_s: float) -> float:
        """Return for how long replies were awaited and no byte came, in seconds."""
        # What is held has not left, so nothing is due for it.
        if not self._pending or self.held or self._received != self._received_before:
            self._received_before = self._received
            self._stalled_s = 0.0
        else:
            self._stalled_s += elapsed_s
        return self._stalled_s

    def close(self) -> None:
        """Send what was written, then close."""
        self.release()
        self._transport.close()

    def abort(self, reason: Exception | None) -> None:
        """Close at once; `connection_lost` follows in the next turn, with this reason."""
        self._reason = self._reason or reason
        self._transport.abort()


async def greet(protocol: RedisProtocol, address: RedisAddress, name: str) -> ServerInfo:
    """Authenticate, select the database, name the connection, ask who is there: one write.

    Raises:
        RedisReplyError: The server does not let us in; its own words.
        ConnectionLost: It hung up instead.
    """
    must: list[tuple[bytes | str | int, ...]] = []
    if address.username or address.password:
        login = (address.username,) if address.username else ()
        must.append(("AUTH", *login, address.password or ""))
    if address.db:
        must.append(("SELECT", address.db))
    # PING is what a server that is loading, full or wants a password refuses.
    must.append(("PING",))
    full_name = f"{address.client_name}:{name}" if address.client_name else name
    may = [("CLIENT", "SETNAME", full_name), ("INFO", "server"), ("INFO", "memory")]
    futures: list[asyncio.Future[Reply]] = []
    for parts in (*must, *may):
        futures.append(asyncio.get_running_loop().create_future())
        protocol.write(pack_command(*parts), resolve(futures[-1]))
    await asyncio.wait(futures)
    replies = [future.result() for future in futures]
    # The first trouble is the cause of the others.
    for number, reply in enumerate(replies):
        if isinstance(reply, ConnectionLost):
            raise reply
        # A user whom the ACL denies PING is let in all the same.
        if isinstance(reply, RedisReplyError) and number < len(must) and reply.code != "NOPERM":
            raise reply
    if protocol.lost is not None:
        raise protocol.lost
    return parse_info(b"\n".join(info for info in replies[-2:] if isinstance(info, bytes)))


def resolve(future: asyncio.Future[Reply]) -> OnReply:
    """Return a callback that makes the reply the future's result."""

    def on_reply(reply: Reply) -> None:
        if not future.done():  # whoever waited may have been cancelled
            future.set_result(reply)

    return on_reply
