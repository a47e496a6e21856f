"""What one event loop sends to Redis: a connection to each server, the batch of a turn, answers."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from gateway_layer.channels.appending import Append, OnBack, Send, settle
from gateway_layer.channels.entries import Packer
from gateway_layer.channels.loan import Loan
from gateway_layer.channels.mailbox import now_ms
from gateway_layer.channels.options import Host
from gateway_layer.channels.plain import read_script
from gateway_layer.channels.routes import Route
from gateway_layer.channels.unanswered import Unanswered
from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.redis.pipe import Pipe
from gateway_layer.redis.protocol import OnReply, Reply, resolve
from gateway_layer.redis.resp import pack_command

_WITHDRAW: Final = read_script("withdraw")

_CONNECT_S: Final = 5.0
_AT_ONCE: Final = 500


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
        self._loan: Loan | None = None  # of the connection to the only host
        self._turn: dict[tuple[Route, int], list[Send]] = {}

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

    async def append(self, route: Route, capacity: int, entry: bytes) -> bool:
        """Append an entry to a channel's list.

        What meets nothing under way leaves at once; else with the others of this turn of the loop.

        Returns:
            Whether the list had room for it.

        Raises:
            LayerUnavailable: Redis cannot be reached, or was lost before it answered.
        """
        pipe = self._writers.get(route.shard)
        if pipe is None or not pipe.connected:
            pipe = await self.writer_of(route.shard)
        answer: asyncio.Future[Any] = self.loop.create_future()
        if pipe.idle and not self._turn:
            self._send(route, capacity, [(entry, answer)])
        else:
            if not self._turn:
                self.loop.call_soon(self._flush)
            self._turn.setdefault((route, capacity), []).append((entry, answer))
        taken = await answer
        if isinstance(taken, Exception):
            raise as_unavailable(taken)
        return bool(taken)

    def _flush(self) -> None:
        """Send what came in this turn: one command for a list and 500 messages."""
        turn, self._turn = self._turn, {}
        for (route, capacity), sends in turn.items():
            for start in range(0, len(sends), _AT_ONCE):
                self._send(route, capacity, sends[start : start + _AT_ONCE])

    def _send(self, route: Route, capacity: int, sends: list[Send]) -> None:
        append = Append(route, capacity, sends, self.withdraw)
        append.write(self._writers[route.shard], self._loan)

    def withdraw(
        self,
        pipe: Pipe,
        key: bytes,
        capacity: int,
        entries: list[bytes],
        on_back: OnBack,
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
        alone = pipe.idle
        pipe.write(command, resolve(answer))
        if alone:
            pipe.flush()  # who waits for the answer waits a turn less
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
            settle([send], LayerUnavailable("the channel layer was closed"))
        self._turn = {}
        for pipe in self._writers.values():
            await pipe.close()


def as_unavailable(error: Exception) -> LayerUnavailable:
    """Return what to raise for a command that was not carried out, or nobody knows."""
    if isinstance(error, LayerUnavailable):
        return error
    refused = LayerUnavailable(f"Redis refused: {error}")
    refused.__cause__ = error
    return refused
