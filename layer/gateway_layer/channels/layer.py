"""`RedisChannelLayer`: what stands as BACKEND in CHANNEL_LAYERS of a Django Channels project."""

import asyncio
import logging
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final
from zlib import crc32

from gateway_layer.channels.borrowed import CURRENT, Borrowed, Connection
from gateway_layer.channels.crypto import encryption
from gateway_layer.channels.entries import (
    FLUSH,
    GROUP_MESSAGE,
    JOIN,
    MESSAGE,
    PART,
    channel_full,
    read_entry,
    read_payload,
)
from gateway_layer.channels.loop_state import LoopState
from gateway_layer.channels.mailbox import Mailbox, now_ms
from gateway_layer.channels.options import (
    Keys,
    check_channel,
    check_group,
    client_of,
    read_capacities,
    read_hosts,
)
from gateway_layer.channels.plain import read_script
from gateway_layer.errors import ConfigError, LayerUnavailable, ProtocolError
from gateway_layer.redis.resp import pack_command

_GROUP_SEND: Final = read_script("group_send")
_NOTIFY: Final = read_script("notify")
_REGISTER: Final = read_script("register")
_GROUP_BACKLOG: Final = 10_000
"""Entries for groups that an inbox may hold, so that a process that hangs does not fill Redis."""

_GONE: Final = -1

_LISTEN_S, _LISTEN_LOOK_S = 2.0, 0.01
"""How long the owner of a connection may take to become a process of the layer."""

_MOST_OWNERS: Final = 1000

_log = logging.getLogger("gateway.channels")


