"""The channel layer in one process's memory: the reference that every other is compared with."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection

from gateway_layer.base import PULL_TIMEOUT_S, ChannelLayer, OnEntries, OnPushed
from gateway_layer.errors import LayerUnavailable
from gateway_layer.names import new_pid


class MemoryBroker:
    """What Redis is to the other layers; the layers of one event loop share one."""

    def __init__(self) -> None:
        """Begin empty and reachable."""
        self.queues: defaultdict[str, deque[bytes]] = defaultdict(deque)
        self.waiting: defaultdict[str, deque[_Pull]] = defaultdict(deque)
        self.layers: dict[str, MemoryLayer] = {}
        self.groups: defaultdict[str, set[str]] = defaultdict(set)
        self.answers: defaultdict[str, list[bytes]] = defaultdict(list)
        self.incarnation = new_pid()
        self.reachable = True

    def lose(self) -> None:
        """Forget everything, as a Redis that was started anew, and say so to every process."""
        self.queues.clear()
        self.groups.clear()
        self.incarnation = new_pid()
        for layer in list(self.layers.values()):
            layer.incarnation = self.incarnation
            layer.on_lost()
            layer.on_available()

    def fence(self, pid: str) -> None:
        """Hold a process for dead that is not; the others hear of it first."""
        layer = self.layers.pop(pid)
        for other in list(self.layers.values()):
            other.on_peer_dead(pid)
        layer.on_fenced()

    def kill(self, pid: str) -> None:
        """Let a process end without a word; the others hear of it."""
        if self.layers.pop(pid, None):
            for layer in list(self.layers.values()):
                layer.on_peer_dead(pid)


class _Pull:
    """A pull that waits for entries."""

    timer: asyncio.TimerHandle

    def __init__(self, pid: str, count: int, on_entries: OnEntries) -> None:
        self.pid = pid
        self.count = count
        self.on_entries = on_entries


class MemoryLayer(ChannelLayer):
    """One member of a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, kind: str = "test", *, pid: str | None = None) -> None:
        """Prepare a member of `broker`."""
        super().__init__(kind, pid=pid)
        self.broker = broker

    @property
    def available(self) -> bool:
        """See the contract."""
        return self.broker.reachable and self.pid in self.broker.layers

    @property
    def living(self) -> Collection[str]:
        """See the contract."""
        return self.broker.layers

    async def start(self) -> None:
        """See the contract."""
        self.broker.layers[self.pid] = self
        self.incarnation = self.broker.incarnation

    async def close(self) -> None:
        """See the contract."""
        for waiting in self.broker.waiting.values():
            for pull in [pull for pull in waiting if pull.pid == self.pid]:
                waiting.remove(pull)
                pull.timer.cancel()
        self.broker.kill(self.pid)

    def rejoin(self) -> None:
        """See the contract."""
        self.broker.layers[self.pid] = self
        self.on_available()

    def now_ms(self) -> int:
        """See the contract."""
        return int(time.monotonic() * 1000)

    def _check(self) -> None:
        if not self.available:
            raise LayerUnavailable("the memory layer is switched off")

    def push(self, queue: str, entry: bytes, on_pushed: OnPushed) -> None:
        """See the contract."""
        self._check()
        entries = self.broker.queues[queue]
        entries.append(entry)
        asyncio.get_running_loop().call_soon(on_pushed, len(entries))
        self._serve(queue)

    def recall(self, queue: str, entry: bytes, on_recalled: Callable[[bool], None]) -> None:
        """See the contract."""
        entries = self.broker.queues[queue]
        found = self.available and entry in entries
        if found:
            entries.remove(entry)
        asyncio.get_running_loop().call_soon(on_recalled, found)

    def find(self, queue: str, entry: bytes, on_found: Callable[[bool | None], None]) -> None:
        """See the contract."""
        found = entry in self.broker.queues[queue] if self.available else None
        asyncio.get_running_loop().call_soon(on_found, found)

    def pull(self, queue: str, count: int, on_entries: OnEntries) -> None:
        """See the contract."""
        pull = _Pull(self.pid, count, on_entries)
        waiting = self.broker.waiting[queue]
        waiting.append(pull)

        def give_up() -> None:
            waiting.remove(pull)
            on_entries([])

        pull.timer = asyncio.get_running_loop().call_later(PULL_TIMEOUT_S, give_up)
        self._serve(queue)

    def _serve(self, queue: str) -> None:
        entries, waiting = self.broker.queues[queue], self.broker.waiting[queue]
        while entries and waiting:
            pull = waiting.popleft()
            pull.timer.cancel()
            taken = [entries.popleft() for _ in range(min(pull.count, len(entries)))]
            asyncio.get_running_loop().call_soon(pull.on_entries, taken)

    def deliver(self, pid: str, entry: bytes) -> None:
        """See the contract."""
        self._check()
        asyncio.get_running_loop().call_soon(self._arrive, pid, entry)

    def _arrive(self, pid: str, entry: bytes) -> None:
        if peer := self.broker.layers.get(pid):
            peer.on_inbox([entry])

    def register_group(self, group: str, on_registered: Callable[[bool], None]) -> None:
        """See the contract."""
        self.broker.groups[group].add(self.pid)
        asyncio.get_running_loop().call_soon(on_registered, True)

    def unregister_group(self, group: str) -> None:
        """See the contract."""
        self.broker.groups[group].discard(self.pid)

    def answer(self, reply_id: str, raw: bytes) -> None:
        """See the contract."""
        self.broker.answers[reply_id].append(raw)

    def flush(self) -> None:
        """See the contract; nothing is ever collected here."""
