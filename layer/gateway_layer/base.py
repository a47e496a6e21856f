"""The contract of a channel layer: what it promises, whatever it is made of.

A layer moves opaque entries (see `gateway_layer.wire`) between processes:

- **Shared queues**: an entry goes to exactly one of the processes that pull; oldest first. A queue
  has a capacity, and an entry can be recalled as long as nobody has pulled it.
- **Inboxes**: an entry goes to one process. Entries of one sender arrive in the order written.

Delivery is at most once: entries can be lost when a connection to Redis breaks or Redis loses its
memory, and `on_lost` says so. Whoever needs more numbers what it sends (`gateway_layer.link`).

Everything here runs in one event loop; nothing but the coroutines ever waits.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from gateway_layer.codec import Message, pack_message
from gateway_layer.errors import ChannelFull, MessageTooLarge
from gateway_layer.names import new_pid, split_channel
from gateway_layer.wire import MAX_ENTRY_BYTES, MESSAGE, envelope_head, write_entry

PULL_TIMEOUT_S: Final = 1
"""A pull that finds nothing ends after so long, so that Redis forgets a reader that is gone."""

OnEntries = Callable[[Sequence[bytes]], None]
OnPushed = Callable[[int | Exception], None]


class ChannelLayer(ABC):
    """One process's access to the channel layer.

    Attributes:
        pid: This process's name on the layer, 22 characters, new at each start.
        kind: `interface`, `worker`, or what else the process is.
        incarnation: Which life of Redis this process last saw; changes when Redis lost its memory.
        on_inbox: Called with entries of this process's inbox, in order, at least one.
        on_pushes: The same for entries of services that are no process of the gateway.
        on_peer_dead: Called once with the pid of each process that was found dead.
        on_peer_back: Called with the pid of one that was found dead, and is alive.
        on_lost: Called when entries may have been lost in either direction.
        on_room: Called when `congested` has become False.
        on_available: Called when the layer can be used again, after `on_lost`.
        on_pull_lost: Called when a pull may have taken entries that never came here.
        on_fenced: Called when others have held this process for dead; nothing can be written until
            `rejoin`.
    """

    def __init__(self, kind: str, *, pid: str | None = None) -> None:
        """Prepare; nothing connects before `start`."""
        self.pid: Final = pid or new_pid()
        self.kind: Final = kind
        self.incarnation = ""
        self.redis_url = ""
        self.head: Final = envelope_head(self.pid)
        self.on_inbox: OnEntries = _ignore
        self.on_pushes: OnEntries = _ignore
        self.on_peer_dead: Callable[[str], None] = _ignore
        self.on_peer_back: Callable[[str], None] = _ignore
        self.on_room: Callable[[], None] = _ignore
        self.on_lost: Callable[[], None] = _ignore
        self.on_available: Callable[[], None] = _ignore
        self.on_fenced: Callable[[], None] = _ignore
        self.on_pull_lost: Callable[[], None] = _ignore

    @property
    @abstractmethod
    def available(self) -> bool:
        """Whether entries can be written now."""

    @property
    def living(self) -> Collection[str]:
        """Processes that were alive a moment ago, this one too; as far as it is known."""
        return ()

    @abstractmethod
    async def start(self) -> None:
        """Connect, register this process and begin to read its inbox; waits until it can be used.

        Raises:
            ConfigError: The server cannot serve a channel layer (a Redis Cluster, too old).
        """

    async def start_unless(self, stopped: asyncio.Event) -> bool:
        """Start, or give up as soon as `stopped` is set: Redis may stay away for long.

        Returns:
            Whether it has started.

        Raises:
            ConfigError: As `start`.
        """
        starting = asyncio.ensure_future(self.start())
        stopping = asyncio.ensure_future(stopped.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            await starting
            return True
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    @abstractmethod
    async def close(self) -> None:
        """Unregister, remove this process's keys and disconnect. Nothing is called afterwards."""

    @abstractmethod
    def now_ms(self) -> int:
        """Return the layer's clock, the same for all processes, in ms."""

    @abstractmethod
    def push(self, queue: str, entry: bytes, on_pushed: OnPushed) -> None:
        """Append an entry to a shared queue.

        Args:
            queue: A name as `names.queue_name` makes it.
            entry: What a puller will get.
            on_pushed: Called once, with the entry's place in the queue from 1, or with an error:
                a `LayerUnavailable` when the entry may or may not have arrived.

        Raises:
            LayerUnavailable: Nothing was written.
        """

    @abstractmethod
    def recall(self, queue: str, entry: bytes, on_recalled: Callable[[bool], None]) -> None:
        """Take an entry back. True: it was still queued, so nobody has seen it, nor will.

        False: somebody pulled it, or it is lost, or the layer cannot be reached.
        """

    @abstractmethod
    def find(self, queue: str, entry: bytes, on_found: Callable[[bool | None], None]) -> None:
        """See whether an entry is still queued.

        False: somebody pulled it, or it is lost. None: the layer cannot be reached.
        """

    @abstractmethod
    def pull(self, queue: str, count: int, on_entries: OnEntries) -> None:
        """Take up to `count` entries of a queue as soon as there is one.

        One pull per queue may be under way; `on_entries` is called once, with an empty sequence
        after `PULL_TIMEOUT_S`, or when the connection broke.
        """

    @abstractmethod
    def deliver(self, pid: str, entry: bytes) -> None:
        """Append an entry to a process's inbox; at most once, in order, or not at all.

        Where the connection breaks `on_lost` says so; an entry that Redis refuses is lost.

        Raises:
            LayerUnavailable: Nothing was written.
        """

    def found_dead(self, pid: str) -> None:
        """Take a supervisor's word that a process has ended; `on_peer_dead` follows, once."""
        self.on_peer_dead(pid)

    @abstractmethod
    def rejoin(self) -> None:
        """Be among the living again, after `on_fenced`; `on_available` follows."""

    @property
    def congested(self) -> bool:
        """Whether more than a MiB waits to be taken by Redis: produce no more; see `on_room`."""
        return False

    @abstractmethod
    def register_group(self, group: str, on_registered: Callable[[bool], None]) -> None:
        """Have group sends come to this process; `on_registered(True)` when all later ones do."""

    @abstractmethod
    def unregister_group(self, group: str) -> None:
        """Have group sends come here no more."""

    @abstractmethod
    def answer(self, reply_id: str, raw: bytes) -> None:
        """Append to a pusher's reply list; at most once, silently lost without Redis."""

    @abstractmethod
    def flush(self) -> None:
        """Write what this turn has collected now, instead of at the end of the turn."""

    async def send(self, channel: str, message: Message, *, capacity: int = 1000) -> None:
        """Send a message to a channel: a shared queue, or `process!local`. Never waits for room.

        Args:
            channel: `name` or `process!local`.
            message: A dict of ASGI's types; it is packed before this returns and not kept.
            capacity: How many entries a shared queue may hold.

        Raises:
            TypeError: Not a channel name, or a value that cannot travel; the text names the path.
            ChannelFull: The shared queue holds `capacity` entries; nothing was left in it.
            MessageTooLarge: Over 16 MiB.
            LayerUnavailable: Redis cannot be reached; nothing was sent.
        """
        process, local = split_channel(channel)
        packed = pack_message(message, "message")
        if len(packed) > 128 * MAX_ENTRY_BYTES:
            raise MessageTooLarge(f"a message of {len(packed)} bytes; 16 MiB may travel")
        frame = message_frame(local, packed)
        entry = write_entry(self.head, None, [frame])
        if process is not None:
            self.deliver(process, entry)
        elif await self._push_within(local, entry, capacity) > capacity:
            raise ChannelFull(channel, capacity)

    async def _push_within(self, queue: str, entry: bytes, capacity: int) -> int:
        """Push; if that filled the queue over its capacity, take the entry back."""
        place: int = await self._called(lambda done: self.push(queue, entry, done))
        if place > capacity:
            recalled: bool = await self._called(lambda done: self.recall(queue, entry, done))
            return place if recalled else capacity
        return place

    async def _called(self, call: Callable[[Callable[[Any], None]], None]) -> Any:
        """Turn a call with a callback into one to wait for; errors it is given are raised."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(result: Any) -> None:
            if future.cancelled():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        call(done)
        return await future


def message_frame(local: str, packed: bytes) -> bytes:
    """Return the frame of a message to one local channel; its payload is packed already."""
    name = local.encode()
    return b"".join((b"\x94\xd9", bytes((len(name),)), name, bytes((MESSAGE, 0)), packed))


def _ignore(*_arguments: object) -> None:
    """Stand in for a callback that nobody has set."""
