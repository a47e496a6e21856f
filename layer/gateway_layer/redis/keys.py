"""Every key in Redis, in one place. The hash tags in braces keep multi-key commands in one slot.

| key | type | what | end |
|---|---|---|---|
| `{q:NAME}:v1` | list | shared queue, an entry per opening | 120 s: has a backlog, writer ends |
| `{PID}:in` | list | inbox of one process | 60 s, as a queue; deleted at its death |
| `{PID}:push` | list | inbox for other services | 60 s, set with each write |
| `{PID}:up` | string | lease: `[kind, vmin, vmax, parent, drain]` | the lease |
| `{g:GROUP}` | zset | processes with members -> since when, ms | 3600 s, re-asserted |
| `{r:ID}` | list | answers to one pusher | 30 s, each write |
| `{p}:alive` | zset | pid -> end of its lease, Redis ms | 120 s, each renewal |
| `{p}:dead` | zset | pid -> when it is forgotten, Redis ms | 120 s, each renewal |
| `{p}:inc` | string | incarnation of the data, SET NX | 120 s, each renewal |
| `{p}:renewed` | string | when any process renewed last, Redis ms | 120 s, each renewal |
| `{p}:sweep` | string | which process sweeps this minute | 50 s |

All are preceded by the namespace, as in `gw:{p}:alive`.
"""

from typing import Final

QUEUE_BACKLOG_TTL_S: Final = 120
INBOX_BACKLOG_TTL_S: Final = 60
MEMBERS_TTL_S: Final = 120
TOMBSTONE_S: Final = 60
SWEEP_EVERY_S: Final = 60
ORPHAN_TTL_S: Final = 60
GROUP_TTL_S: Final = 3600
REPLY_TTL_S: Final = 30
PUSH_TTL_S: Final = 60


class Keys:
    """The names of all keys under one namespace, as bytes."""

    def __init__(self, namespace: str) -> None:
        """Take the namespace that all keys begin with."""
        self._prefix: Final = namespace.encode() + b":"
        self.alive: Final = self._prefix + b"{p}:alive"
        self.dead: Final = self._prefix + b"{p}:dead"
        self.incarnation: Final = self._prefix + b"{p}:inc"
        self.renewed: Final = self._prefix + b"{p}:renewed"
        self.sweep: Final = self._prefix + b"{p}:sweep"
        self.everything: Final = self._prefix + b"*"
        self.groups: Final = self._prefix + b"{g:*"

    def group(self, name: str) -> bytes:
        """Return the zset of the processes that have members of a group."""
        return b"%b{g:%b}" % (self._prefix, name.encode())

    def replies(self, reply_id: str) -> bytes:
        """Return the list of answers to one pusher."""
        return b"%b{r:%b}" % (self._prefix, reply_id.encode())

    def queue(self, name: str) -> bytes:
        """Return the list of a shared queue."""
        return b"%b{q:%b}:v1" % (self._prefix, name.encode())

    def inbox(self, pid: str) -> bytes:
        """Return the list that one process reads."""
        return b"%b{%b}:in" % (self._prefix, pid.encode())

    def pushes(self, pid: str) -> bytes:
        """Return the list through which other services reach one process."""
        return b"%b{%b}:push" % (self._prefix, pid.encode())

    def lease(self, pid: str) -> bytes:
        """Return the string that exists while the process is alive."""
        return b"%b{%b}:up" % (self._prefix, pid.encode())

    def owner_of_list(self, key: bytes) -> str | None:
        """Return the pid whose inbox or push list `key` is; None for any other key."""
        rest = key.removeprefix(self._prefix)
        for suffix in (b"}:in", b"}:push"):
            if rest.startswith(b"{") and rest.endswith(suffix) and not rest.startswith(b"{p}"):
                return rest[1 : -len(suffix)].decode("ascii", "replace")
        return None

    def is_group(self, key: bytes) -> bool:
        """Whether `key` is a group of this namespace."""
        return key.startswith(self._prefix + b"{g:")

    def is_queue(self, key: bytes) -> bool:
        """Whether `key` is a shared queue of this namespace."""
        return key.startswith(self._prefix + b"{q:")
