"""WebSocket consumers, synchronous and asynchronous, of texts and bytes or of JSON."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from asgiref.sync import async_to_sync

from gateway_worker.apps import Receive, Scope, Send
from gateway_worker.consumers.consumer import AsyncConsumer, BaseConsumer, SyncConsumer
from gateway_worker.consumers.dispatch import Message
from gateway_worker.consumers.errors import (
    AcceptConnection,
    DenyConnection,
    InvalidChannelLayerError,
    StopConsumer,
    also_of_channels,
)

Headers = Iterable[tuple[bytes, bytes]]


class _GroupMember(BaseConsumer):
    """A consumer that is a member of its groups from its connection on, until it is over.

    Attributes:
        groups: Names of the groups; of a class or of an instance.
        resumable: Whether another instance may go on with an open WebSocket when this one's worker
            stops or dies: the client keeps its socket, the new instance gets the scope and
            `websocket.connect`, and what it accepts is not sent again. For consumers that keep
            nothing in their attributes that they could not find again.
    """

    groups: Sequence[str] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take whatever `as_asgi` was given."""
        if self.groups is None:
            self.groups = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run as any consumer; leave the groups, however it ends."""
        self._joined: list[str] = []
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave_groups()

    async def _join_groups(self) -> None:
        groups = self.groups or ()
        if groups and not hasattr(self.channel_layer, "group_add"):
            raise InvalidChannelLayerError(
                f"{type(self).__qualname__} is a member of groups, which need a channel layer with"
                f" groups: the layer of {self.channel_layer_alias!r} is {self.channel_layer!r}"
            )
        for group in groups:
            await self.channel_layer.group_add(group, self.channel_name)
            self._joined.append(group)

    async def _leave_groups(self) -> None:
        while self._joined:
            await self.channel_layer.group_discard(self._joined.pop(), self.channel_name)


def _accept_message(consumer: _GroupMember, subprotocol: str | None, headers: Headers) -> Message:
    message: Message = {"type": "websocket.accept", "subprotocol": subprotocol}
    if headers:
        message["headers"] = list(headers)
    if consumer.resumable:
        message["resume"] = True
    return message


def _send_message(text_data: str | None, bytes_data: bytes | None) -> Message:
    if text_data is not None:
        return {"type": "websocket.send", "text": text_data}
    if bytes_data is not None:
        return {"type": "websocket.send", "bytes": bytes_data}
    raise ValueError("You must pass one of bytes_data or text_data")


def _close_message(code: int | bool | None, reason: str | None) -> Message:
    message: Message = {"type": "websocket.close"}
    if code is not None and code is not True:
        message["code"] = code
    if reason:
        message["reason"] = reason
    return message


class AsyncWebsocketConsumer(_GroupMember, AsyncConsumer):
    """A WebSocket; override `connect`, `receive` and `disconnect`."""

    async def websocket_connect(self, message: Message) -> None:
        """Join the groups, then `connect`.

        Raises:
            InvalidChannelLayerError: There are groups, but no layer that has any.
        """
        await self._join_groups()
        try:
            await self.connect()
        except also_of_channels(AcceptConnection):
            await self.accept()
        except also_of_channels(DenyConnection):
            await self.close()

    async def connect(self) -> None:
        """Accept, or refuse with `close` or DenyConnection; by default it accepts."""
        await self.accept()

    async def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Accept the WebSocket.

        Args:
            subprotocol: One of `scope["subprotocols"]`.
            headers: (name, value), more fields of the handshake's answer.
        """
        await super().send(_accept_message(self, subprotocol, headers))

    async def websocket_receive(self, message: Message) -> None:
        """Give text or bytes of a message to `receive`."""
        if message.get("text") is not None:
            await self.receive(text_data=message["text"])
        else:
            await self.receive(bytes_data=message["bytes"])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a message of the client, which is one of text and bytes."""

    async def send(  # type: ignore[override]
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """Send text, or else bytes; waits while the client takes nothing.

        Args:
            text_data: Sent if it is not None.
            bytes_data: Sent if there is no text.
            close: Close afterwards; a number is the code.

        Raises:
            ValueError: Neither text nor bytes.
        """
        await super().send(_send_message(text_data, bytes_data))
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the WebSocket, or refuse it if it was not yet accepted.

        Args:
            code: 1000 if it is None; 3000 to 4999 are the application's own.
            reason: At most 123 bytes of UTF-8.
        """
        await super().send(_close_message(code, reason))

    async def websocket_send(self, message: Message) -> None:
        """Pass on what came by a channel layer: in its groups clients, too, are members."""
        await super().send(message)

    async def websocket_close(self, message: Message) -> None:
        """Close the WebSocket because a message of a channel layer says so."""
        await super().send(message)

    async def websocket_disconnect(self, message: Message) -> None:
        """Leave the groups, then `disconnect`, which is the end."""
        await self._leave_groups()
        await self.disconnect(message.get("code", 1005))  # ASGI WebSocket 2.5: the default
        raise StopConsumer

    async def disconnect(self, code: int) -> None:
        """The WebSocket is closed, by either side; nothing can be sent any more."""


