"""A Redis as far as the gateway uses it, with everything that can happen to one."""

from collections import defaultdict, deque
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple, Protocol

from tests.model.loop import Clock

LEASE_S = 1.0
"""Short: nothing in the model depends on how long a lease is, but for how long it takes."""

READ_COUNT = 32
"""Entries that one read of an inbox takes."""


class Entry(NamedTuple):
    """One entry of a list, with who wrote it, and as the how manieth of all that happened."""

    raw: bytes
    sender: str
    order: int


class Data(NamedTuple):
    """What a Redis remembers."""

    id: int
    lists: defaultdict[str, deque[Entry]]
    alive: dict[str, float]
    """pid -> end of its lease"""
    dead: set[str]
    renewed_s: list[float]
    """When any process renewed last; one item"""

    def copy(self) -> "Data":
        """Return it as it is now."""
        lists = {key: deque(entries) for key, entries in self.lists.items() if entries}
        alive, dead = dict(self.alive), set(self.dead)
        return Data(self.id, defaultdict(deque, lists), alive, dead, [*self.renewed_s])


class Found(NamedTuple):
    """What a renewal of a lease tells."""

    data_id: int
    alive: frozenset[str]
    dead: frozenset[str]
    fenced: bool


class Wire:
    """A connection that commands are written to; they are carried out when the world says so.

    Attributes:
        commands: Written and not carried out.
        open: The process will read replies.
        delayed: Something between the process and Redis holds up what is written.
    """

    def __init__(self) -> None:
        self.commands: deque[tuple[Callable[[], Any], Callable[[Any], None] | None]] = deque()
        self.unanswered: deque[Callable[[Any], None] | None] = deque()
        self.open = True
        self.delayed = False


class Puller(Protocol):
    """Who waits for an entry of a queue."""

    def takes(self, queue: str) -> int: ...

    def take(self, queue: str, entries: list[Entry]) -> None: ...


class Redis:
    """Lists, leases, and what is left of connections that broke.

    Attributes:
        up: It can be reached.
        run_id: Which process it is; a new one after each restart.
        data: What it remembers now.
        late: Connections that broke, with what may still be carried out.
        written: Entries appended so far.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders = count()
        self._data_ids = 0
        self._runs = 0
        self.up = True
        self.late: list[Wire] = []
        self.saves: deque[Data] = deque(maxlen=6)
        self.pullers: list[Puller] = []
        self.written = 0
        self.run_id = self._new_run()
        self.data = self._new_data()

    def next_order(self) -> int:
        """Return a number for what happens now, higher than all before."""
        return next(self._orders)

    def _new_run(self) -> str:
        self._runs += 1
        return f"run{self._runs}"

    def _new_data(self) -> Data:
        self._data_ids += 1
        return Data(self._data_ids, defaultdict(deque), {}, set(), [self._clock.now_s])

    # Commands.

    def append(self, key: str, entry: Entry) -> int:
        """RPUSH."""
        entries = self.data.lists[key]
        entries.append(entry)
        self.written += 1
        self.save()
        return len(entries)

    def save(self) -> None:
        """Remember everything as it is, for a restart from there."""
        self.saves.append(self.data.copy())

    def remove(self, key: str, raw: bytes) -> int:
        """LREM."""
        entries = self.data.lists[key]
        for entry in entries:
            if entry.raw == raw:
                entries.remove(entry)
                return 1
        return 0

    def holds(self, key: str, raw: bytes) -> bool:
        """LPOS."""
        return any(entry.raw == raw for entry in self.data.lists[key])

    def take(self, key: str, count: int) -> list[Entry]:
        """LMPOP."""
        entries = self.data.lists[key]
        return [entries.popleft() for _ in range(min(count, len(entries)))]

    def serve(self, queue: str) -> None:
        """Give the entries of a queue to those who wait for them, the longest first."""
        for puller in list(self.pullers):
            count = puller.takes(queue)
            if count and self.data.lists[queue]:
                self.pullers.remove(puller)
                self.pullers.append(puller)
                puller.take(queue, self.take(queue, count))

    def renew(self, pid: str, *, rejoin: bool = False) -> Found:
        """Do what `renew.lua` does."""
        now, data = self._clock.now_s, self.data
        if rejoin:
            data.dead.discard(pid)
        if now - data.renewed_s[0] > LEASE_S / 2:
            data.alive.update(dict.fromkeys(data.alive, now + LEASE_S))
        data.renewed_s[0] = now
        for other in [one for one, until in data.alive.items() if until <= now and one != pid]:
            del data.alive[other]
            data.dead.add(other)
        fenced = pid in data.dead
        if not fenced:
            data.alive[pid] = now + LEASE_S
        return Found(data.id, frozenset(data.alive), frozenset(data.dead), fenced)

    def bury(self, pid: str, *, tombstone: bool) -> list[str]:
        """Do what `bury.lua` does; return the living."""
        self.data.alive.pop(pid, None)
        if tombstone:
            self.data.dead.add(pid)
        return list(self.data.alive)

    # What happens to it.

    def execute(self, wire: Wire, limit: int | None = None) -> bool:
        """Carry out what was written to a connection; return whether there was anything."""
        if not wire.commands or (wire.open and not self.up):
            return False
        for _ in range(len(wire.commands) if limit is None else min(limit, len(wire.commands))):
            command, reply = wire.commands.popleft()
            result = command()
            if wire.open and reply is not None:
                reply(result)
        return True

    def flush_all(self) -> None:
        """FLUSHALL: the data is gone, the connections are not."""
        self.data = self._new_data()

    def restart(self, *, saved: int | None) -> None:
        """Begin anew, empty or with one of the last things saved; connections are the world's."""
        self.run_id = self._new_run()
        if saved is None or not self.saves:
            self.data = self._new_data()
        else:
            self.data = self.saves[-1 - saved % len(self.saves)].copy()

    def fail_over(self, saved: int) -> None:
        """Go on with what a replica knows, behind a proxy that keeps the connections."""
        if self.saves:
            before = self.saves[-1 - saved % len(self.saves)].copy()
            self.data = self.data._replace(lists=before.lists)
