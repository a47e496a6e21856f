"""What other services say to the owner of a connection, and what it answers.

A push is an entry in the owner's `{PID}:push` list: an envelope without a link, whose frames are
`[connection, op, reply, ...]`. `reply` is nil, or `[id, number]`: then the owner appends
`[[number, status, payload], ...]` to the list `{r:ID}`, which expires after 30 s.
"""

from typing import Any, Final, NamedTuple

from gateway_layer.codec import Message

PUSH: Final = 40
INFO: Final = 41
GROUP_ADD: Final = 42
GROUP_DISCARD: Final = 43
GROUP_SEND: Final = 44
GROUP_LIST: Final = 45

OK: Final = "ok"
GONE: Final = "gone"
"""No such connection, or it is closing."""
FULL: Final = "full"
"""Its outgoing buffer is over the limit; it is being closed with 1013."""
BAD: Final = "bad"
"""The frame could not be carried out as it is; the payload says why."""

PUSH_CAPACITY: Final = 1024
"""Entries in a `{PID}:push` list beyond which a pusher is refused."""
MAX_KEY: Final = 128
"""Characters of an idempotency key."""
DEDUPLICATE_S: Final = 60
"""How long an owner remembers idempotency keys."""

Reply = tuple[str, int] | None
"""(id of the reply list, number of the request), or None for no answer."""


class Push(NamedTuple):
    """Send an event to a connection's socket, or close it."""

    connection: str
    op: int
    reply: Reply
    event: Message
    """`websocket.send` with `text` or `bytes`, or `websocket.close` with `code` and `reason`."""
    key: str | None
    """Idempotency key: within 60 s the owner answers a repetition without sending again."""
    confirm: bool
    """Answer only when the kernel has taken the bytes."""


class Info(NamedTuple):
    """Ask what is known of a connection; see `ConnectionInfo`."""

    connection: str
    op: int
    reply: Reply


class GroupAdd(NamedTuple):
    """Let a connection join a group; answered when a later group send reaches it."""

    connection: str
    op: int
    reply: Reply
    group: str


class GroupDiscard(NamedTuple):
    """Let a connection leave a group."""

    connection: str
    op: int
    reply: Reply
    group: str


class GroupSend(NamedTuple):
    """Send an event to every member of a group that this process owns; `connection` is ""."""

    connection: str
    op: int
    reply: Reply
    group: str
    event: Message
    exclude: tuple[str, ...]
    """Connection ids that are left out."""
    key: str | None


class GroupList(NamedTuple):
    """Ask which connections of this process are in a group; `connection` is ""."""

    connection: str
    op: int
    reply: Reply
    group: str


FRAMES: Final[dict[int, Any]] = {
    PUSH: Push,
    INFO: Info,
    GROUP_ADD: GroupAdd,
    GROUP_DISCARD: GroupDiscard,
    GROUP_SEND: GroupSend,
    GROUP_LIST: GroupList,
}
"""The type of each op, for reading."""
