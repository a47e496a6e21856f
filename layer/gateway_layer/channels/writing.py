"""What one event loop sends to Redis: a connection to each server, the batch of a turn, answers."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from gateway_layer.channels.entries import Packer
from gateway_layer.channels.loan import Loan
from gateway_layer.channels.mailbox import now_ms
from gateway_layer.channels.options import Host
from gateway_layer.channels.plain import read_script
from gateway_layer.channels.unanswered import Unanswered
from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.redis.pipe import Pipe
from gateway_layer.redis.protocol import OnReply, Reply, resolve
from gateway_layer.redis.resp import pack_command

_WITHDRAW: Final = read_script("withdraw")

_MULTI: Final = pack_command("MULTI")
_EXEC: Final = pack_command("EXEC")

_CONNECT_S: Final = 5.0
_AT_ONCE: Final = 500

Send = tuple[bytes, "asyncio.Future[Any]"]


class Writing:
    """The part of `LoopState` that writes.

    Attributes:
        loop: Where it runs.
        packer: Packs entries and payloads.
        unanswered: What was sent and nobody waits for.
    """

    def __init__(self, hosts: list[Host], shard_of: Callable[[str], int], expiry_ms: int) -> None:
        """Begin in the running loop; connections are made when they are needed."""
        self.loop: Final = asyncio.get_running_loop()
        self.packer: Final = Packer()
        self.unanswered: Final = Unanswered()
        self._hosts = hosts
        self._shard_of = shard_of
        self._expiry_ms = expiry_ms
        self._writers: dict[int, Pipe] = {}
        self._collecting = False
        self._loan: Loan | None = None  # of the connection to the only host
        self._turn: dict[tuple[int, bytes, int], list[Send]] = {}

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
            await pipe.wait_connected(_CONNECT_S)
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
        answer: asyncio.Future[Any] = self.loop.create_future()
        if self._is_first():
            self._send(shard, key, capacity, [(entry, answer)])
        else:
            self._turn.setdefault((shard, key, capacity), []).append((entry, answer))
        taken = await answer
        if isinstance(taken, Exception):
            raise as_unavailable(taken)
        return bool(taken)

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
        release: Callable[[], None] | None = None

        def on_queued(reply: Reply) -> None:
            if isinstance(reply, Exception):
                _settle(sends, reply)  # EXEC would only say that something was refused

        def on_back(back: Reply | LayerUnavailable) -> None:
            _settle(sends, len(sends) - back if isinstance(back, int) else back)

        def on_done(done: Reply) -> None:
            if release is not None:
                release()
            length = done[0] if isinstance(done, list) else done
            if isinstance(length, int) and length > capacity:
                entries = [entry for entry, _answer in sends]
                self.withdraw(pipe, key, capacity, entries, on_back)
            else:
                _settle(sends, length if isinstance(length, Exception) else len(sends))

        try:
            check_process()
            push = pack_command("RPUSH", key, *[entry for entry, _ in sends])
            expire = pack_command("PEXPIRE", key, self._expiry_ms)
            commands = _MULTI + push + expire + _EXEC
            on_replies = None, on_queued, None, on_done
            if self._loan is not None:
                release = self._loan.write_all(pipe, commands, on_replies)
            if release is None:
                pipe.write_all(commands, on_replies)
                pipe.flush()
        except LayerUnavailable as error:
            _settle(sends, error)

    def withdraw(
        self,
        pipe: Pipe,
        key: bytes,
        capacity: int,
        entries: list[bytes],
        on_back: Callable[[Reply | LayerUnavailable], None],
    ) -> None:
        """Take back what there was no room for, the last one first; `on_back` gets how many."""
        head = ("EVAL", _WITHDRAW, 1, key, now_ms(), capacity)
        try:
            self.post(pipe, pack_command(*head, *reversed(entries)), on_back)
        except LayerUnavailable as error:
            on_back(error)

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
        check_process()
        answer: asyncio.Future[Reply] = self.loop.create_future()
        pipe.write(command, resolve(answer))
        if self._is_first():
            pipe.flush()
        reply = await answer
        if isinstance(reply, Exception):
            raise as_unavailable(reply)
        return reply

    def may_go_on(self, pipe: Pipe) -> bool:
        """Whether a sender may leave the answer to what it sends to a callback of `post`."""
        return not (self.unanswered.full or pipe.paused or pipe.held)

    def post(self, pipe: Pipe, command: bytes, on_answer: OnReply) -> None:
        """Send a packed command now; the connections stay until it is answered, or lost.

        Raises:
            LayerUnavailable: Not connected, or this process may count as dead.
        """

        def on_reply(reply: Reply) -> None:
            try:
                on_answer(reply)
            finally:
                self.unanswered.end()

        check_process()
        pipe.write(command, on_reply)
        self.unanswered.begin()
        pipe.flush()  # now: a process that is killed in its next turn has sent it

    async def _close_writers(self) -> None:
        for send in [send for sends in self._turn.values() for send in sends]:
            _settle([send], LayerUnavailable("the channel layer was closed"))
        self._turn = {}
        for pipe in self._writers.values():
            await pipe.close()


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