class RedisChannelLayer:
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

    def __init__(
        self,
        hosts: Sequence[Any] | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[Any, int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
    ) -> None:
        """Take CONFIG as channels_redis does.

        Args:
            hosts: List of a URL, (host, port) or a dict; see `read_hosts`. With several, each
                channel and group lives on one of them.
            prefix: In front of every key; layers with different ones do not meet.
            expiry: Seconds.
            group_expiry: Seconds.
            capacity: From 1 up.
            channel_capacity: Glob or compiled regular expression to capacity.
            symmetric_encryption_keys: The first encrypts, all decrypt; needs `cryptography`.
            random_prefix_length: Without a meaning here.
            serializer_format: `msgpack`.

        Raises:
            ValueError: A bare string for hosts or keys.
            ConfigError: Anything else that cannot work.
        """
        if not isinstance(prefix, str):
            raise ConfigError(f"prefix: {prefix!r} is not a str")
        if expiry <= 0 or group_expiry <= 0 or capacity < 1:
            raise ConfigError("expiry, group_expiry and capacity must be positive")
        if serializer_format != "msgpack":
            raise ConfigError(f"serializer_format {serializer_format!r}: this layer has msgpack")
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.channel_capacity = read_capacities(channel_capacity)
        self.prefix = prefix
        self._hosts = read_hosts(hosts)
        self._crypto = encryption(symmetric_encryption_keys)
        self._keys = Keys(prefix)
        self._expiry_ms = max(1, int(expiry * 1000))
        self._group_expiry_ms = max(1, int(group_expiry * 1000))
        self._lock = threading.Lock()
        self._renew()

    def _renew(self) -> None:
        self._os_pid = os.getpid()
        self._mailbox = self._make_mailbox()
        self._listening: set[str] = set()  # owners of connections that read for us

    def _make_mailbox(self) -> Mailbox:
        return Mailbox(self.get_capacity)

    def get_capacity(self, channel: str) -> int:
        """Return how many unread messages a channel may hold."""
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return capacity
        return self.capacity

    @property
    def statistics(self) -> dict[str, int]:
        """Messages this process has dropped: `dropped` over capacity, `expired` unread."""
        return {"dropped": self._mailbox.dropped, "expired": self._mailbox.expired}

    # Channels.

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel; never waits for a reader.

        Args:
            channel: A name.
            message: A dict of ASGI's types; it is not changed.

        Raises:
            ChannelFull: As many messages wait as the channel may hold; `channels.exceptions`' too.
            AssertionError: Not a dict, or with the key `__asgi_channel__`.
            TypeError: Not a channel's name, or a value that cannot travel.
            LayerUnavailable: Redis cannot be reached, or was lost before it answered.
        """
        check_channel(channel)
        state = self._state()
        payload = self._crypto.encrypt(state.packer.payload(message))
        if not await self._send(state, channel, payload):
            raise channel_full()(channel, self.get_capacity(channel))

    async def _send(self, state: LoopState, channel: str, payload: bytes) -> bool:
        """Append a packed message to the list of its channel; return whether there was room."""
        capacity = self.get_capacity(channel)
        client = client_of(channel)
        entry = state.packer.pack((now_ms() + self._expiry_ms, MESSAGE, channel, payload))
        if client is None:
            return await state.append(channel, self._keys.plain(channel), capacity, entry)
        if client == self._mailbox.client:
            capacity = max(0, capacity - self._mailbox.unread(channel))
        return await state.append(client, self._keys.inbox(client), capacity, entry)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message to a channel.

        Several receivers of a channel, in any process, get each message once, one of them. While
        Redis cannot be reached it waits. Cancelled at any moment, it loses no message.

        Raises:
            TypeError: Not a channel's name.
            ValueError: A channel that another process made: only that one can read it.
            LayerUnavailable: Redis refuses to be read.
        """
        state = self._state()
        mailbox = state.mailbox
        # One of ours needs no look at its name: this is the hot path of every consumer.
        own = channel.__class__ is str and mailbox.marker in channel
        wait = state.wait
        if not own and client_of(check_channel(channel)) is not None:
            if channel not in mailbox.borrowed:
                raise ValueError(f"channel {channel!r} belongs to another process")
            mailbox.borrowed[channel].asked()
            own, wait = True, mailbox.wait
        while True:
            if own:
                got = mailbox.take(channel, state.loop)
                expires, payload = (
                    await wait(channel, got) if isinstance(got, asyncio.Future) else got
                )
            else:
                expires, payload = _parts(await state.receive_plain(channel))
            if expires <= now_ms():
                mailbox.expired += 1
                continue
            try:
                return read_payload(self._crypto.decrypt(payload))
            except ProtocolError as error:
                mailbox.dropped += 1
                _log.error("a message is dropped channel=%s reason=%s", channel, error)

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

    async def _borrow(
        self, state: LoopState, connection: Connection, prefix: str
    ) -> Borrowed | None:
        """Return a channel of the connection that is served, or None if it has to be our own."""
        borrowed = connection.borrow(self._mailbox, prefix)
        if borrowed is None:
            return None
        [host, *others] = self._hosts
        if others or host.sentinels or not host.address.same_server(connection.owner_reads):
            _log.info("a channel is its worker's: the layer is not on the gateway's Redis")
        elif await self._owner_listens(state, connection):
            return borrowed
        else:
            _log.warning("a channel is its worker's: its owner does not read this layer")
        del self._mailbox.borrowed[borrowed.name]
        return None

    async def _owner_listens(self, state: LoopState, connection: Connection) -> bool:
        """Wait until the owner of a connection is a process of this layer."""
        owner = connection.owner
        if owner in self._listening:
            return True
        lease = self._keys.lease(owner)
        until = state.loop.time() + _LISTEN_S
        asked = False
        while not await state.call(owner, "EXISTS", lease):
            if state.loop.time() >= until:
                return False
            if not asked:
                connection.listen(self.prefix, self._expiry_ms, self._group_expiry_ms)
                asked = True
            await asyncio.sleep(_LISTEN_LOOK_S)
        if len(self._listening) >= _MOST_OWNERS:
            self._listening.clear()
        self._listening.add(owner)
        return True

    # Groups.

    async def group_add(self, group: str, channel: str) -> None:
        """Make a channel a member; every `group_send` after this has returned reaches it.

        Once more, it renews the expiry.

        Raises:
            TypeError: Not a name of a group, or of a channel.
            LayerUnavailable: Redis cannot be reached, or was lost before it answered.
        """
        check_group(group)
        client = client_of(check_channel(channel))
        state = self._state()
        if client is None:
            await self._register(state, group, "@" + channel, 1)
        elif client == self._mailbox.client:
            self._mailbox.join(group, channel)
            await state.live()
            await self._register(state, group, client, self._mailbox.count(group))
        elif await self._join(state, group, client, channel):
            # The inbox is in order: its owner knows the member before a later message comes.
            await state.call(group, *self._register_command(group, client, 1, "NX"))

    async def _join(self, state: LoopState, group: str, client: str, channel: str) -> bool:
        """Tell another process of a member among its channels; False: that process is gone."""
        done = await self._notify(state, client, (JOIN, group, channel))
        borrowed = self._mailbox.borrowed.get(channel)
        if done == _GONE and borrowed is not None:
            self._listening.discard(client)  # Redis was emptied, and its owner does not know
            if await self._owner_listens(state, borrowed.connection):
                done = await self._notify(state, client, (JOIN, group, channel))
        if not done:
            raise LayerUnavailable(f"the process of {channel} does not read what it is sent")
        return done != _GONE

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; without one, and without Redis, it does nothing.

        Nor does it while an instance of a gateway worker ends because its connection goes on
        elsewhere: what it leaves then, the next instance is still in.

        Raises:
            TypeError: Not a name of a group, or of a channel.
        """
        check_group(group)
        client = client_of(check_channel(channel))
        borrowed = self._mailbox.borrowed.get(channel)
        if borrowed is not None and borrowed.stays:
            return
        state = self._state()
        try:
            if client is None:
                await self._register(state, group, "@" + channel, 0)
            elif client != self._mailbox.client:
                await self._notify(state, client, (PART, group, channel))
            elif self._mailbox.part(group, channel):
                await self._register(state, group, client, self._mailbox.count(group))
        except LayerUnavailable as error:
            # What is registered without members is found out at the next message to the group.
            _log.debug("a membership ends later in redis group=%s reason=%s", group, error)

    async def group_send(
        self, group: str, message: dict[str, Any], *, exclude: Collection[str] = ()
    ) -> None:
        """Send a message to every member of a group: one entry a process, each its own dict.

        Args:
            group: A name.
            message: As for `send`.
            exclude: Channels that do not get it.

        Raises:
            AssertionError, TypeError, LayerUnavailable: As for `send`. Never ChannelFull: members
                that are full go without, which is counted and logged.
        """
        check_group(group)
        state = self._state()
        payload = self._crypto.encrypt(state.packer.payload(message))
        entry = (GROUP_MESSAGE, group, payload, tuple(exclude))
        if len(self._hosts) == 1:
            total, over, left = await self._give_to_all(state, group, entry)
        else:
            left, over = await self._members(state, group), 0
            total = len(left)
        if left:
            gives = (
                self._give(state, group, member, entry)
                for member in left
                if member[0] != "@" or member[1:] not in exclude
            )
            over += (await asyncio.gather(*gives)).count(False)
        if over:
            self._mailbox.dropped += over
            _log.info("%s of %s channels over capacity in group %s", over, total, group)

    async def _give_to_all(
        self, state: LoopState, group: str, entry: tuple[Any, ...]
    ) -> tuple[int, int, list[str]]:
        """Give a group's message to all its processes, in one round trip.

        Returns:
            Number of members, how many were full, and which are left to be given it one by one.
        """
        now = now_ms()
        total, full, left = await state.call(
            *(group, "EVAL", _GROUP_SEND, 1, self._keys.group(group)[0]),
            *(now - self._group_expiry_ms, self._expiry_ms, _GROUP_BACKLOG, self.prefix),
            state.packer.pack((now + self._expiry_ms, *entry)),
        )
        return total, full, [member.decode("ascii", "replace") for member in left]

    async def group_channels_count(self, group: str) -> int:
        """Return how many channels are members of a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_add`.
        """
        check_group(group)
        state = self._state()
        members = await self._members(state, group)
        if not members:
            return 0
        counts, *alive = await asyncio.gather(
            state.call(group, "HMGET", self._keys.group(group)[1], *members),
            *(
                state.call(member, "EXISTS", self._keys.lease(member))
                for member in members
                if member[0] != "@"
            ),
        )
        leases = iter(alive)
        return sum(
            int(count or 0)
            for member, count in zip(members, counts, strict=True)
            if member[0] == "@" or next(leases)
        )

    async def _members(self, state: LoopState, group: str) -> list[str]:
        """Return the processes that have members of a group, and plain members as `@name`."""
        oldest = now_ms() - self._group_expiry_ms
        key = self._keys.group(group)[0]
        # Never cached: an add that has returned must be seen.
        members = await state.call(group, "ZRANGE", key, oldest, "+inf", "BYSCORE")
        return [member.decode("ascii", "replace") for member in members]

    async def _give(
        self, state: LoopState, group: str, member: str, entry: tuple[Any, ...]
    ) -> bool:
        """Give a group's message to one process or plain channel; return whether it had room."""
        if member[0] == "@":
            return await self._send(state, member[1:], entry[2])
        seen = now_ms()
        done = await self._notify(state, member, entry)
        if done == _GONE:
            # Forget the dead process, unless it comes back at this very moment.
            await state.call(group, *self._register_command(group, member, 0, "", seen))
        return bool(done)

    async def _notify(self, state: LoopState, client: str, entry: tuple[Any, ...]) -> int:
        """Append an entry to the inbox of a process; 1, 0 if it is full, -1 if it is gone."""
        packed = state.packer.pack((now_ms() + self._expiry_ms, *entry))
        keys = self._keys.inbox(client), self._keys.lease(client)
        done = await state.call(
            client, "EVAL", _NOTIFY, 2, *keys, self._expiry_ms, _GROUP_BACKLOG, packed
        )
        return int(done)

    async def _register(self, state: LoopState, group: str, member: str, count: int) -> None:
        await state.call(group, *self._register_command(group, member, count))

    def _register_command(
        self, group: str, member: str, count: int, mode: str = "", when: int | None = None
    ) -> tuple[bytes | str | int, ...]:
        version = self._mailbox.version() if when is None else when
        keys = self._keys.group(group)
        return "EVAL", _REGISTER, 2, *keys, member, version, count, self._group_expiry_ms, mode

    # The life of the layer.

    async def flush(self) -> None:
        """Drop all messages and memberships, in Redis and in every process; it stays usable.

        Raises:
            LayerUnavailable: Redis cannot be reached.
        """
        state = self._state()
        clients: list[str] = []
        for pipe in [await state.writer_of(shard) for shard in range(len(self._hosts))]:
            cursor: bytes | None = None
            while cursor != b"0":
                page: Any = await pipe.execute(
                    "SCAN", cursor or b"0", "MATCH", self._keys.everything, "COUNT", 1000
                )
                cursor, found = page
                leases = {key: self._keys.client_of_lease(key) for key in found}
                clients += filter(None, leases.values())
                if doomed := [key for key, client in leases.items() if client is None]:
                    await pipe.execute("UNLINK", *doomed)
        now = now_ms()
        self._mailbox.clear(now, self._expiry_ms)
        for client in clients:
            # To others by their inbox: what they do after this is not undone when they read it.
            if client != self._mailbox.client:
                await self._notify(state, client, (FLUSH, now))

    async def close_pools(self) -> None:
        """Close the connections of the running loop; using the layer again makes new ones."""
        state = self._mailbox.states.get(asyncio.get_running_loop())
        if state is not None:
            await state.close()

    close = close_pools

    def _state(self) -> LoopState:
        """Return what the running loop has of this layer."""
        loop = asyncio.get_running_loop()
        state = self._mailbox.states.get(loop)
        if state is not None and not state.closed and self._os_pid == os.getpid():
            return state
        with self._lock:
            if self._os_pid != os.getpid():
                self._renew()  # after a fork: the parent's names and connections are the parent's
            states = self._mailbox.states
            for other in [other for other in states if other.is_closed()]:
                del states[other]  # closed without an end of its tasks
            state = states[loop] = LoopState(
                self._hosts,
                self._shard_of,
                self._keys,
                self._mailbox,
                self._expiry_ms,
                self._write_members,
                self._on_heartbeat,
            )
        return state

    def _shard_of(self, name: str) -> int:
        hosts = len(self._hosts)
        return 0 if hosts == 1 else crc32(name.encode()) % hosts

    def _on_heartbeat(self, state: LoopState, known: bool) -> None:
        """Tidy up; tell Redis of all memberships if it does not know this process any more."""
        shrunk = self._mailbox.sweep(self._group_expiry_ms)
        groups = shrunk if known else [*self._mailbox.groups, *shrunk]
        for group in groups:
            self._write_members(state, group)

    def _write_members(self, state: LoopState, group: str) -> None:
        """Tell Redis how many members of a group are here, without waiting for it."""
        client = self._mailbox.client
        command = self._register_command(group, client, self._mailbox.count(group))
        state.write(group, pack_command(*command))


def _parts(raw: bytes) -> tuple[int, bytes]:
    """Return expiry and payload of a message to a plain channel; what is none has expired."""
    try:
        entry = read_entry(raw)
    except ProtocolError as error:
        _log.warning("an entry that cannot be read: %s", error)
        return 0, b""
    return (entry[0], entry[3]) if entry[1] == MESSAGE else (0, b"")
