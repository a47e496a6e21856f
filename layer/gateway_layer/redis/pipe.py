"""A connection to Redis that is made again for ever: written to by many, read in order."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import RedisAddress
from gateway_layer.redis.checks import ServerInfo
from gateway_layer.redis.protocol import (
    ConnectionLost,
    OnLength,
    OnReply,
    PipeStats,
    RedisProtocol,
    Reply,
    greet,
    resolve,
)
from gateway_layer.redis.resp import RedisReplyError, pack_command

__all__ = [
    "ConnectionLost",
    "OnLength",
    "OnReply",
    "Pipe",
    "PipeStats",
    "RedisReplyError",
    "Reply",
    "ServerInfo",
]

_FIRST_DELAY_S = 0.02
_LONGEST_DELAY_S = 2.0
_STABLE_S = 2.0  # a connection that lived less does not reset the back-off, or flapping would spin
_CLOSE_S = 1.0

_log = logging.getLogger("gateway.redis")


class Troubles:
    """What keeps pipes from their server, so that a process says it once for all of its pipes."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_pipe: dict[str, str] = {}

    def begin(self, pipe: str, trouble: str) -> bool:
        """Note what a pipe met with; return whether it is news."""
        news = trouble not in self._by_pipe.values()
        self._by_pipe[pipe] = trouble
        return news

    def end(self, pipe: str) -> bool:
        """Note that a pipe is connected; return whether it was the last one with a trouble."""
        return self._by_pipe.pop(pipe, None) is not None and not self._by_pipe


