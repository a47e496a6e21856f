"""`Push`: send to connections and groups from any asyncio program."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final

from gateway_layer.codec import Message
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConnectionGone, GatewayError, LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.names import new_pid
from gateway_layer.push.requests import (
    ConnectionInfo,
    Owners,
    Request,
    add_request,
    channels_of,
    close_event,
    discard_request,
    errors_of,
    group_list_request,
    group_results,
    group_send_request,
    info_of,
    info_request,
    outcome_of,
    push_request,
    push_requests,
    read_answers,
    script_calls,
    script_error,
    send_event,
    timed_out,
)
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.keys import Keys
from gateway_layer.redis.pipe import Pipe, RedisReplyError
from gateway_layer.redis.protocol import resolve
from gateway_layer.redis.resp import pack_command
from gateway_layer.wire import envelope_head

_log = logging.getLogger("gateway.push")

_READ_BLOCK_S: Final = 1
_READ_COUNT: Final = 64
_SLICES: Final = 2
"""Slices of `send_many` under way: the owner works on one while the next is on its way."""

_Asked = tuple[str, int, asyncio.Future[Any]]
"""(pid of the owner, number of the request, its result or error)."""


class Push:
    """Pushes to connections and groups; an async context manager.

        async with Push("redis://127.0.0.1:6379/0") as push:
            await push.send(reply_channel, text="hello")

    One instance serves any number of tasks of one event loop. Requests of one turn of the loop
    travel together. Every call waits for the owner's answer, at most `timeout_s`; a cancelled call
    may still be carried out. It holds two connections to Redis, no inbox and no lease.
    """

    def __init__(
        self,
        redis: str = "redis://127.0.0.1:6379/0",
        *,
        namespace: str = "gw",
        timeout_s: float = 5.0,
    ) -> None:
        """Prepare; entering the context connects.

        Args:
            redis: URL as in `--redis`.
            namespace: As in `--namespace`.
            timeout_s: How long one call waits, in seconds.

        Raises:
            ConfigError: The URL or the namespace cannot be used.
        """
        config = LayerConfig(redis=redis, namespace=namespace)
        address = parse_address(config.redis)
        self._id: Final = new_pid()
        self._head: Final = envelope_head(self._id)
        self._keys: Final = Keys(config.namespace)
        self._timeout_s: Final = timeout_s
        self._writer: Final = Pipe(address, name="push-write")
        self._reader: Final = Pipe(
            address,
            name="push-read",
            blocking_s=_READ_BLOCK_S,
            on_connected=lambda _server: self._read(),
        )
        self._read_command: Final = pack_command(
            "BLMPOP", _READ_BLOCK_S, 1, self._keys.replies(self._id), "LEFT", "COUNT", _READ_COUNT
        )
        self._reading = False
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._turn: dict[str, list[tuple[int, bytes]]] = {}
        self._owners: Final = Owners()

    async def __aenter__(self) -> "Push":
        """Connect.

        Raises:
            LayerUnavailable: Redis cannot be reached within `timeout_s`.
        """
        self._writer.start()
        self._reader.start()
        try:
            await self._writer.wait_connected(self._timeout_s)
            await self._reader.wait_connected(self._timeout_s)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self.aclose()

    async def aclose(self) -> None:
        """Disconnect; calls under way raise LayerUnavailable."""
        for waiting in list(self._waiting.values()):
            _settle(waiting, LayerUnavailable("the push client was closed"))
        await self._writer.close()
        await self._reader.close()

    # One connection.

    async def send(
        self,
        reply_channel: str,
        *,
        text: str | None = None,
        bytes: bytes | None = None,
        json: Any = None,
        confirm: bool = False,
        idempotency_key: str | None = None,
    ) -> None:
        """Send one message to a client's WebSocket.

        Args:
            reply_channel: `scope["extensions"]["gateway"]["reply_channel"]` of the connection.
            text: A text message.
            bytes: A binary message.
            json: A value that becomes a text message.
            confirm: Wait until the kernel of the interface server's machine has the bytes.
            idempotency_key: At most 128 characters. A repetition within 60 s is answered as the
                first was, and sent only once.

        Raises:
            ConnectionGone: The connection does not exist; nothing was sent.
            ChannelFull: The client, or its interface server, takes less than is pushed.
            PushTimeout: Its interface server did not answer; the message may have been sent.
            LayerUnavailable: Redis cannot be reached.
            TypeError: Not a reply channel, or not exactly one of text, bytes and json.
            MessageTooLarge: Over 16 MiB.
        """
        event = send_event(text, bytes, json)
        await self._ask(push_request(reply_channel, event, idempotency_key, confirm=confirm))

    async def close(self, reply_channel: str, code: int = 1000, reason: str = "") -> None:
        """Close a client's WebSocket; its application sees `websocket.disconnect` with the code.

        Raises:
            ConnectionGone: It does not exist (any more).
            ValueError: A code that may not be sent, or a reason over 123 bytes.
            PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        await self._ask(push_request(reply_channel, close_event(code, reason)))

    async def send_many(self, pushes: Iterable[tuple[str, Message]]) -> list[GatewayError | None]:
        """Send many messages, in few Redis commands; at most some 2,000 are under way at once.

        Args:
            pushes: (reply channel, event): `{"type": "websocket.send", "text": str}`, or with
                `bytes`, or `websocket.close` with `code` and `reason`.

        Returns:
            For each push, in order, None or the error that `send` would have raised. Those to
            one connection arrive in order.

        Raises:
            TypeError, ValueError: One of them is none; then nothing was sent.
        """
        slices = list(push_requests(pushes))
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
        return errors_of(results)

    async def info(self, reply_channel: str) -> ConnectionInfo:
        """Return what is known of a connection.

        Raises:
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        payload = await self._ask(info_request(reply_channel))
        return info_of(reply_channel, payload)

    # Groups.

    async def group_add(self, group: str, reply_channel: str) -> None:
        """Let a connection join a group; every group send after this returned reaches it.

        Raises:
            TypeError: Not a group name, or not a reply channel.
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable: As for `send`.
        """
        await self._ask(add_request(group, reply_channel))

    async def group_discard(self, group: str, reply_channel: str) -> None:
        """Let a connection leave a group; leaving what it never joined is nothing.

        Raises:
            TypeError, PushTimeout, ChannelFull, LayerUnavailable: As for `group_add`.
        """
        try:
            await self._ask(discard_request(group, reply_channel))
        except ConnectionGone:
            return

    async def group_send(
        self,
        group: str,
        *,
        text: str | None = None,
        bytes: bytes | None = None,
        json: Any = None,
        exclude: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> int:
        """Send one message to every member of a group: one Redis entry a process.

        Args:
            group: 1 to 99 ASCII letters, digits, `-`, `_`, `.`.
            text: A text message.
            bytes: A binary message.
            json: A value that becomes a text message.
            exclude: Reply channels that do not get it.
            idempotency_key: As for `send`.

        Returns:
            How many connections it was written to. Slow ones do not hold up the others.

        Raises:
            LayerUnavailable: Redis cannot be reached.
            TypeError, MessageTooLarge: As for `send`. Owners that do not answer are left out.
        """
        event = send_event(text, bytes, json)
        request = group_send_request(group, event, exclude, idempotency_key)
        return sum(count for _pid, count in await self._ask_group(group, request))

    async def connections(self, group: str) -> list[str]:
        """Return the reply channels of all members of a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return channels_of(await self._ask_group(group, group_list_request(group)))

    async def count(self, group: str) -> int:
        """Return how many connections are in a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return len(await self.connections(group))

    async def _ask_group(self, group: str, request: Request) -> list[tuple[str, Any]]:
        """Ask every process that has members; those that are gone have none any more."""
        # Never cached: an add that has returned must be seen.
        keys = self._keys
        registered, data_id, live = await self._fetch(
            ("ZRANGE", keys.group(group), 0, -1),
            ("GET", keys.incarnation),
            ("ZRANGE", keys.alive, 0, -1),
        )
        now = asyncio.get_running_loop().time()
        asked, besides = self._owners.take_in(registered, data_id, live, now)
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

    # Requests.

    async def _ask(self, request: Request) -> Any:
        (result,) = await self._gather([self._begin(request)])
        if isinstance(result, GatewayError):
            raise result
        return result

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
        elif (error := script_error(reply, pid)) is not None:
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
