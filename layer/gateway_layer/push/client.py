"""`Push`: send to connections and groups from any asyncio program."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final

from gateway_layer.codec import Message, pack
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConnectionGone, GatewayError, LayerUnavailable
from gateway_layer.groups import check_group
from gateway_layer.names import new_pid
from gateway_layer.push.frames import (
    GROUP_ADD,
    GROUP_DISCARD,
    GROUP_LIST,
    GROUP_SEND,
    INFO,
    PUSH,
    PUSH_CAPACITY,
)
from gateway_layer.push.requests import (
    PUSH_SCRIPT,
    ConnectionInfo,
    close_event,
    info_of,
    read_answers,
    result_of,
    script_error,
    send_event,
    split_reply_channel,
    timed_out,
)
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.keys import PUSH_TTL_S, Keys
from gateway_layer.redis.pipe import Pipe, RedisReplyError
from gateway_layer.redis.resp import pack_command
from gateway_layer.wire import envelope_head, split_frames, write_entry

_log = logging.getLogger("gateway.push")

_READ_BLOCK_S: Final = 1
_READ_COUNT: Final = 64


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
        await self._push(reply_channel, event, idempotency_key, confirm)

    async def close(self, reply_channel: str, code: int = 1000, reason: str = "") -> None:
        """Close a client's WebSocket; its application sees `websocket.disconnect` with the code.

        Raises:
            ConnectionGone: It does not exist (any more).
            ValueError: A code that may not be sent, or a reason over 123 bytes.
            PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        await self._push(reply_channel, close_event(code, reason), None, confirm=False)

    async def _push(
        self, reply_channel: str, event: Message, key: str | None, confirm: bool
    ) -> None:
        pid, connection = split_reply_channel(reply_channel)
        await self._ask(pid, connection, PUSH, event, key, confirm)

    async def send_many(self, pushes: Iterable[tuple[str, Message]]) -> list[GatewayError | None]:
        """Send many messages, in few Redis commands.

        Args:
            pushes: (reply channel, event), the event as `requests.send_event` makes it:
                `{"type": "websocket.send", "text": str}` or with `bytes`.

        Returns:
            For each push, in order, None or the error that `send` would have raised.
        """
        asked = []
        for reply_channel, event in pushes:
            pid, connection = split_reply_channel(reply_channel)
            asked.append(self._begin(pid, connection, PUSH, event, None, False))
        done = await self._gather(asked)
        return [result if isinstance(result, GatewayError) else None for result in done]

    async def info(self, reply_channel: str) -> ConnectionInfo:
        """Return what is known of a connection.

        Raises:
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        pid, connection = split_reply_channel(reply_channel)
        payload = await self._ask(pid, connection, INFO)
        return info_of(reply_channel, payload)

    # Groups.

    async def group_add(self, group: str, reply_channel: str) -> None:
        """Let a connection join a group; every group send after this returned reaches it.

        Raises:
            TypeError: Not a group name, or not a reply channel.
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable: As for `send`.
        """
        await self._change(GROUP_ADD, group, reply_channel)

    async def group_discard(self, group: str, reply_channel: str) -> None:
        """Let a connection leave a group; leaving what it never joined is nothing.

        Raises:
            TypeError, PushTimeout, ChannelFull, LayerUnavailable: As for `group_add`.
        """
        try:
            await self._change(GROUP_DISCARD, group, reply_channel)
        except ConnectionGone:
            return

    async def _change(self, op: int, group: str, reply_channel: str) -> None:
        check_group(group)
        pid, connection = split_reply_channel(reply_channel)
        await self._ask(pid, connection, op, group)

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
        left_out = tuple(split_reply_channel(channel)[1] for channel in exclude)
        counts = await self._ask_group(group, GROUP_SEND, event, left_out, idempotency_key)
        return sum(count for _pid, count in counts)

    async def connections(self, group: str) -> list[str]:
        """Return the reply channels of all members of a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        lists = await self._ask_group(group, GROUP_LIST)
        return [f"{pid}!{connection}" for pid, members in lists for connection in members]

    async def count(self, group: str) -> int:
        """Return how many connections are in a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return len(await self.connections(group))

    async def _ask_group(self, group: str, op: int, *rest: object) -> list[tuple[str, Any]]:
        """Ask every process that has members; those that are gone have none any more."""
        key = self._keys.group(check_group(group))
        # Never cached: an add that has returned must be seen.
        members: Any = await self._writer.execute("ZRANGE", key, 0, -1)
        pids = [pid.decode("ascii", "replace") for pid in members]
        answers = await self._gather([self._begin(pid, "", op, group, *rest) for pid in pids])
        for answer in answers:
            if isinstance(answer, LayerUnavailable):
                raise answer
        return [
            (pid, answer)
            for pid, answer in zip(pids, answers, strict=True)
            if not isinstance(answer, GatewayError)
        ]

    # Requests.

    async def _ask(self, pid: str, connection: str, op: int, *rest: object) -> Any:
        (result,) = await self._gather([self._begin(pid, connection, op, *rest)])
        if isinstance(result, GatewayError):
            raise result
        return result

    def _begin(
        self, pid: str, connection: str, op: int, *rest: object
    ) -> tuple[str, int, asyncio.Future[Any]]:
        """Put one request, `[connection, op, reply, *rest]`, among those of this turn."""
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._flush)
        self._number += 1
        number = self._number
        packed = pack((connection, op, (self._id, number), *rest))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._turn.setdefault(pid, []).append((number, packed))
        return pid, number, answer

    async def _gather(self, asked: list[tuple[str, int, asyncio.Future[Any]]]) -> list[Any]:
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
            for _pid, number, _answer in asked:
                self._waiting.pop(number, None)

    def _flush(self) -> None:
        """Send this turn's requests: one script call a process and 1,024 requests."""
        turn, self._turn = self._turn, {}
        for pid, requests in turn.items():
            numbers = [number for number, _packed in requests]
            runs = split_frames([packed for _number, packed in requests])
            entries = [write_entry(self._head, None, run) for run in runs]
            command = pack_command(
                "EVAL",
                PUSH_SCRIPT,
                2,
                self._keys.lease(pid),
                self._keys.pushes(pid),
                PUSH_TTL_S,
                PUSH_CAPACITY,
                *entries,
            )
            try:
                self._writer.write(command, partial(self._on_pushed, pid, numbers))
            except LayerUnavailable as error:
                self._fail(numbers, error)

    def _on_pushed(self, pid: str, numbers: list[int], reply: Any) -> None:
        error: GatewayError | None
        if isinstance(reply, RedisReplyError):
            error = LayerUnavailable(f"Redis refused the push: {reply}")
        elif isinstance(reply, GatewayError):
            error = reply
        else:
            error = script_error(reply, pid)
        if error is not None:
            self._fail(numbers, error)

    def _fail(self, numbers: list[int], error: GatewayError) -> None:
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
        self._read()

    def _take_in(self, raw: bytes) -> None:
        try:
            answers = read_answers(raw)
        except (GatewayError, TypeError) as error:
            _log.warning("an answer that cannot be read: %s", error)
            return
        for number, status, payload in answers:
            waiting = self._waiting.get(number)
            if waiting is None:
                continue
            try:
                _settle(waiting, result_of(status, payload))
            except GatewayError as error:
                _settle(waiting, error)


def _settle(waiting: asyncio.Future[Any], result: Any) -> None:
    """Give a result, or an error as a result: nobody may be there to take an exception."""
    if not waiting.done():
        waiting.set_result(result)