class Pipe:
    """A connection to Redis that commands are written to and replies come back from, in order.

    All commands of one loop turn leave in one write. When the connection is lost, each command
    without a reply gets `ConnectionLost`, once, and the pipe connects again for ever, with
    exponential back-off; meanwhile every write raises LayerUnavailable. One loop, no threads.

    Args:
        address: The server.
        name: Shown in CLIENT LIST and in log lines.
        blocking_s: Longest time that a command of this pipe may block on the server, seconds;
            added to the reply time-out, so that a blocking read is not taken for a dead server.
        reply_timeout_s: Longest wait for a connection, and for a sign of life while a reply is
            awaited, seconds; then the connection is dropped and made again.
        on_connected: Called after each handshake, when the pipe can be written to.
        on_disconnected: Called after each loss, when every pending command has been told; with
            None when it was closed on purpose.
        on_room: Called when `paused` has become False.
        troubles: Shared by the pipes of a process to one server; None: its own.
        find: Asked for the address before each connection, in place of `address`.

    Attributes:
        stats: Counters.
        server: What the server said at the last handshake; None before the first.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        blocking_s: float = 0.0,
        reply_timeout_s: float = 5.0,
        on_connected: Callable[[ServerInfo], None] | None = None,
        on_disconnected: Callable[[Exception | None], None] | None = None,
        on_room: Callable[[], None] | None = None,
        troubles: Troubles | None = None,
        find: Callable[[], Awaitable[RedisAddress]] | None = None,
    ) -> None:
        """Keep the settings; `start` connects."""
        self.stats = PipeStats()
        self.server: ServerInfo | None = None
        self._on_room = on_room or _nothing
        self._address = address
        self._find = find
        self._name = name
        self._limit_s = blocking_s + reply_timeout_s
        self._reply_timeout_s = reply_timeout_s
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._protocol: RedisProtocol | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._connector: asyncio.Task[None] | None = None
        self._closed = False
        self._was_connected = False
        self._troubles = troubles or Troubles()
        self._reason = "not connected yet"
        self._seen_errors: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether commands can be written now."""
        return self._protocol is not None

    @property
    def paused(self) -> bool:
        """Whether more than 1 MiB waits for the socket: whoever can should write less."""
        return self._protocol is not None and self._protocol.paused

    @property
    def held(self) -> bool:
        """Whether nothing leaves at the moment, see `hold`."""
        return self._protocol is not None and self._protocol.held

    def start(self) -> None:
        """Begin to connect in the background; needs a running loop."""
        assert self._connector is None, "start is called once"
        self._connector = asyncio.get_running_loop().create_task(self._stay_connected())

    async def wait_connected(self, timeout_s: float | None) -> None:
        """Wait until commands can be written.

        Args:
            timeout_s: Seconds; None waits for ever.

        Raises:
            LayerUnavailable: On time-out, or when the pipe is closed; the text says what failed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._protocol is None and not self._closed:
                    await self._up.wait()
        except TimeoutError:
            raise self._unavailable() from None
        if self._closed:
            raise self._unavailable()

    def write(self, command: bytes, on_reply: OnReply | None = None) -> None:
        """Send a packed command with the others of this loop turn.

        Args:
            command: From `pack_command`.
            on_reply: Gets the reply, a RedisReplyError or a ConnectionLost, exactly once, from
                inside the loop's read; None: error replies are counted and logged once a code.

        Raises:
            LayerUnavailable: Not connected, or 64 MiB wait for the socket; nothing was queued.
        """
        protocol = self._protocol
        if protocol is None:
            raise self._unavailable()
        protocol.write(command, on_reply)

    def write_all(self, commands: bytes, on_replies: Sequence[OnReply | None]) -> None:
        """Send packed commands that make no sense one without the other, such as a transaction.

        Args:
            commands: Several from `pack_command`, joined.
            on_replies: For each command what `write` takes.

        Raises:
            LayerUnavailable: As for `write`; nothing was queued of any.
        """
        protocol = self._protocol
        if protocol is None:
            raise self._unavailable()
        protocol.write_all(commands, on_replies)

    def push(self, key: bytes, entry: bytes, on_length: OnLength | None = None) -> None:
        """Append an entry to a list; all entries of a turn for a key leave in one RPUSH.

        The RPUSH goes where the first push of the turn stands among the commands written; one
        written between two pushes of a key finds both in front of it.

        Args:
            key: The list.
            entry: What to append.
            on_length: Gets (length of the list after the whole RPUSH, index of this entry in it,
                number of entries in it); the length is the exception where there was no reply.

        Raises:
            LayerUnavailable: As for `write`.
        """
        protocol = self._protocol
        if protocol is None:
            raise self._unavailable()
        protocol.push(key, entry, on_length)

    def flush(self) -> None:
        """Write what this turn has collected now; saves the rest of the turn."""
        if self._protocol is not None:
            self._protocol.flush()

    @property
    def idle(self) -> bool:
        """Whether it is connected, and every command written has its reply."""
        return self._protocol is not None and self._protocol.idle

    def hold(self) -> Callable[[], None]:
        """Let nothing leave for the moment: what is written waits, in its order.

        Returns:
            To be called when it may leave. A connection that is made meanwhile is not held.
        """
        assert self._protocol is not None, "only what is connected is held"
        self._protocol.hold()
        return self._protocol.release

    def drop(self, reason: Exception) -> None:
        """Give this connection up, because it does not do what it is for, and make a new one."""
        if self._protocol is not None:
            self._protocol.abort(reason)

    async def execute(self, *parts: bytes | str | int) -> bytes | int | list[Any] | None:
        """Send one command and wait for its reply; for rare commands.

        Raises:
            RedisReplyError: Redis refused the command.
            LayerUnavailable: Not connected; or, as ConnectionLost, lost while it waited.
        """
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.write(pack_command(*parts), resolve(reply))
        result = await reply
        if isinstance(result, Exception):
            raise result
        return result

    async def close(self) -> None:
        """Send what was written, close the connection, and stay closed."""
        self._closed = True
        if self._connector is not None:
            self._connector.cancel()
            await asyncio.wait([self._connector])
        if self._protocol is not None:
            self._protocol.close()
            try:
                await asyncio.wait_for(self._down.wait(), _CLOSE_S)
            except TimeoutError:
                self._protocol.abort(None)
                await self._down.wait()
        self._reason = "closed"
        self._up.set()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                protocol, info = await self._connect()
            except Exception as error:  # the outermost loop: whatever it was, try again
                if self._report(error):
                    delay_s = _LONGEST_DELAY_S
            else:
                connected_at = loop.time()
                self._adopt(protocol, info)
                await self._watch_until_lost(protocol)
                if loop.time() - connected_at >= _STABLE_S:
                    delay_s = _FIRST_DELAY_S
            # Half of it is jitter, so that a fleet does not come back in step.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)

    async def _connect(self) -> tuple[RedisProtocol, ServerInfo]:
        """Open a connection and greet the server, or raise what prevented it."""
        loop = asyncio.get_running_loop()
        protocol = RedisProtocol(self.stats, self._on_error_reply, self._on_lost, self._on_room)
        transport: asyncio.BaseTransport | None = None
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                if self._find is not None:
                    self._address = await self._find()
                address = self._address
                if address.path is not None:
                    transport, _ = await loop.create_unix_connection(lambda: protocol, address.path)
                else:
                    transport, _ = await loop.create_connection(
                        lambda: protocol, address.host, address.port, ssl=address.ssl
                    )
                return protocol, await greet(protocol, address, self._name)
        except BaseException as error:
            if transport is not None:
                protocol.abort(None)
            if isinstance(error, TimeoutError) and not error.args:
                raise TimeoutError(f"no answer within {self._reply_timeout_s:g} s") from None
            raise

    def _adopt(self, protocol: RedisProtocol, info: ServerInfo) -> None:
        self._protocol = protocol
        self.server = info
        self._down.clear()
        if self._troubles.end(self._name):
            _log.info("redis is back pipe=%s url=%s", self._name, self._address.url_for_logs)
        self.stats.reconnects += self._was_connected
        self._was_connected = True
        if self._on_connected is not None:
            try:
                self._on_connected(info)
            except Exception:
                _log.exception("redis connected callback failed pipe=%s", self._name)
        self._up.set()

    async def _watch_until_lost(self, protocol: RedisProtocol) -> None:
        """Drop the connection when replies are due and nothing has come for too long."""
        loop = asyncio.get_running_loop()
        tick_s = min(1.0, self._reply_timeout_s / 4)
        while not self._down.is_set():
            before = loop.time()
            try:
                await asyncio.wait_for(self._down.wait(), tick_s)
            except TimeoutError:
                # A tick that came late says that this process stood still (a debugger, SIGSTOP),
                # and that replies may wait unread: only one tick of it counts.
                elapsed_s = min(loop.time() - before, 1.5 * tick_s)
                if protocol.watch(elapsed_s) > self._limit_s:
                    protocol.abort(TimeoutError(f"no reply for {self._limit_s:g} s"))
                    await self._down.wait()

    def _on_lost(self, protocol: RedisProtocol, reason: Exception | None) -> None:
        adopted = self._protocol is protocol
        if adopted:
            self._protocol = None
            self._up.clear()
        text = "closed" if self._closed else str(reason or "closed by the server")
        error = ConnectionLost(f"connection to Redis lost: {text}")
        error.__cause__ = reason
        protocol.fail_pending(error)
        if not adopted:
            return
        if not self._closed:
            self._report(reason if isinstance(reason, RedisReplyError) else error)
        if self._on_disconnected is not None:
            try:
                self._on_disconnected(None if self._closed else error)
            except Exception:
                _log.exception("redis disconnected callback failed pipe=%s", self._name)
        self._down.set()

    def _report(self, error: Exception) -> bool:
        """Log a failure once, not once a retry or pipe; return whether the server refused us."""
        refused = isinstance(error, RedisReplyError)
        trouble = error.code if isinstance(error, RedisReplyError) else "unreachable"
        self._reason = str(error) or type(error).__name__
        if self._troubles.begin(self._name, trouble):
            _log.log(
                logging.ERROR if refused else logging.WARNING,
                "redis %s pipe=%s url=%s reason=%r%s",
                "refused the connection" if refused else "unreachable",
                self._name,
                self._address.url_for_logs,
                self._reason,
                "" if refused else self._advice(),
            )
        return refused

    def _advice(self) -> str:
        """Say what to do about a server that is not there, or that nothing needs to be done."""
        if self._was_connected:
            return "; waiting for it"
        return "; start Redis or Valkey, or name it with --redis; waiting for it"

    def _on_error_reply(self, error: RedisReplyError) -> None:
        self.stats.errors += 1
        if error.code not in self._seen_errors:
            self._seen_errors.add(error.code)
            _log.error("redis refused a command pipe=%s reason=%r", self._name, str(error))
        if error.code == "READONLY":
            self.drop(error)  # it has become a replica: the address may lead to the new primary

    def _unavailable(self) -> LayerUnavailable:
        url = self._address.url_for_logs
        return LayerUnavailable(f"no connection to Redis at {url}: {self._reason}")


def _nothing() -> None:
    return None
