"""The channel layer of a simulated process, as `gateway_layer.redis.layer` behaves."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from gateway_layer.base import PULL_TIMEOUT_S, ChannelLayer, OnEntries, OnPushed
from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import Fence
from tests.model.loop import Loop
from tests.model.redis import LEASE_S, READ_COUNT, Entry, Found, Redis, Wire

_RENEW_S = LEASE_S * 0.3
_FENCE_S = LEASE_S * 0.9
_DEATH_S = LEASE_S * 1.3
_RECONNECT_S = 0.05
_FENCED_PULL_S = 0.1
_READ_S = LEASE_S * 0.1
"""A read waits for so long; a lease is as many times as long as with the real ones."""


class Watcher(Protocol):
    """Who checks what passes through a layer."""

    def on_delivery(self, layer: "ModelLayer", entry: Entry) -> None: ...

    def on_delivered(self) -> None: ...

    def on_burial(self, layer: "ModelLayer", pid: str) -> None: ...

    def on_fenced(self, layer: "ModelLayer") -> None: ...


class _Pull:
    """A pull that waits at Redis, or its entries on their way."""

    def __init__(self, count: int, on_entries: OnEntries) -> None:
        self.count = count
        self.on_entries = on_entries
        self.timer: asyncio.TimerHandle | None = None
        self.waits = False


class ModelLayer(ChannelLayer):
    """One process's access to the simulated Redis.

    Attributes:
        wire: The connection that it writes to.
        fence: As in the layer on Redis.
        buried: Who it holds for dead.
        frozen_s: Since when its process stands still; None: it runs.
    """

    def __init__(self, redis: Redis, loop: Loop, kind: str, pid: str, watcher: Watcher) -> None:
        super().__init__(kind, pid=pid)
        self._redis = redis
        self._loop = loop
        self._watcher = watcher
        self.wire = Wire()
        self.fence = Fence()
        self.buried: set[str] = set()
        self.frozen_s: float | None = None
        self._renewed_s = float("-inf")
        self._absent: dict[str, float] = {}
        self._looked_s = float("-inf")
        self._peers: set[str] = set()
        self._pulls: dict[str, _Pull] = {}
        self._collected: list[tuple[Callable[[], Any], Callable[[Any], None] | None]] = []
        self._data_id = 0
        self._ready = False
        self._held_back = False
        self.closed = False
        self._writing = self._reading = False
        self._wants = False  # a read of the inbox waits at Redis
        self._reader = 0  # which connection it reads by

    # Life.

    @property
    def available(self) -> bool:
        return self._ready

    async def start(self) -> None:
        self._redis.pullers.append(self)
        self._connect_writer()
        self._connect_reader()
        self._beat()

    async def close(self) -> None:
        if not self.closed:
            self._write()
            self.vanish()
            self._redis.execute(self.wire)
            self._redis.bury(self.pid, tombstone=False)
            self._redis.data.lists.pop(self.pid, None)

    def vanish(self) -> None:
        """Its process is gone."""
        self.closed = True
        self._ready = False
        self._collected.clear()
        if self in self._redis.pullers:
            self._redis.pullers.remove(self)

    def now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    # Connections: one writes, one reads the inbox, one pulls.

    def cut_writer(self, *, late: bool) -> None:
        """Break the connection that writes; what was written may be carried out later, or not."""
        wire = self.wire
        if late and wire.commands:
            self._redis.late.append(wire)
        wire.open = False
        self._loop.call_soon(self._writer_lost, wire)

    def _writer_lost(self, wire: Wire) -> None:
        if wire is not self.wire or self.closed:
            return
        self._writing = False
        self._collected.clear()
        unanswered, wire.unanswered = wire.unanswered, type(wire.unanswered)()
        for on_reply in unanswered:
            if on_reply is not None:
                on_reply(LayerUnavailable("the connection broke"))
        self._disconnected()
        self._loop.call_later(_RECONNECT_S, self._connect_writer)

    def cut_reader(self) -> None:
        """Break the connection that reads; what was taken from the inbox and not read is lost."""
        self._reader += 1
        self._wants = False
        self._loop.call_soon(self._reader_lost, self._reader)

    def _reader_lost(self, reader: int) -> None:
        if reader == self._reader and not self.closed:
            self._reading = False
            self._disconnected()
            self._loop.call_later(_RECONNECT_S, self._connect_reader)

    def cut_pulls(self) -> None:
        """Break the connections that pull; openings that were taken and not read are lost."""
        for queue in list(self._pulls):
            pull = self._pulls.pop(queue)
            if pull.timer is not None:
                pull.timer.cancel()
            self._loop.call_soon(pull.on_entries, ())

    def _disconnected(self) -> None:
        if self._ready:
            self._ready = False
            self._data_id = 0
            self.on_lost()

    def _connect_writer(self) -> None:
        if self.closed or self._writing:
            return
        if not self._redis.up:
            self._loop.call_later(_RECONNECT_S * 5, self._connect_writer)
            return
        self.wire = Wire()
        self._writing = True
        self._connected()

    def _connect_reader(self) -> None:
        if self.closed or self._reading:
            return
        if not self._redis.up:
            self._loop.call_later(_RECONNECT_S * 5, self._connect_reader)
            return
        self._reading = self._wants = True
        self._connected()

    def _connected(self) -> None:
        self.incarnation = self._redis.run_id
        if self._writing and self._reading:
            self._renew()

    # Leases and deaths.

    def _beat(self) -> None:
        if not self.closed:
            self._renew()
            self._loop.call_later(_RENEW_S, self._beat)

    def lapse(self) -> None:
        """See, as a fence does by its own clock, whether the lease has lapsed."""
        if self._loop.time() - self._renewed_s > _FENCE_S:
            self.fence.until_s = float("-inf")

    def _renew(self, *, rejoin: bool = False) -> None:
        if self._redis.up and not self.closed:
            self._on_renewed(self._redis.renew(self.pid, rejoin=rejoin))

    def _on_renewed(self, found: Found) -> None:
        if found.fenced:
            if not self.fence.fenced:
                self.fence.fenced = True
                self._ready = False
                self._watcher.on_fenced(self)
                self.on_fenced()
            return
        self._renewed_s = self._loop.time()
        self.fence.until_s = float("inf")
        self.fence.fenced = False
        if self._data_id and found.data_id != self._data_id and self._ready:
            self.on_lost()
            self.on_available()
        elif self._held_back and self._ready:
            self.on_available()
        self._held_back = False
        self._data_id = found.data_id
        if not self._ready and self._writing and self._reading:
            self._ready = True
            self.on_available()
        self._look_for_the_dead(found)

    def _look_for_the_dead(self, found: Found) -> None:
        for pid in sorted(self.buried & found.alive):
            self.buried.discard(pid)
            self.on_peer_back(pid)
        for pid in sorted(found.dead):
            self.found_dead(pid)
        now = self._loop.time()
        if now - self._looked_s > _DEATH_S / 2:
            self._absent.clear()
        self._looked_s = now
        for pid in sorted(self._peers):
            if pid in found.alive:
                self._absent.pop(pid, None)
            elif now - self._absent.setdefault(pid, now) >= _DEATH_S:
                self.found_dead(pid)

    def rejoin(self) -> None:
        self._loop.call_soon(lambda: self._renew(rejoin=True))

    def found_dead(self, pid: str) -> None:
        if pid == self.pid or (pid in self.buried and pid not in self._peers):
            return
        self.buried.add(pid)
        self._peers.discard(pid)
        self._absent.pop(pid, None)
        self._watcher.on_burial(self, pid)
        self.on_peer_dead(pid)
        self._redis.data.lists.pop(pid, None)

    # Reading.

    @property
    def _reads(self) -> bool:
        """Whether Redis still knows of its reads: it forgets who stands still."""
        return self.frozen_s is None or self._loop.time() - self.frozen_s <= _READ_S

    def read(self) -> bool:
        """Let Redis answer the read of the inbox that waits; return whether there was anything."""
        if not (self._wants and self._redis.up and self._reads):
            return False
        entries = self._redis.take(self.pid, READ_COUNT)
        if entries:
            self._wants = False
            self._loop.call_soon(self._on_read, self._reader, entries)
        return bool(entries)

    def _on_read(self, reader: int, entries: list[Entry]) -> None:
        if reader != self._reader or self.closed:
            return
        self._wants = True
        for entry in entries:
            self._watcher.on_delivery(self, entry)
            self.on_inbox([entry.raw])
            self._watcher.on_delivered()

    def pull(self, queue: str, count: int, on_entries: OnEntries) -> None:
        self.lapse()
        if self.fence.closed:
            self._loop.call_later(_FENCED_PULL_S, on_entries, ())
            return
        pull = self._pulls[queue] = _Pull(count, on_entries)
        pull.waits = True

        def give_up() -> None:
            if self._pulls.get(queue) is pull and pull.waits:
                del self._pulls[queue]
                on_entries(())

        pull.timer = self._loop.call_later(PULL_TIMEOUT_S, give_up)

    def takes(self, queue: str) -> int:
        """Return how many entries of a queue it waits for."""
        pull = self._pulls.get(queue)
        if pull is None or not pull.waits or not self._redis.up or not self._reads:
            return 0
        self.incarnation = self._redis.run_id  # a connection that pulls has read it
        return pull.count

    def take(self, queue: str, entries: list[Entry]) -> None:
        """Redis answers a pull."""
        pull = self._pulls[queue]
        pull.waits = False

        def on_reply() -> None:
            if self._pulls.get(queue) is pull and not self.closed:
                del self._pulls[queue]
                pull.on_entries([entry.raw for entry in entries])

        self._loop.call_soon(on_reply)

    # Writing.

    def _collect(self, command: Callable[[], Any], on_reply: Callable[[Any], None] | None) -> None:
        if not self._collected:
            self._loop.call_soon(self._write)
        self._collected.append((command, on_reply))

    def _write(self) -> None:
        collected, self._collected = self._collected, []
        wire = self.wire
        for command, on_reply in collected:
            if on_reply is None:
                wire.commands.append((command, None))
                continue
            wire.unanswered.append(on_reply)
            wire.commands.append((command, self._reply_to(wire)))

    def _reply_to(self, wire: Wire) -> Callable[[Any], None]:
        def reply(result: Any) -> None:
            self._loop.call_soon(answered, result)

        def answered(result: Any) -> None:
            if wire.open and wire.unanswered:
                on_reply = wire.unanswered.popleft()
                if on_reply is not None:
                    on_reply(result)

        return reply

    def _require_ready(self) -> None:
        if not self._ready:
            raise LayerUnavailable("Redis cannot be reached")
        self.lapse()
        self._held_back |= self.fence.closed
        self.fence.check()

    def push(self, queue: str, entry: bytes, on_pushed: OnPushed) -> None:
        self._require_ready()
        redis, written = self._redis, Entry(entry, self.pid, self._redis.next_order())
        self._collect(lambda: redis.append(queue, written), on_pushed)

    def deliver(self, pid: str, entry: bytes) -> None:
        self._require_ready()
        self._peers.add(pid)
        redis, written = self._redis, Entry(entry, self.pid, self._redis.next_order())
        self._collect(lambda: redis.append(pid, written), None)

    def recall(self, queue: str, entry: bytes, on_recalled: Callable[[bool], None]) -> None:
        if not self._writing:
            self._loop.call_soon(on_recalled, False)
            return
        redis = self._redis
        self._collect(lambda: redis.remove(queue, entry), lambda reply: on_recalled(reply == 1))

    def find(self, queue: str, entry: bytes, on_found: Callable[[bool | None], None]) -> None:
        if not self._writing:
            self._loop.call_soon(on_found, None)
            return
        redis = self._redis

        def on_reply(reply: bool | LayerUnavailable) -> None:
            on_found(None if isinstance(reply, LayerUnavailable) else reply)

        self._collect(lambda: redis.holds(queue, entry), on_reply)

    def flush(self) -> None:
        self._write()

    # Groups and pushes have models of their own.

    def register_group(self, group: str, on_registered: Callable[[bool], None]) -> None:
        self._loop.call_soon(on_registered, True)

    def unregister_group(self, group: str) -> None:
        """Nobody sends to groups here."""

    def answer(self, reply_id: str, raw: bytes) -> None:
        """Nobody pushes here."""
