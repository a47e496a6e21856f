"""What a channel layer is made of: options, keys, mailbox, a state for each event loop."""

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final
from zlib import crc32

from gateway_layer.channels.borrowed import Borrowed, Connection
from gateway_layer.channels.crypto import encryption
from gateway_layer.channels.entries import FLUSH, MESSAGE
from gateway_layer.channels.loop_state import LoopState
from gateway_layer.channels.mailbox import Mailbox, now_ms
from gateway_layer.channels.options import Keys, read_capacities, read_hosts
from gateway_layer.channels.plain import read_script
from gateway_layer.channels.routes import Route, Routes
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError
from gateway_layer.push.owners import Owners
from gateway_layer.redis.resp import pack_command

_NOTIFY: Final = read_script("notify")
_REGISTER: Final = read_script("register")
GROUP_BACKLOG: Final = 10_000
"""Entries for groups that an inbox may hold, so that a process that hangs does not fill Redis."""

GONE: Final = -1
"""What `_notify` returns of a process that is dead."""

_LISTEN_S, _LISTEN_LOOK_S = 2.0, 0.01
"""How long the owner of a connection may take to become a process of the layer."""

_MOST_OWNERS: Final = 1000

_log = logging.getLogger("gateway.channels")


class LayerBase:
    """The part of `RedisChannelLayer` that nobody calls from outside, with its attributes."""

    _mailbox: Mailbox

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
        namespace: str = "gw",
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
            namespace: Of the gateway whose clients' reply channels are sent to, on the same Redis.

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
        self._namespace = LayerConfig(namespace=namespace).namespace
        self._hosts = read_hosts(hosts)
        self._crypto = encryption(symmetric_encryption_keys)
        self._keys = Keys(prefix)
        self._expiry_ms = max(1, int(expiry * 1000))
        self._group_expiry_ms = max(1, int(group_expiry * 1000))
        self._routes: Final = Routes(self._keys, self._shard_of, self._expiry_ms)
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        if hasattr(self, "_mailbox"):
            _of_parents.append(self._mailbox)
        self._os_pid = os.getpid()
        self._lock = threading.Lock()
        self._mailbox = self._make_mailbox()
        self._owners = Owners()
        self._listening: set[str] = set()  # owners of connections that read for us
        self._failed: set[str] = set()  # groups whose last message, for all we know, got lost

    def _make_mailbox(self) -> Mailbox:
        least = min((capacity for _, capacity in self.channel_capacity), default=self.capacity)
        return Mailbox(self.get_capacity, least=min(least, self.capacity))

    def get_capacity(self, channel: str) -> int:
        """Return how many unread messages a channel may hold."""
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return capacity
        return self.capacity

    @property
    def statistics(self) -> dict[str, int]:
        """Messages this process has dropped, `expired` unread and `dropped` for other reasons.

        Those are: a full channel, and Redis that did not take what was sent to a group.
        """
        return {"dropped": self._mailbox.dropped, "expired": self._mailbox.expired}

    # Sending to other processes.

    def _send(
        self, state: LoopState, channel: str, route: Route, payload: bytes
    ) -> Coroutine[Any, Any, bool]:
        """Append a packed message to the list of its channel; tell whether there was room."""
        capacity = self.get_capacity(channel)
        entry = state.packer.pack((now_ms() + self._expiry_ms, MESSAGE, channel, payload))
        if route.client == self._mailbox.client:
            return self._send_here(state, channel, route, capacity, entry)
        return state.append(route, capacity, entry)

    async def _send_here(
        self, state: LoopState, channel: str, route: Route, capacity: int, entry: bytes
    ) -> bool:
        """Append to the own inbox; what waits unread here, or is on its way, takes room, too.

        The list alone does not tell: who waits for any channel of this process empties it.
        """
        mailbox = self._mailbox
        room = mailbox.begin_send(channel, capacity)
        if room <= 0:
            return False
        try:
            return await state.append(route, room, entry)
        finally:
            mailbox.end_send(channel)

    async def _notify(self, state: LoopState, client: str, entry: tuple[Any, ...]) -> int:
        """Append an entry to the inbox of a process; 1, 0 if it is full, -1 if it is gone."""
        packed = state.packer.pack((now_ms() + self._expiry_ms, *entry))
        keys = self._keys.inbox(client), self._keys.lease(client)
        done = await state.call(
            client, "EVAL", _NOTIFY, 2, *keys, self._expiry_ms, GROUP_BACKLOG, packed
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

    # Channels of connections.

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
        if state is not None and not state.closed:
            return state
        self._look_for_fork()
        with self._lock:
            states = self._mailbox.states
            for other in [other for other in states if other.is_closed()]:
                del states[other]  # closed without an end of its tasks
            state = states[loop] = LoopState(
                self._hosts,
                self._shard_of,
                self._keys,
                self._namespace,
                self._owners,
                self._mailbox,
                self._expiry_ms,
                self._write_members,
                self._on_heartbeat,
            )
        return state

    def _look_for_fork(self) -> None:
        """See whether this is a child of which Python has not told: servers in C fork so."""
        if self._os_pid != os.getpid():
            self._renew()

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


_all: Final[weakref.WeakSet[LayerBase]] = weakref.WeakSet()
_of_parents: Final[list[Mailbox]] = []
"""Kept, or asyncio would complain of their tasks, which never run here."""


def _begin_anew() -> None:
    """In a child of this process: its parent's names and connections are its parent's."""
    for layer in _all:
        layer._renew()


os.register_at_fork(after_in_child=_begin_anew)
