"""Blocked reads that can be stopped, and on them channels that any process may read."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from importlib.resources import files
from typing import Final

from gateway_layer.channels.options import Host
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.checks import ServerInfo
from gateway_layer.redis.pipe import OnReply, Pipe, RedisReplyError
from gateway_layer.redis.protocol import Reply
from gateway_layer.redis.resp import pack_command


def read_script(name: str) -> str:
    """Return a script without its comments, for it travels with every call."""
    text = (files("gateway_layer.channels") / "scripts" / f"{name}.lua").read_text()
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))


GIVE_BACK: Final = read_script("give_back")
READ_BLOCK_S: Final = 2
_MAX_IDLE: Final = 16

_log = logging.getLogger("gateway.channels")


class ReadPipe:
    """A connection for one blocking read at a time.

    Attributes:
        pipe: The connection; whoever makes a ReadPipe starts it.
    """

    def __init__(self, host: Host, on_connected: Callable[[], None] | None = None) -> None:
        """Keep the settings; `on_connected` is called after each connection."""
        self.pipe: Final = Pipe(
            host.address,
            name="layer-read",
            blocking_s=READ_BLOCK_S,
            on_connected=self._greet,
            find=host.find if host.sentinels else None,
        )
        self._on_connected = on_connected
        self._client_id: int | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def _greet(self, _server: ServerInfo) -> None:
        self._client_id = None
        self.pipe.write(pack_command("CLIENT", "ID"), self._on_client_id)
        if self._on_connected is not None:
            self._on_connected()

    def _on_client_id(self, reply: Reply) -> None:
        # Without the right to ask, a read ends by itself after READ_BLOCK_S.
        self._client_id = reply if isinstance(reply, int) else None

    def read(self, command: bytes, on_reply: OnReply) -> None:
        """Write a blocking read; `on_reply` as for `Pipe.write`.

        Raises:
            LayerUnavailable: Not connected.
        """
        self._idle.clear()

        def answered(reply: Reply) -> None:
            self._idle.set()
            on_reply(reply)

        try:
            self.pipe.write(command, answered)
        except LayerUnavailable:
            self._idle.set()
            raise

    def unblock(self, writer: Pipe) -> None:
        """Have the read answered at once, through another connection to the same server."""
        if self._client_id is not None and not self._idle.is_set():
            with contextlib.suppress(LayerUnavailable):
                writer.write(
                    pack_command("CLIENT", "UNBLOCK", self._client_id), lambda _reply: None
                )

    async def stop(self, writer: Pipe) -> None:
        """Wait until the read under way, if any, has been answered."""
        self.unblock(writer)
        await self._idle.wait()


class _Turn:
    """One receive's use of a connection, until nothing of it is under way any more."""

    def __init__(self, reader: ReadPipe, key: bytes, expiry_ms: int) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Reply] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self._reader = reader
        self._key = key
        self._expiry_ms = expiry_ms

    def on_reply(self, reply: Reply) -> None:
        if not self.answer.done():
            self.answer.set_result(reply)
        else:
            self._give_back(reply)

    def cancel(self, writer: Pipe) -> None:
        """The receive was cancelled: stop the read, or give back what it has brought."""
        if self.answer.done() and not self.answer.cancelled():
            self._give_back(self.answer.result())
            return
        self.answer.cancel()
        self._reader.unblock(writer)

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _give_back(self, reply: Reply) -> None:
        if not isinstance(reply, list):
            self.end()
            return
        # Through the connection that brought it: it stands there in front of its next read.
        command = pack_command("EVAL", GIVE_BACK, 1, self._key, self._expiry_ms, reply[1][0])
        try:
            self._reader.pipe.write(command, lambda _reply: self.end())
        except LayerUnavailable:
            _log.warning("a message is lost with its connection key=%r", self._key)
            self.end()


class PlainReaders:
    """Receives from channels that any process may read, in one loop.

    Each receive that waits has a connection of its own and takes one message, so nobody keeps what
    another process could work on. Connections are used again.

    Args:
        expiry_ms: How long a message lives.
    """

    def __init__(self, expiry_ms: int) -> None:
        """Begin without connections."""
        self._expiry_ms = expiry_ms
        self._idle: dict[int, list[ReadPipe]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._unsettled: dict[bytes, set[_Turn]] = {}
        self._closed = False

    async def receive(self, key: bytes, host: Host, writer: Pipe) -> bytes:
        """Wait for one message; cancelled, it loses none, and the order stays.

        Args:
            key: The list.
            host: Its server.
            writer: Another connection to it, which stops a read that is cancelled.

        Raises:
            LayerUnavailable: Redis refuses the read. While it cannot be reached, this waits.
        """
        while unsettled := self._unsettled.get(key):
            await asyncio.wait([turn.over for turn in unsettled])
        idle = self._idle.setdefault(id(host), [])
        reader = idle.pop() if idle else self._new_reader(host)
        command = pack_command("BLMPOP", READ_BLOCK_S, 1, key, "LEFT", "COUNT", 1)
        turn: _Turn | None = None
        try:
            while True:
                await reader.pipe.wait_connected(None)
                turn = _Turn(reader, key, self._expiry_ms)
                reader.read(command, turn.on_reply)
                reply = await turn.answer
                if isinstance(reply, list):
                    raw: bytes = reply[1][0]
                    turn = None
                    return raw
                turn = None
                if isinstance(reply, RedisReplyError):
                    raise LayerUnavailable(f"Redis refused to be read: {reply}")
        finally:
            if turn is None:
                self._put_away(host, reader)
            else:
                self._settle(key, host, reader, turn)
                turn.cancel(writer)

    def _new_reader(self, host: Host) -> ReadPipe:
        reader = ReadPipe(host)
        reader.pipe.start()
        return reader

    def _settle(self, key: bytes, host: Host, reader: ReadPipe, turn: _Turn) -> None:
        self._unsettled.setdefault(key, set()).add(turn)

        def over(_future: object) -> None:
            turns = self._unsettled[key]
            turns.discard(turn)
            if not turns:
                del self._unsettled[key]
            self._put_away(host, reader)

        turn.over.add_done_callback(over)

    def _put_away(self, host: Host, reader: ReadPipe) -> None:
        idle = self._idle.setdefault(id(host), [])
        if len(idle) < _MAX_IDLE and not self._closed:
            idle.append(reader)
            return
        closing = asyncio.get_running_loop().create_task(reader.pipe.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Wait until what cancelled receives have taken is given back, then disconnect."""
        # Receives that are cancelled together with us come to know of it within these turns.
        for _ in range(3):
            await asyncio.sleep(0)
        while unsettled := [turn.over for turns in self._unsettled.values() for turn in turns]:
            await asyncio.wait(unsettled)
        self._closed = True
        for idle in self._idle.values():
            while idle:
                await idle.pop().pipe.close()
        while self._closing:
            await asyncio.wait(list(self._closing))
