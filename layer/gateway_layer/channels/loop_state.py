"""What the channel layer keeps for one running event loop: connections, and who reads."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from gateway_layer.channels.entries import (
    FLUSH,
    GROUP_MESSAGE,
    JOIN,
    MESSAGE,
    PART,
    Fanned,
    Packer,
    read_entry,
)
from gateway_layer.channels.mailbox import Mailbox, now_ms
from gateway_layer.channels.options import Host, Keys
from gateway_layer.channels.plain import READ_BLOCK_S, PlainReaders, ReadPipe, read_script
from gateway_layer.channels.unanswered import Unanswered
from gateway_layer.errors import GatewayError, LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.redis.pipe import Pipe, RedisReplyError
from gateway_layer.redis.protocol import OnReply, Reply, resolve
from gateway_layer.redis.resp import pack_command

_WITHDRAW: Final = read_script("withdraw")

_MULTI: Final = pack_command("MULTI")
_EXEC: Final = pack_command("EXEC")

CONNECT_S: Final = 5.0
LEASE_S: Final = 60
RENEW_S: Final = 20.0
_READ_COUNT: Final = 64
_AT_ONCE: Final = 500
_CLOSE_S: Final = 1.0

_log = logging.getLogger("gateway.channels")

Send = tuple[bytes, "asyncio.Future[Any]"]


class LoopState:
    """Connections of one loop.

    It ends with the loop: cancelling all tasks, as every runner of loops does before it closes
    one, closes the connections and gives back what is unread.

    Attributes:
        unanswered: Group messages whose senders did not wait for Redis.

    Args:
        hosts: The servers.
        shard_of: Index of the server that holds what belongs to a name.
        keys: Names of keys.
        mailbox: The channels of this process.
        expiry_ms: How long a message lives.
        on_members: Called with this state and a group whose members here have changed.
        on_heartbeat: Called with this state and whether Redis still knew of the process.
    """

    def __init__(
        self,
        hosts: list[Host],
        shard_of: Callable[[str], int],
        keys: Keys,
        mailbox: Mailbox,
        expiry_ms: int,
        on_members: Callable[["LoopState", str], None],
        on_heartbeat: Callable[["LoopState", bool], None],
    ) -> None:
        """Begin in the running loop; connections are made when they are needed."""
        self.loop: Final = asyncio.get_running_loop()
        self.mailbox: Final = mailbox
        self.packer: Final = Packer()
        self.unanswered: Final = Unanswered()
        self.closed = False
        self._hosts = hosts
        self._shard_of = shard_of
        self._keys = keys
        self._expiry_ms = expiry_ms
        self._on_members = on_members
        self._on_heartbeat = on_heartbeat
        self._writers: dict[int, Pipe] = {}
        self._collecting = False
        self._turn: dict[tuple[int, bytes, int], list[Send]] = {}
        self._inbox: ReadPipe | None = None
        self._own = mailbox.client
        inbox = keys.inbox(self._own)
        self._read_command = pack_command(
            "BLMPOP", READ_BLOCK_S, 1, inbox, "LEFT", "COUNT", _READ_COUNT
        )
        self._heart: asyncio.Task[None] | None = None
        self._leased = False
        self._plain: Final = PlainReaders(expiry_ms)
        self._guard = self.loop.create_task(self._close_with_loop(), name="channel-layer")

    # Writing.

    async def writer(self, name: str) -> Pipe:
        """Return the connection to the server of a name, connected.

        Raises:
            LayerUnavailable: It cannot be reached within 5 s.
        """
        return await self.writer_of(self._shard_of(name))

    async def writer_of(self, shard: int) -> Pipe:
        """Return the connection to one server, connected; raises as `writer`."""
        pipe = self._writer(shard)
        if not pipe.connected:
            await pipe.wait_connected(CONNECT_S)
        return pipe

    def _writer(self, shard: int) -> Pipe:
        pipe = self._writers.get(shard)
        if pipe is None:
            host = self._hosts[shard]
            pipe = self._writers[shard] = Pipe(
                host.address, name="layer-write", find=host.find if host.sentinels else None
            )
            pipe.start()
        return pipe

    async def receive_plain(self, channel: str) -> bytes:
        """Wait for a message to a channel that any process may read; see `PlainReaders`."""
        shard = self._shard_of(channel)
        writer = self._writer(shard)
        return await self._plain.receive(self._keys.plain(channel), self._hosts[shard], writer)

    async def append(self, name: str, key: bytes, capacity: int, entry: bytes) -> bool:
        """Append an entry to a channel's list, with the others of this turn of the loop.

        Returns:
            Whether the list had room for it.

        Raises:
            LayerUnavailable: Redis cannot be reached, or was lost before it answered.
        """
        shard = self._shard_of(name)
        pipe = self._writers.get(shard)
        if pipe is None or not pipe.connected:
            await self.writer_of(shard)
        taken = await self.begin_append(name, key, capacity, entry)
        if isinstance(taken, Exception):
            raise as_unavailable(taken)
        return bool(taken)

    def begin_append(
        self, name: str, key: bytes, capacity: int, entry: bytes
    ) -> "asyncio.Future[Any]":
        """Do what `append` does, where there is a connection; the result may be an exception."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        shard = self._shard_of(name)
        if self._is_first():
            self._send(shard, key, capacity, [(entry, answer)])
        else:
            self._turn.setdefault((shard, key, capacity), []).append((entry, answer))
        return answer

    def _is_first(self) -> bool:
        """Whether this is the first to leave in this turn of the loop.

        It leaves at once: who sends one message and waits for the answer waits a turn less.
        """
        if self._collecting:
            return False
        self._collecting = True
        self.loop.call_soon(self._flush)
        return True

    def _flush(self) -> None:
        """Send what else came in this turn: one command for a list and 500 messages."""
        self._collecting = False
        turn, self._turn = self._turn, {}
        for (shard, key, capacity), sends in turn.items():
            for start in range(0, len(sends), _AT_ONCE):
                self._send(shard, key, capacity, sends[start : start + _AT_ONCE])

    def _send(self, shard: int, key: bytes, capacity: int, sends: list[Send]) -> None:
        """Append entries, whole with their expiry; those beyond the capacity are taken back.

        Mostly there is room, and a script that looks first takes Redis longer.
        """
        pipe = self._writers[shard]

        def on_queued(reply: Reply) -> None:
            if isinstance(reply, Exception):
                _settle(sends, reply)  # EXEC would only say that something was refused

        def on_done(done: Reply) -> None:
            if isinstance(done, list) and done[0] > capacity:
                self._withdraw(pipe, key, capacity, sends)
            else:
                _settle(sends, done if isinstance(done, Exception) else len(sends))

        try:
            check_process()
            push = pack_command("RPUSH", key, *[entry for entry, _ in sends])
            expire = pack_command("PEXPIRE", key, self._expiry_ms)
            pipe.write_all(_MULTI + push + expire + _EXEC, (None, on_queued, None, on_done))
            pipe.flush()
        except LayerUnavailable as error:
            _settle(sends, error)

    def _withdraw(self, pipe: Pipe, key: bytes, capacity: int, sends: list[Send]) -> None:
        """Take back what there was no room for, the last first."""
        entries = [entry for entry, _answer in reversed(sends)]

        def on_back(back: Reply) -> None:
            _settle(sends, len(sends) - back if isinstance(back, int) else back)

        try:
            head = ("EVAL", _WITHDRAW, 1, key, now_ms(), capacity)
            pipe.write(pack_command(*head, *entries), on_back)
        except LayerUnavailable as error:
            _settle(sends, error)

    def write(self, name: str, command: bytes) -> None:
        """Send a packed command without waiting; while Redis cannot be reached it is left out."""
        with contextlib.suppress(LayerUnavailable):
            self._writer(self._shard_of(name)).write(command)

    async def call(self, name: str, *parts: bytes | str | int) -> Any:
        """Carry out one command on the server of a name.

        Raises:
            LayerUnavailable: It cannot be reached, or refused, or this process may count as dead.
        """
        pipe = self._writers.get(self._shard_of(name))
        if pipe is None or not pipe.connected:
            pipe = await self.writer(name)
        return await self.answer(pipe, pack_command(*parts))

    async def answer(self, pipe: Pipe, command: bytes) -> Any:
        """Send a packed command and wait for its reply; raises as `call`."""
        answer: asyncio.Future[Reply] = self.loop.create_future()
        self.post(pipe, command, resolve(answer))
        reply = await answer
        if isinstance(reply, Exception):
            raise as_unavailable(reply)
        return reply

    def post(self, pipe: Pipe, command: bytes, on_reply: OnReply) -> None:
        """Send a packed command; at once, if it is the first of this turn.

        Raises:
            LayerUnavailable: Not connected, or this process may count as dead.
        """
        check_process()
        pipe.write(command, on_reply)
        if self._is_first():
            pipe.flush()

    # This process's own channels.

    async def live(self) -> None:
        """Let Redis know that this process lives, from now on for as long as the loop runs.

        Raises:
            LayerUnavailable: Redis cannot be reached.
        """
        if not self._leased:
            await self._renew()
            self._leased = True
        self._start_heart()

    def _start_heart(self) -> None:
        if self._heart is None:
            self._heart = self.loop.create_task(self._beat(), name="channel-layer-lease")

    async def _renew(self) -> None:
        lease = self._keys.lease(self._own)
        known = await self.call(self._own, "SET", lease, "1", "EX", LEASE_S, "GET")
        self._on_heartbeat(self, known is not None)

    async def _beat(self) -> None:
        while True:
            try:
                await self._renew()
            except LayerUnavailable as error:
                _log.debug("the lease is renewed when redis is back reason=%s", error)
            self.read()
            await asyncio.sleep(RENEW_S)

    def read(self) -> None:
        """See to it that somebody reads the inbox while anybody waits for a message.

        One loop of the process does at a time. While nobody waits the messages stay in Redis,
        where senders see that the channel is full.
        """
        mailbox = self.mailbox
        reader = mailbox.reader
        if reader is not None and not reader.loop.is_closed():
            return
        if self._inbox is None and not self.closed:
            host = self._hosts[self._shard_of(self._own)]
            self._inbox = ReadPipe(host, self.announce)
            self._inbox.pipe.start()
        if self._inbox is None or not self._inbox.pipe.connected or not mailbox.awaited:
            return
        with mailbox.lock:
            if mailbox.reader is not None and not mailbox.reader.loop.is_closed():
                return
            mailbox.reader = self
        self._inbox.read(self._read_command, self._on_entries)

    def announce(self) -> None:
        """Let Redis know now that this process lives, and read: it may have been emptied."""
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        self._start_heart()
        self.read()

    def _on_entries(self, reply: Reply) -> None:
        self.mailbox.reader = None
        if isinstance(reply, list):
            for raw in reply[1]:
                try:
                    self._take_in(read_entry(raw))
                except GatewayError as error:
                    _log.warning("an entry that cannot be read: %s", error)
        elif isinstance(reply, RedisReplyError):
            _log.error("redis refused to be read reason=%r", str(reply))
            return
        if self.closed:
            self._pass_on()
        elif self.mailbox.awaited:
            self.read()

    def _take_in(self, entry: tuple[Any, ...]) -> None:
        kind = entry[1]
        mailbox = self.mailbox
        if kind == MESSAGE:
            with mailbox.lock:
                mailbox.deliver(entry[2], (entry[0], entry[3]))
        elif kind == GROUP_MESSAGE:
            message = entry[0], Fanned(entry[3])
            with mailbox.lock:
                known = mailbox.deliver_to_group(entry[2], message, entry[4])
            if not known:
                self._on_members(self, entry[2])  # the last one left while Redis was away
        elif kind == JOIN:
            mailbox.join(entry[2], entry[3])
            self._on_members(self, entry[2])
        elif kind == PART:
            mailbox.part(entry[2], entry[3])
            self._on_members(self, entry[2])
        elif kind == FLUSH:
            mailbox.clear(entry[2], self._expiry_ms)

    def _pass_on(self) -> None:
        """Let another loop read in which somebody waits."""
        for state in list(self.mailbox.states.values()):
            if state is not self and not state.closed:
                with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                    state.loop.call_soon_threadsafe(state.read)

    # The end.

    async def _close_with_loop(self) -> None:
        try:
            await self.loop.create_future()
        except asyncio.CancelledError:
            await self._end()
            raise

    async def close(self) -> None:
        """End what this loop has, and lose no message by it."""
        self._guard.cancel()
        await asyncio.wait([self._guard])

    async def _end(self) -> None:
        self.closed = True
        if self._heart is not None:
            self._heart.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.unanswered.wait()
                if self.mailbox.reader is self and self._inbox is not None:
                    await self._inbox.stop(await self.writer(self._own))
                await self._plain.close()
        for send in [send for sends in self._turn.values() for send in sends]:
            _settle([send], LayerUnavailable("the channel layer was closed"))
        self._turn = {}
        if self._inbox is not None:
            await self._inbox.pipe.close()
        for pipe in self._writers.values():
            await pipe.close()
        if self.mailbox.states.get(self.loop) is self:
            del self.mailbox.states[self.loop]
        self._pass_on()


def _settle(sends: list[Send], taken: Any) -> None:
    """Tell each of some sends whether it was among those that were taken, or the error."""
    for index, (_entry, answer) in enumerate(sends):
        if not answer.done():
            answer.set_result(taken if isinstance(taken, Exception) else index < taken)


def as_unavailable(error: Exception) -> LayerUnavailable:
    """Return what to raise for a command that was not carried out, or nobody knows."""
    if isinstance(error, LayerUnavailable):
        return error
    refused = LayerUnavailable(f"Redis refused: {error}")
    refused.__cause__ = error
    return refused
