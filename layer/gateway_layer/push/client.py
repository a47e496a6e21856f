"""`Push`: send to connections and groups from any asyncio program."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final

from gateway_layer.codec import Message
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConnectionGone, GatewayError
from gateway_layer.push.events import close_event, send_event
from gateway_layer.push.requester import Requester
from gateway_layer.push.requests import (
    ConnectionInfo,
    add_request,
    channels_of,
    discard_request,
    errors_of,
    group_list_request,
    group_send_request,
    info_of,
    info_request,
    push_request,
    push_requests,
)
from gateway_layer.redis.address import parse_address


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
        self._requester: Final = Requester(address, config.namespace, timeout_s)

    async def __aenter__(self) -> "Push":
        """Connect.

        Raises:
            LayerUnavailable: Redis cannot be reached within `timeout_s`.
        """
        self._requester.start()
        try:
            await self._requester.wait_connected()
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
        await self._requester.aclose()

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
            LayerUnavailable: Redis cannot be reached, or has just lost what it knew: retry.
            TypeError: Not a reply channel, or not exactly one of text, bytes and json.
            MessageTooLarge: Over 16 MiB.
        """
        event = send_event(text, bytes, json)
        await self._requester.ask(
            push_request(reply_channel, event, idempotency_key, confirm=confirm)
        )

    async def close(self, reply_channel: str, code: int = 1000, reason: str = "") -> None:
        """Close a client's WebSocket; its application sees `websocket.disconnect` with the code.

        Raises:
            ConnectionGone: It does not exist (any more).
            ValueError: A code that may not be sent, or a reason over 123 bytes.
            PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        await self._requester.ask(push_request(reply_channel, close_event(code, reason)))

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
        return errors_of(await self._requester.ask_many(list(push_requests(pushes))))

    async def info(self, reply_channel: str) -> ConnectionInfo:
        """Return what is known of a connection.

        Raises:
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        payload = await self._requester.ask(info_request(reply_channel))
        return info_of(reply_channel, payload)

    # Groups.

    async def group_add(self, group: str, reply_channel: str) -> None:
        """Let a connection join a group; every group send after this returned reaches it.

        Raises:
            TypeError: Not a group name, or not a reply channel.
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable: As for `send`.
        """
        await self._requester.ask(add_request(group, reply_channel))

    async def group_discard(self, group: str, reply_channel: str) -> None:
        """Let a connection leave a group; leaving what it never joined is nothing.

        Raises:
            TypeError, PushTimeout, ChannelFull, LayerUnavailable: As for `group_add`.
        """
        try:
            await self._requester.ask(discard_request(group, reply_channel))
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
        return sum(count for _pid, count in await self._requester.ask_group(group, request))

    async def connections(self, group: str) -> list[str]:
        """Return the reply channels of all members of a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return channels_of(await self._requester.ask_group(group, group_list_request(group)))

    async def count(self, group: str) -> int:
        """Return how many connections are in a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return len(await self.connections(group))