class WebsocketConsumer(_GroupMember, SyncConsumer):
    """A WebSocket whose methods are run in a thread; override as in AsyncWebsocketConsumer."""

    def websocket_connect(self, message: Message) -> None:
        """Join the groups, then `connect`.

        Raises:
            InvalidChannelLayerError: There are groups, but no layer that has any.
        """
        if self.groups:
            async_to_sync(self._join_groups)()
        try:
            self.connect()
        except also_of_channels(AcceptConnection):
            self.accept()
        except also_of_channels(DenyConnection):
            self.close()

    def connect(self) -> None:
        """Accept, or refuse with `close` or DenyConnection; by default it accepts."""
        self.accept()

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Accept the WebSocket; arguments as of AsyncWebsocketConsumer."""
        super().send(_accept_message(self, subprotocol, headers))

    def websocket_receive(self, message: Message) -> None:
        """Give text or bytes of a message to `receive`."""
        if message.get("text") is not None:
            self.receive(text_data=message["text"])
        else:
            self.receive(bytes_data=message["bytes"])

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a message of the client, which is one of text and bytes."""

    def send(  # type: ignore[override]
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """Send text, or else bytes; arguments and errors as of AsyncWebsocketConsumer."""
        super().send(_send_message(text_data, bytes_data))
        if close:
            self.close(close)

    def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close or refuse the WebSocket; arguments as of AsyncWebsocketConsumer."""
        super().send(_close_message(code, reason))

    def websocket_send(self, message: Message) -> None:
        """Pass on what came by a channel layer: in its groups clients, too, are members."""
        super().send(message)

    def websocket_close(self, message: Message) -> None:
        """Close the WebSocket because a message of a channel layer says so."""
        super().send(message)

    def websocket_disconnect(self, message: Message) -> None:
        """Leave the groups, then `disconnect`, which is the end."""
        if self._joined:
            async_to_sync(self._leave_groups)()
        self.disconnect(message.get("code", 1005))  # ASGI WebSocket 2.5: the default
        raise StopConsumer

    def disconnect(self, code: int) -> None:
        """The WebSocket is closed, by either side; nothing can be sent any more."""


class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """A WebSocket of JSON texts; override `receive_json` instead of `receive`."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode a text for `receive_json`, which also gets `kwargs`.

        Raises:
            ValueError: Bytes, an empty text, or what is no JSON.
        """
        if not text_data:
            raise ValueError("No text section for incoming WebSocket frame!")
        await self.receive_json(await self.decode_json(text_data), **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Handle a message of the client, decoded."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send a value as JSON; `close` as of `send`."""
        await super().send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Return the value of a JSON text; to be overridden for another decoder."""
        return json.loads(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """Return a value as JSON; to be overridden for another encoder."""
        return json.dumps(content)


class JsonWebsocketConsumer(WebsocketConsumer):
    """A WebSocket of JSON texts whose methods are run in a thread."""

    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode a text for `receive_json`, which also gets `kwargs`.

        Raises:
            ValueError: Bytes, an empty text, or what is no JSON.
        """
        if not text_data:
            raise ValueError("No text section for incoming WebSocket frame!")
        self.receive_json(self.decode_json(text_data), **kwargs)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Handle a message of the client, decoded."""

    def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send a value as JSON; `close` as of `send`."""
        super().send(text_data=self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        """Return the value of a JSON text; to be overridden for another decoder."""
        return json.loads(text_data)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Return a value as JSON; to be overridden for another encoder."""
        return json.dumps(content)
