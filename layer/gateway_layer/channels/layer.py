"""`RedisChannelLayer`: what stands as BACKEND in CHANNEL_LAYERS of a Django Channels project."""

import asyncio
import logging
from time import time_ns
from typing import Any, ClassVar

from gateway_layer.channels.borrowed import CURRENT, Borrowed
from gateway_layer.channels.entries import (
    GROUP_MESSAGE,
    MESSAGE,
    Fanned,
    channel_full,
    read_entry,
)
from gateway_layer.channels.groups import Groups
from gateway_layer.channels.options import CLIENT, check_channel, client_of
from gateway_layer.errors import ProtocolError

_log = logging.getLogger("gateway.channels")


class RedisChannelLayer(Groups):
    """A channel layer for Django Channels 4 on Redis or Valkey >= 7.

        CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "gateway_layer.channels.RedisChannelLayer",
                "CONFIG": {"hosts": ["redis://127.0.0.1:6379/0"]},
            }
        }

    One instance serves all threads and event loops of a process, and may be made before a fork.
    Making it connects nowhere. A loop's connections end with the loop.

    Messages are delivered at most once; those of one sender to one channel in order. No message is
    lost by a cancelled `receive`, or given to two. A message that expires or finds a channel full
    is not delivered: `statistics` counts both, and the log names each full channel once.

    Attributes:
        extensions: `groups` and `flush`.
        expiry: Seconds after which an unread message is dropped.
        group_expiry: Seconds after which a membership that was not renewed ends.
        capacity: How many unread messages a channel holds.
        channel_capacity: (compiled pattern, capacity), the first that matches a name wins.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel; never waits for a reader.

        Args:
            channel: A name. A reply channel is the client: its message is `websocket.send` with
                `text` or `bytes`, or `websocket.close`.
            message: A dict of ASGI's types; it is not changed.

        Raises:
            ChannelFull: As many messages wait as the channel may hold; `channels.exceptions`' too.
            AssertionError: Not a dict, or with the key `__asgi_channel__`.
            TypeError: Not a channel's name, or a value that cannot travel; for a client, any other
                message.
            ConnectionGone, PushTimeout, MessageTooLarge: A client, as of `gateway_layer.push`.
            ValueError: A client, and the layer is on several hosts, or behind sentinels.
            LayerUnavailable: Redis cannot be reached, or was lost before it answered.
        """
        route = self._routes.of(channel)
        state = self._state()
        if route.client == CLIENT:
            await state.clients.send(channel, message)
            return
        payload = self._crypto.encrypt(state.packer.payload(message))
        if not await self._send(state, channel, route, payload):
            raise channel_full()(channel, self.get_capacity(channel))

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message to a channel.

        Several receivers of a channel, in any process, get each message once, one of them. While
        Redis cannot be reached it waits. Cancelled at any moment, it loses no message.

        Raises:
            TypeError: Not a channel's name.
            ValueError: A channel that another process made: only that one can read it; or a reply
                channel, which nobody reads.
            LayerUnavailable: Redis refuses to be read.
        """
        state = self._state()
        mailbox = state.mailbox
        # One of ours needs no look at its name: this is the hot path of every consumer.
        own = channel.__class__ is str and mailbox.marker in channel
        borrowed = None if own else self._borrowed(channel)
        if borrowed is not None:
            borrowed.asked()
        while True:
            if not own and borrowed is None:
                expires, payload = _parts(await state.receive_plain(channel))
            else:
                got = mailbox.take(channel, state.loop)
                if isinstance(got, tuple):
                    expires, payload = got
                else:
                    if own and mailbox.reader is not state:
                        state.read()
                    try:
                        expires, payload = await got
                    except asyncio.CancelledError:
                        mailbox.leave(channel, got)
                        raise
            if expires <= time_ns() // 1_000_000:
                mailbox.expired += 1
                continue
            try:
                if payload.__class__ is Fanned:
                    flat = payload.flat
                    return flat.copy() if flat else payload.message(self._crypto.read)
                return self._crypto.read(payload)
            except ProtocolError as error:
                mailbox.dropped += 1
                _log.error("a message is dropped channel=%s reason=%s", channel, error)

    def _borrowed(self, channel: str) -> Borrowed | None:
        """Return a connection's channel; None: any process may read this one."""
        client = client_of(check_channel(channel))
        if client is None:
            return None
        if client == CLIENT:
            raise ValueError(f"channel {channel!r} is a client: its consumer hears what it says")
        borrowed = self._mailbox.borrowed.get(channel)
        if borrowed is None:
            raise ValueError(f"channel {channel!r} belongs to another process")
        return borrowed

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return a new channel, `prefix.client!local`, that this process alone can receive from.

        In a gateway worker, for a connection that outlives it, the channel is the connection's:
        the first of its next instance has the name of this one's first, and so on, is in the
        same groups, and gets what this one has not handled. `receive` takes the message before
        for handled, as ASGI's does. That holds where the layer is on the gateway's own Redis.

        Raises:
            TypeError: The prefix is none, or too long for a name.
            LayerUnavailable: Redis cannot be reached.
        """
        self._look_for_fork()
        state = self._state()
        connection = CURRENT.get()
        if connection is not None:
            borrowed = await self._borrow(state, connection, prefix)
            if borrowed is not None:
                return borrowed.name
        channel = check_channel(state.mailbox.new_channel(prefix))
        # Others may make it a member of a group from now on, which only living processes are.
        await state.live()
        return channel


def _parts(raw: bytes) -> tuple[int, bytes]:
    """Return expiry and payload of a message to a plain channel; what is none has expired."""
    try:
        entry = read_entry(raw)
    except ProtocolError as error:
        _log.warning("an entry that cannot be read: %s", error)
        return 0, b""
    return (entry[0], entry[3]) if entry[1] in (MESSAGE, GROUP_MESSAGE) else (0, b"")
