"""Asks the owners of connections, and waits for their answers: what `Push` is made of."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from gateway_layer.errors import GatewayError, LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.names import new_pid
from gateway_layer.push.owners import Owners
from gateway_layer.push.requests import (
    Request,
    group_results,
    outcome_of,
    read_answers,
    script_calls,
    timed_out,
)
from gateway_layer.redis.address import RedisAddress
from gateway_layer.redis.keys import Keys
from gateway_layer.redis.pipe import Pipe, RedisReplyError
from gateway_layer.redis.protocol import resolve
from gateway_layer.redis.resp import pack_command
from gateway_layer.wire import envelope_head

_log = logging.getLogger("gateway.push")

_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.05, 2.0
_READ_BLOCK_S: Final = 1
_READ_COUNT: Final = 64
_SLICES: Final = 2
"""Slices of `ask_many` under way: the owner works on one while the next is on its way."""

_Asked = tuple[str, int, asyncio.Future[Any]]
"""(pid of the owner, number of the request, its result or error)."""


class Requester:
    """Two connections to Redis, and the requests of one event loop that wait for an answer."""

    def __init__(
        self,
        address: RedisAddress,
        namespace: str,
        timeout_s: float,
        owners: Owners | None = None,
    ) -> None:
        """Prepare; `start` connects.

        Args:
            address: Of the gateway's Redis.
            namespace: Of the gateway.
            timeout_s: How long one request waits, in seconds.
            owners: What is known already, by other event loops.
        """
        self._id: Final = new_pid()
        self._head: Final = envelope_head(self._id)
        self._keys: Final = Keys(namespace)
        self._timeout_s: Final = timeout_s
        self._writer: Final = Pipe(
            address,
            name="push-write",
            on_connected=lambda _server: self._on_connected(),
        )
        self._reader: Final = Pipe(
            address,
            name="push-read",
            blocking_s=_READ_BLOCK_S,
            on_connected=lambda _server: self._read(),
        )
        self._read_command: Final = pack_command(
            "BLMPOP", _READ_BLOCK_S, 1, self._keys.replies(self._id), "LEFT", "COUNT", _READ_COUNT
        )
        self._looking: asyncio.TimerHandle | None = None
        self._reading = False
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._turn: dict[str, list[tuple[int, bytes]]] = {}
        self._owners: Final = owners or Owners()

    def start(self) -> None:
        """Begin to connect, and again whenever a connection is lost; called once."""
        self._writer.start()
        self._reader.start()

    async def wait_connected(self) -> None:
        """Wait until requests can be sent.

        Raises:
            LayerUnavailable: Redis cannot be reached within the time-out.
        """
        await self._writer.wait_connected(self._timeout_s)
        await self._reader.wait_connected(self._timeout_s)

    def _on_connected(self) -> None:
        if self._writer.stats.reconnects:
            self._owners.redis_was_away(time.monotonic())
        self._look(_FIRST_LOOK_S)

    def _look(self, next_look_s: float) -> None:
        """See which data Redis has, as soon as there is a gateway: a loss is noticed by that."""

        def on_data_id(reply: Any) -> None:
            if reply.__class__ is bytes:
                self._owners.see(reply, time.monotonic())
            elif reply is None and not self._owners.seen:
                later_s = min(next_look_s * 2, _LONGEST_LOOK_S)
                loop = asyncio.get_running_loop()
                self._looking = loop.call_later(next_look_s, self._look, later_s)

        self._looking = None
        if self._writer.connected:
            self._writer.write(pack_command("GET", self._keys.incarnation), on_data_id)

    async def aclose(self) -> None:
        """Disconnect; requests under way get LayerUnavailable."""
        for waiting in list(self._waiting.values()):
            _settle(waiting, LayerUnavailable("the push client was closed"))
        await self._writer.close()
        await self._reader.close()
        if self._looking is not None:
            self._looking.cancel()

    # Requests.

    async def ask(self, request: Request) -> Any:
        """Return the payload of the answer, or raise the error that it means."""
        (result,) = await self._gather([self._begin(request)])
        if isinstance(result, GatewayError):
            raise result
        return result

    async def ask_many(self, slices: Sequence[Sequence[Request]]) -> list[Any]:
        """Return the payload or the error for each request, in order; two slices are under way."""
        under_way: deque[list[_Asked]] = deque()
        results: list[Any] = []
        try:
            for requests in slices:
                if len(under_way) == _SLICES:
                    results += await self._gather(under_way.popleft())
                under_way.append([self._begin(request) for request in requests])
            while under_way:
                results += await self._gather(under_way.popleft())
        finally:
            for asked in under_way:
                self._give_up(asked)
        return results

    async def ask_group(self, group: str, request: Request) -> list[tuple[str, Any]]:
        """Ask every process that has members; those that are gone have none any more.

        Args:
            group: A name.
            request: To each of them; its pid is replaced.

        Returns:
            (pid, payload) of those that answered in time.
        """
        # Never cached: an add that has returned must be seen.
        keys = self._keys
        registered, data_id, live = await self._fetch(
            ("ZRANGE", keys.group(group), 0, -1),
            ("GET", keys.incarnation),
            ("ZRANGE", keys.alive, 0, -1),
        )
        asked, besides = self._owners.take_in(registered, data_id, live, time.monotonic())
        for pid in besides:
            self._enqueue(pid, 0, request.packed(None))
        answers = await self._gather([self._begin(request._replace(pid=pid)) for pid in asked])
        return group_results(zip(asked, answers, strict=True))

    async def _fetch(self, *commands: tuple[bytes | str | int, ...]) -> list[Any]:
        """Send commands in one write and wait for their replies."""
        loop = asyncio.get_running_loop()
        replies: list[asyncio.Future[Any]] = []
        for command in commands:
            replies.append(loop.create_future())
            self._writer.write(pack_command(*command), resolve(replies[-1]))
        _done, late = await asyncio.wait(replies, timeout=self._timeout_s)
        if late:
            raise LayerUnavailable(f"Redis did not answer within {self._timeout_s:g} s")
        results = [reply.result() for reply in replies]
        for result in results:
            if isinstance(result, Exception):
                raise _as_unavailable(result)
        return results

    def _begin(self, request: Request) -> _Asked:
        """Put one request among those of this turn."""
        self._number += 1
        number = self._number
        packed = request.packed((self._id, number))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._enqueue(request.pid, number, packed)
        return request.pid, number, answer

    def _enqueue(self, pid: str, number: int, packed: bytes) -> None:
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._flush)
        self._turn.setdefault(pid, []).append((number, packed))

    async def _gather(self, asked: list[_Asked]) -> list[Any]:
        """Wait for answers; results and errors, in order."""
        self._read()
        futures = [answer for _pid, _number, answer in asked]
        try:
            if futures:
                await asyncio.wait(futures, timeout=self._timeout_s)
            return [
                answer.result() if answer.done() else timed_out(pid, self._timeout_s)
                for pid, _number, answer in asked
            ]
        finally:
            self._give_up(asked)

    def _give_up(self, asked: list[_Asked]) -> None:
        """Wait for these answers no more."""
        for _pid, number, _answer in asked:
            self._waiting.pop(number, None)

    def _flush(self) -> None:
        """Send this turn's requests, all for one process in one script call where they fit."""
        turn, self._turn = self._turn, {}
        for pid, requests in turn.items():
            numbers = [number for number, _packed in requests]
            frames = [packed for _number, packed in requests]
            for count, command in script_calls(self._keys, self._head, pid, frames):
                carried, numbers = numbers[:count], numbers[count:]
                try:
                    check_process()
                    self._writer.write(
                        pack_command(*command), partial(self._on_pushed, pid, carried)
                    )
                except LayerUnavailable as error:
                    self._fail(carried, error)

    def _on_pushed(self, pid: str, numbers: list[int], reply: Any) -> None:
        if isinstance(reply, Exception):
            self._fail(numbers, _as_unavailable(reply))
        elif (error := self._owners.error_of(reply, pid, time.monotonic())) is not None:
            self._fail(numbers, error)

    def _fail(self, numbers: Iterable[int], error: GatewayError) -> None:
        for number in numbers:
            waiting = self._waiting.get(number)
            if waiting is not None:
                _settle(waiting, error)

    # Answers.

    def _read(self) -> None:
        """Read answers for as long as somebody waits for one."""
        if self._reading or not self._waiting or not self._reader.connected:
            return
        self._reading = True
        self._reader.write(self._read_command, self._on_answers)

    def _on_answers(self, reply: Any) -> None:
        self._reading = False
        if reply.__class__ is list:
            for raw in reply[1]:
                self._take_in(raw)
        elif isinstance(reply, RedisReplyError):
            # Reading on would be refused at once again, for as long as anybody waits.
            self._fail(list(self._waiting), _as_unavailable(reply))
            return
        self._read()

    def _take_in(self, raw: bytes) -> None:
        try:
            answers = read_answers(raw)
        except GatewayError as error:
            _log.warning("an answer that cannot be read: %s", error)
            return
        for number, status, payload in answers:
            waiting = self._waiting.get(number)
            if waiting is not None:
                _settle(waiting, outcome_of(status, payload))


def _as_unavailable(error: Exception) -> LayerUnavailable:
    if isinstance(error, LayerUnavailable):
        return error
    return LayerUnavailable(f"Redis refused: {error}")


def _settle(waiting: asyncio.Future[Any], result: Any) -> None:
    """Give a result, or an error as a result: nobody may be there to take an exception."""
    if not waiting.done():
        waiting.set_result(result)
