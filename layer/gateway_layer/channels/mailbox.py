"""What one process holds of its own channels: unread messages, who waits, members of groups.

It belongs to no event loop: a channel may be made in one, joined to a group in another and read in
a third, as `async_to_sync` does it. All of it is behind one lock, which is never held over an
await.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, ClassVar, Final

from gateway_layer.names import ConnectionIds, new_pid

if TYPE_CHECKING:
    from gateway_layer.channels.borrowed import Borrowed
    from gateway_layer.channels.loop_state import LoopState

_log = logging.getLogger("gateway.channels")

Unread = tuple[int, bytes]
"""A message as it came: when it expires, ms since 1970, and its packed payload."""

Waiter = asyncio.Future[Unread]


def now_ms() -> int:
    """Return the time in ms since 1970."""
    return time.time_ns() // 1_000_000


class Mailbox:
    """The channels `….CLIENT!…` of one process.

    Attributes:
        ANSWERS: Whether those who read here send by the same layer.
        client: 22 characters of base64url, 128 random bits.
        marker: What the names of its channels, and no others, contain.
        lock: To be held for every method that says so.
        states: The loops that use it.
        reader: The loop that reads the inbox at present.
        groups: Own members of each group -> when each joined, ms since 1970.
        borrowed: Channels that are read here and belong to connections, by name.
        dropped: Messages that were dropped here: for a full channel, or sent to a group in vain.
        expired: Messages that expired before they were read.
    """

    ANSWERS: ClassVar[bool] = True

    def __init__(
        self, capacity_of: Callable[[str], int], client: str | None = None, *, least: int = 0
    ) -> None:
        """Begin empty.

        Args:
            capacity_of: Gives how much may wait in a channel.
            least: The least that it gives; it is not asked below that.
            client: The name; None draws one.
        """
        self.client: Final = client or new_pid()
        self.marker: Final = f".{self.client}!"
        self.lock: Final = threading.Lock()
        self.dropped = 0
        self.expired = 0
        self.groups: dict[str, dict[str, int]] = {}
        self.states: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self.reader: LoopState | None = None
        self._capacity_of = capacity_of
        self._least = least
        self._ids = ConnectionIds()
        # Lists, for a deque takes 0.6 kB, and most hold one thing for a moment. A channel is in
        # here only while something waits: nothing is kept of a consumer that is over.
        self._unread: dict[str, list[Unread]] = {}
        self._waiters: dict[str, list[Waiter]] = {}
        self._said_full: set[str] = set()
        self._version = 0
        self._coming: dict[str, int] = {}  # sends of this process to its own channels
        self.borrowed: dict[str, Borrowed] = {}

    def new_channel(self, prefix: str) -> str:
        """Return a name that was never given out."""
        with self.lock:
            return f"{prefix}{self.marker}{self._ids.new()}"

    def version(self) -> int:
        """Return the time in ms, later than any returned before."""
        with self.lock:
            self._version = max(self._version + 1, now_ms())
            return self._version

    # Reading.

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for a message."""
        return bool(self._waiters)

    @property
    def may_read_ahead(self) -> bool:
        """Whether whatever is read now finds room, and no other loop waits for its turn to read."""
        return not self._unread and len(self.states) == 1

    def unread(self, channel: str) -> int:
        """Return how many messages wait here in a channel."""
        return len(self._unread.get(channel, ()))

    def begin_send(self, channel: str, capacity: int) -> int:
        """Count a message that this process sends to a channel of its own.

        Returns:
            How many may be in Redis besides what is unread here; 0: none, and nothing was counted.
        """
        with self.lock:
            unread, coming = len(self._unread.get(channel, ())), self._coming.get(channel, 0)
            if unread + coming >= capacity:
                return 0
            self._coming[channel] = coming + 1
            return capacity - unread

    def end_send(self, channel: str) -> None:
        """The message has arrived in Redis, or has not."""
        with self.lock:
            self._coming[channel] -= 1
            if not self._coming[channel]:
                del self._coming[channel]

    def take(self, channel: str, loop: asyncio.AbstractEventLoop) -> Unread | Waiter:
        """Return the first message, or a future that gets it: to `leave` where it is cancelled.

        Holds the lock.
        """
        with self.lock:
            unread = self._unread.get(channel)
            if unread is not None:
                found = unread.pop(0)
                if not unread:
                    del self._unread[channel]
                return found
            waiter: Waiter = loop.create_future()
            line = self._waiters.get(channel)
            if line is None:
                self._waiters[channel] = [waiter]
            else:
                line.append(waiter)
            return waiter

    def leave(self, channel: str, waiter: Waiter) -> None:
        """A receive was cancelled: wait no longer; hand on what it had been given.

        Holds the lock.
        """
        with self.lock:
            line = self._waiters.get(channel)
            if line is not None and waiter in line:
                line.remove(waiter)
                if not line:
                    del self._waiters[channel]
        if waiter.done() and not waiter.cancelled():
            self.put_back(channel, waiter.result())
        else:
            waiter.cancel()

    def put_back(self, channel: str, message: Unread) -> None:
        """Give a message that was taken to who waits next, or keep it as the first.

        Holds the lock.
        """
        with self.lock:
            line = self._waiters.get(channel)
            if line is None or not self._hand_over(channel, line, message):
                self._unread.setdefault(channel, []).insert(0, message)

    def drop_unread(self, channel: str) -> None:
        """What is unread in a borrowed channel is its owner's to keep.

        Holds the lock.
        """
        with self.lock:
            self._unread.pop(channel, None)

    # Delivering; the caller holds the lock.

    def deliver(self, channel: str, message: Unread) -> bool:
        """Give a message to who waits, or keep it; return False where the channel is full."""
        line = self._waiters.get(channel)
        if line is not None and self._hand_over(channel, line, message):
            return True
        unread = self._unread.get(channel)
        if unread is None:
            self._unread[channel] = [message]
        elif len(unread) < self._least or len(unread) < self._capacity_of(channel):
            unread.append(message)
        else:
            self._drop(channel)
            return False
        return True

    def deliver_to_group(self, group: str, message: Unread, excluded: Collection[str]) -> bool:
        """Give a message to each member: the packed bytes are shared, what they become is not.

        Returns:
            Whether the group has members here.
        """
        members = self.groups.get(group)
        if members is None:
            return False
        over = 0
        waiters = self._waiters
        running = asyncio.get_running_loop()
        for channel in members:
            if excluded and channel in excluded:
                continue
            line = waiters.get(channel)
            if line is not None and len(line) == 1:
                waiter = line[0]  # of nearly every member: what `deliver` would do, in short
                if waiter.get_loop() is running and not waiter.done():
                    del waiters[channel]
                    waiter.set_result(message)
                    continue
            if not self.deliver(channel, message):
                over += 1
        if over:
            _log.info("%s of %s channels over capacity in group %s", over, len(members), group)
        return True

    def _hand_over(self, channel: str, line: list[Waiter], message: Unread) -> bool:
        running = asyncio.get_running_loop()
        while line:
            waiter = line.pop(0)
            if not line:
                del self._waiters[channel]
            if waiter.done():
                continue
            loop = waiter.get_loop()
            if loop is running:
                waiter.set_result(message)
                return True
            try:
                loop.call_soon_threadsafe(self._settle, channel, waiter, message)
            except RuntimeError:
                continue  # its loop is closed: nobody waits there any more
            return True
        return False

    def _settle(self, channel: str, waiter: Waiter, message: Unread) -> None:
        """Give a message to a waiter in its own loop; it may have been cancelled since."""
        if waiter.done():
            self.put_back(channel, message)
        else:
            waiter.set_result(message)

    def _drop(self, channel: str) -> None:
        self.dropped += 1
        if channel not in self._said_full:
            self._said_full.add(channel)
            _log.warning(
                "a channel is full, messages to it are dropped channel=%s capacity=%d",
                channel,
                self._capacity_of(channel),
            )

    # Groups; both hold the lock.

    def join(self, group: str, channel: str) -> None:
        """Make a channel a member, or renew its membership."""
        with self.lock:
            self.groups.setdefault(group, {})[channel] = now_ms()

    def part(self, group: str, channel: str) -> bool:
        """End a membership; return whether there was one."""
        with self.lock:
            members = self.groups.get(group, {})
            was_member = members.pop(channel, None) is not None
            if was_member and not members:
                del self.groups[group]
            return was_member

    def count(self, group: str) -> int:
        """Return how many members a group has here."""
        return len(self.groups.get(group, ()))

    # Tidying.

    def sweep(self, group_expiry_ms: int) -> list[str]:
        """Drop what has expired; return the groups that have lost members so."""
        now = now_ms()
        oldest = now - group_expiry_ms
        with self.lock:
            for channel, unread in list(self._unread.items()):
                kept = [message for message in unread if message[0] > now]
                self.expired += len(unread) - len(kept)
                if kept:
                    self._unread[channel] = kept
                else:
                    del self._unread[channel]
            self._said_full &= self._unread.keys()
            shrunk = []
            for group, members in list(self.groups.items()):
                over = [channel for channel, joined in members.items() if joined < oldest]
                for channel in over:
                    del members[channel]
                if over:
                    shrunk.append(group)
                if not members:
                    del self.groups[group]
            return shrunk

    def clear(self, before_ms: int, expiry_ms: int) -> None:
        """Forget messages and memberships of before; who waits goes on waiting. Holds the lock."""
        with self.lock:
            for channel, unread in list(self._unread.items()):
                kept = [message for message in unread if message[0] - expiry_ms > before_ms]
                self._unread[channel] = kept
                if not kept:
                    del self._unread[channel]
            for group, members in list(self.groups.items()):
                for channel in [name for name, joined in members.items() if joined <= before_ms]:
                    del members[channel]
                if not members:
                    del self.groups[group]
