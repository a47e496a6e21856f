"""What the channel layer keeps for one running event loop: connections, and who reads."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from gateway_layer.channels.clients import Clients
from gateway_layer.channels.entries import (
    FLUSH,
    GROUP_MESSAGE,
    JOIN,
    MESSAGE,
    PART,
    Fanned,
    read_entry,
)
from gateway_layer.channels.loan import Loan
from gateway_layer.channels.mailbox import Mailbox
from gateway_layer.channels.options import Host, Keys
from gateway_layer.channels.plain import READ_BLOCK_S, PlainReaders, ReadPipe
from gateway_layer.channels.writing import Writing
from gateway_layer.errors import GatewayError, LayerUnavailable
from gateway_layer.push.owners import Owners
from gateway_layer.redis.pipe import RedisReplyError
from gateway_layer.redis.protocol import Reply
from gateway_layer.redis.resp import pack_command

LEASE_S: Final = 60
RENEW_S: Final = 20.0
_READ_COUNT: Final = 64
_CLOSE_S: Final = 1.0
_ANSWER_S: Final = 5.0
"""A loop that ends waits so long for the answers to what was sent to groups."""

_log = logging.getLogger("gateway.channels")


class LoopState(Writing):
    """Connections of one loop; `clients` has those that reach reply channels.

    It ends with the loop: cancelling all tasks, as every runner of loops does before it closes
    one, closes the connections and gives back what is unread.

    Args:
        hosts: The servers.
        shard_of: Index of the server that holds what belongs to a name.
        keys: Names of keys.
        namespace: Of the gateway.
        owners: What this process has seen of the gateway.
        mailbox: The channels of this process.
        expiry_ms: How long a message lives.
        on_members: Called with this state and a group whose members here have changed.
        on_heartbeat: Called with this state and whether Redis still knew of the process.
    """

    def __init__(
        self,
        hosts: list[Host],
        shard_of: Callable[[str], int],
        keys: Keys,
        namespace: str,
        owners: Owners,
        mailbox: Mailbox,
        expiry_ms: int,
        on_members: Callable[["LoopState", str], None],
        on_heartbeat: Callable[["LoopState", bool], None],
    ) -> None:
        """Begin in the running loop; connections are made when they are needed."""
        super().__init__(hosts, shard_of, expiry_ms)
        self.mailbox: Final = mailbox
        self.closed = False
        self.clients: Final = Clients(hosts, namespace, owners, self.call)
        self._keys = keys
        self._on_members = on_members
        self._on_heartbeat = on_heartbeat
        self._inbox: ReadPipe | None = None
        if len(hosts) == 1 and mailbox.ANSWERS:
            self._loan = Loan(lambda ahead: self.read(ahead=ahead))
        self._own = mailbox.client
        inbox = keys.inbox(self._own)
        self._read_command = pack_command(
            "BLMPOP", READ_BLOCK_S, 1, inbox, "LEFT", "COUNT", _READ_COUNT
        )
        self._heart: asyncio.Task[None] | None = None
        self._leased = False
        self._plain: Final = PlainReaders(expiry_ms)
        self._guard = self.loop.create_task(self._close_with_loop(), name="channel-layer")

    # Reading.

    async def receive_plain(self, channel: str) -> bytes:
        """Wait for a message to a channel that any process may read; see `PlainReaders`."""
        shard = self._shard_of(channel)
        writer = self._writer(shard)
        return await self._plain.receive(self._keys.plain(channel), self._hosts[shard], writer)

    async def live(self) -> None:
        """Let Redis know that this process lives, from now on for as long as the loop runs.

        Raises:
            LayerUnavailable: Redis cannot be reached.
        """
        if not self._leased:
            await self._renew()
            self._leased = True
        self._start_heart()

    def _start_heart(self) -> None:
        if self._heart is None:
            self._heart = self.loop.create_task(self._beat(), name="channel-layer-lease")

    async def _renew(self) -> None:
        lease = self._keys.lease(self._own)
        known = await self.call(self._own, "SET", lease, "1", "EX", LEASE_S, "GET")
        self._on_heartbeat(self, known is not None)

    async def _beat(self) -> None:
        while True:
            try:
                await self._renew()
            except LayerUnavailable as error:
                _log.debug("the lease is renewed when redis is back reason=%s", error)
            self.read()
            await asyncio.sleep(RENEW_S)

    def read(self, *, ahead: bool = False) -> None:
        """See to it that somebody reads the inbox while anybody waits for a message.

        One loop of the process does at a time. While nobody waits the messages stay in Redis,
        where senders see that the channel is full.

        Args:
            ahead: Once more although nobody waits: who has just answered soon will. Not where it
                could keep another loop from reading, or drop what finds a channel full.
        """
        mailbox = self.mailbox
        reader = mailbox.reader
        if reader is not None and not reader.loop.is_closed():
            return
        if self._inbox is None and not self.closed:
            host = self._hosts[self._shard_of(self._own)]
            self._inbox = ReadPipe(host, self.announce)
            self._inbox.pipe.start()
        if self._inbox is None or not self._inbox.pipe.connected or self.closed:
            return
        if not (mailbox.awaited or (ahead and mailbox.may_read_ahead)):
            return
        with mailbox.lock:
            if mailbox.reader is not None and not mailbox.reader.loop.is_closed():
                return
            mailbox.reader = self
        if self._loan is not None:
            self._loan.end()
        self._inbox.read(self._read_command, self._on_entries)

    def announce(self) -> None:
        """Let Redis know now that this process lives, and read: it may have been emptied."""
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        self._start_heart()
        self.read()

    def _on_entries(self, reply: Reply) -> None:
        self.mailbox.reader = None
        if isinstance(reply, RedisReplyError):
            _log.error("redis refused to be read reason=%r", str(reply))
            return
        answerable = False
        entries = reply[1] if isinstance(reply, list) else ()
        for raw in entries:
            try:
                entry = read_entry(raw)
                # To one channel, and mostly to one that waits; to many, others follow.
                answerable = entry[1] == MESSAGE and self.mailbox.awaited
                self._take_in(entry)
            except GatewayError as error:
                _log.warning("an entry that cannot be read: %s", error)
        if self.closed:
            self._pass_on()
        elif answerable and len(entries) == 1 and self._loan and self._inbox:
            self._loan.begin(self._inbox.pipe)
        elif self.mailbox.awaited:
            self.read()

    def _take_in(self, entry: tuple[Any, ...]) -> None:
        kind = entry[1]
        mailbox = self.mailbox
        if kind == MESSAGE:
            with mailbox.lock:
                mailbox.deliver(entry[2], (entry[0], entry[3]))
        elif kind == GROUP_MESSAGE:
            message = entry[0], Fanned(entry[3])
            with mailbox.lock:
                known = mailbox.deliver_to_group(entry[2], message, entry[4])
            if not known:
                self._on_members(self, entry[2])  # the last one left while Redis was away
        elif kind == JOIN:
            mailbox.join(entry[2], entry[3])
            self._on_members(self, entry[2])
        elif kind == PART:
            mailbox.part(entry[2], entry[3])
            self._on_members(self, entry[2])
        elif kind == FLUSH:
            mailbox.clear(entry[2], self._expiry_ms)

    def _pass_on(self) -> None:
        """Let another loop read in which somebody waits."""
        for state in list(self.mailbox.states.values()):
            if state is not self and not state.closed:
                with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                    state.loop.call_soon_threadsafe(state.read)

    # The end.

    async def _close_with_loop(self) -> None:
        try:
            await self.loop.create_future()
        except asyncio.CancelledError:
            # A task of its own: in one that was cancelled, asyncio.timeout of the first releases of
            # Python 3.11, such as Debian's, cancels instead of raising TimeoutError.
            await self.loop.create_task(self._end(), name="channel-layer-end")
            raise

    async def close(self) -> None:
        """End what this loop has, and lose no message by it."""
        self._guard.cancel()
        await asyncio.wait([self._guard])

    async def _end(self) -> None:
        self.closed = True
        if self._heart is not None:
            self._heart.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                await self.unanswered.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                if self.mailbox.reader is self and self._inbox is not None:
                    await self._inbox.stop(await self.writer(self._own))
                await self._plain.close()
        if self._inbox is not None:
            await self._inbox.pipe.close()
        await self.clients.close()
        await self._close_writers()
        if self.mailbox.states.get(self.loop) is self:
            del self.mailbox.states[self.loop]
        self._pass_on()
