"""A channel layer within one process, for tests that have no Redis."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Collection
from typing import Any, ClassVar

from gateway_layer.channels.entries import Packer, channel_full, read_payload
from gateway_layer.channels.options import check_channel, check_group


class InMemoryChannelLayer:
    """A channel layer for the tests of consumers: no server, nothing expires, one event loop.

        configure({"default": InMemoryChannelLayer()})

    It takes the names and messages that `RedisChannelLayer` takes, and refuses the others as that
    does, so a test finds what would fail in production. What is sent to a client by its reply
    channel is received from the channel of that name.

    Attributes:
        extensions: `groups` and `flush`.
        capacity: How many unread messages a channel holds.
        groups: Group to the channels in it.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(self, capacity: int = 100) -> None:
        """Begin empty; `capacity` from 1 up."""
        self.capacity = capacity
        self.groups: defaultdict[str, set[str]] = defaultdict(set)
        self._queues: defaultdict[str, asyncio.Queue[bytes]] = defaultdict(
            lambda: asyncio.Queue(self.capacity)
        )
        self._numbers = itertools.count(1)
        self._packer = Packer()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Raises:
            ChannelFull, AssertionError, TypeError: As of RedisChannelLayer.
        """
        if not self._put(check_channel(channel), self._packer.payload(message)):
            raise channel_full()(channel, self.capacity)

    def _put(self, channel: str, payload: bytes) -> bool:
        queue = self._queues[channel]
        if queue.full():
            return False
        queue.put_nowait(payload)
        return True

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message to a channel; cancelled, it loses none.

        Raises:
            TypeError: Not a channel's name.
        """
        return read_payload(await self._queues[check_channel(channel)].get())

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return a new channel, `prefix.inmemory!number`.

        Raises:
            TypeError: The prefix is none.
        """
        return check_channel(f"{prefix}.inmemory!{next(self._numbers)}")

    async def group_add(self, group: str, channel: str) -> None:
        """Make a channel a member; raises TypeError for names that are none."""
        self.groups[check_group(group)].add(check_channel(channel))

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one; raises TypeError for names that are none."""
        members = self.groups[check_group(group)]
        members.discard(check_channel(channel))
        if not members:
            del self.groups[group]

    async def group_send(
        self, group: str, message: dict[str, Any], *, exclude: Collection[str] = ()
    ) -> None:
        """Send a message to each member but those excluded; those that are full go without.

        Raises:
            AssertionError, TypeError: As of RedisChannelLayer.
        """
        payload = self._packer.payload(message)
        for channel in self.groups.get(check_group(group), set()).difference(exclude):
            self._put(channel, payload)

    async def group_channels_count(self, group: str) -> int:
        """Return how many channels are members; raises TypeError for a name that is none."""
        return len(self.groups.get(check_group(group), ()))

    async def flush(self) -> None:
        """Drop all messages and memberships; who waits goes on waiting."""
        self.groups.clear()
        for queue in self._queues.values():
            while not queue.empty():
                queue.get_nowait()
