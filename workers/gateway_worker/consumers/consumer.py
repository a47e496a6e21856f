"""What all consumers are: an ASGI application whose methods handle the messages of a connection."""

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from gateway_layer.channels.borrowed import CURRENT
from gateway_worker.apps import ASGI3App, Receive, Scope, Send
from gateway_worker.consumers.database import aclose_old_connections, database_sync_to_async
from gateway_worker.consumers.dispatch import Message, await_many_dispatch, find_handler
from gateway_worker.consumers.errors import StopConsumer, also_of_channels
from gateway_worker.consumers.layers import DEFAULT_CHANNEL_LAYER, get_channel_layer


class BaseConsumer:
    """What `AsyncConsumer` and `SyncConsumer` share. One instance serves one connection.

    Attributes:
        channel_layer_alias: Which channel layer to use; None: none.
        resumable: Whether the connection may go on with another instance; see WebSocketConsumer.
        scope: Of the connection (ASGI, "Connection Scope").
        channel_layer: See `get_channel_layer`; None if there is none.
        channel_name: What others send to on the layer, so that it reaches this consumer alone;
            None without a layer.
        base_send: ASGI's `send`; in a synchronous consumer a plain function for its thread.
    """

    channel_layer_alias: ClassVar[str | None] = DEFAULT_CHANNEL_LAYER
    resumable: ClassVar[bool] = False

    scope: Scope
    base_send: Callable[[Message], Any]
    channel_layer: Any = None
    channel_name: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the messages of client and channel layer until a handler raises StopConsumer.

        Raises:
            ValueError: A message for which there is no handler.
            InvalidChannelLayerError: See `get_channel_layer`.
            LayerUnavailable: The channel layer cannot be reached.
            Exception: What a handler raises.
        """
        self.scope = scope
        self.base_send = self._make_send(send)
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        sources = [receive]
        if self.channel_layer is not None:
            connection = CURRENT.get()
            if connection is not None and self.resumable:
                connection.declare_resumable()
            self.channel_name = await self.channel_layer.new_channel()
            sources.append(functools.partial(self.channel_layer.receive, self.channel_name))
        try:
            await await_many_dispatch(sources, self.dispatch)
        except also_of_channels(StopConsumer):
            pass

    @abstractmethod
    def _make_send(self, send: Send) -> Callable[[Message], Any]:
        """Return what is to be `base_send`."""

    @abstractmethod
    async def dispatch(self, message: Message) -> None:
        """Handle one message of client or channel layer.

        Raises:
            ValueError: There is no handler for it.
            Exception: What the handler raises.
        """

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGI3App:
        """Return an ASGI 3 application that makes a consumer for each connection.

        Args:
            initkwargs: Given to the constructor each time.

        Returns:
            A coroutine function with the attributes `consumer_class` and `consumer_initkwargs`.
        """

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(**initkwargs)(scope, receive, send)

        functools.update_wrapper(app, cls, updated=())
        app.consumer_class = cls  # type: ignore[attr-defined]
        app.consumer_initkwargs = initkwargs  # type: ignore[attr-defined]
        return app


class AsyncConsumer(BaseConsumer):
    """A consumer whose handlers are coroutine functions.

    A message of type `chat.message` is given to the method `chat_message`.
    """

    def _make_send(self, send: Send) -> Send:
        return send

    async def dispatch(self, message: Message) -> None:
        """Handle one message; to be overridden for what concerns all of them."""
        await aclose_old_connections()
        try:
            await self._handle(message)
        finally:
            await aclose_old_connections()

    async def _handle(self, message: Message) -> None:
        await find_handler(self, message)(message)

    async def send(self, message: Message) -> None:
        """Send an ASGI message to the client; waits while it takes nothing."""
        await self.base_send(message)


class SyncConsumer(BaseConsumer):
    """A consumer whose handlers are plain functions, run in a thread.

    `sync_to_async`, thread-sensitive, decides in which: under a gateway worker each connection
    has one of its own, so a handler that blocks stops nobody else. Coroutine functions are called
    by `asgiref.sync.async_to_sync`, and run in the event loop of the worker.
    """

    def _make_send(self, send: Send) -> Callable[[Message], None]:
        # As a coroutine function whatever it is, since async_to_sync warns of anything else.
        async def cross(message: Message) -> None:
            await send(message)

        return async_to_sync(cross)

    async def dispatch(self, message: Message) -> None:
        """Handle one message in the thread; to be overridden for what concerns all of them."""
        await _in_thread(self, message)

    def _handle(self, message: Message) -> None:
        find_handler(self, message)(message)

    def send(self, message: Message) -> None:
        """Send an ASGI message to the client; waits while it takes nothing."""
        self.base_send(message)


@database_sync_to_async
def _in_thread(consumer: SyncConsumer, message: Message) -> None:
    consumer._handle(message)
