"""The wire: envelopes, link headers, and the frames of connections as documented types.

An entry of a Redis list is one msgpack array, the envelope:

    [version, sender, link, frames]

`version` is 1; `sender` the pid of the writing process; `link` the header of the link between the
two processes, or nil where none is kept (openings in a shared queue, words of a supervisor);
`frames` an array of frames `[connection, op, epoch, ...]`. Positions 0 and 1 of the envelope and
the form of `Refuse` never change, whatever the version.

The types below are NamedTuples, so they pack as the arrays that they are on the wire.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from gateway_layer.codec import Message, array_header, pack, unpack
from gateway_layer.errors import ProtocolError

VERSION: Final = 1

MAX_ENTRY_BYTES: Final = 131_072
"""A batch is split before it grows over this; a single larger frame goes alone."""

CHUNK_BYTES: Final = 65_536
"""Bodies travel in pieces of at most this; larger WebSocket messages in parts."""

MAX_STATE_BYTES: Final = 16_384
"""How large the state of a connection may be, packed."""

EVENT_OVERHEAD: Final = 256
"""What an event costs beside its payload: without it 1-byte messages would defeat the window."""

# Interface to worker, through a shared queue.
OPEN: Final = 1
# Worker to interface.
CLAIM: Final = 2
DATA: Final = 3
REFUSE: Final = 4
DONE: Final = 5
RELEASE: Final = 6
DETACH: Final = 7
HANDLED: Final = 8
LISTEN: Final = 9
# Interface to worker.
EVENTS: Final = 16
CREDIT: Final = 17
RESET: Final = 18
RELEASED: Final = 19
# Any process to any process, without a connection's session.
MESSAGE: Final = 32
DEAD: Final = 33
LOST: Final = 34


class LinkHeader(NamedTuple):
    """Numbers the batches between two processes; see `gateway_layer.link`."""

    my_gen: int
    """Generation of the sender's state of this link."""
    your_gen: int
    """Generation of the receiver's state as the sender knows it; 0: not known yet."""
    seq: int
    """Number of this batch in `my_gen`, from 0."""
    ack: int
    """How many batches of `your_gen` have arrived."""
    flags: int
    """Sum of FLAG_…; 0 for a batch. Any other says something of the link itself: it carries no
    frames, and `seq` does not number it."""


FLAG_ACK: Final = 1
"""Nothing but `ack`."""
FLAG_WANT: Final = 2
"""Something of yours may be missing here, or you know an old generation of me: probe."""
FLAG_PROBE: Final = 4
"""I have written `seq` batches before this; which of them have you got?"""
FLAG_ANSWER: Final = 8
"""`ack` as of the moment when the probe `seq` arrived."""
FLAG_BYE: Final = 16
"""My last word: this process ends."""


class Open(NamedTuple):
    """Interface -> queue: a connection that wants an instance."""

    connection: str
    op: int
    epoch: int
    """Number of this opening of the connection, from 1; every push of it has a new one."""
    kind: str
    """`http`, `websocket`, or another protocol's."""
    scope: Message
    """The ASGI scope without `asgi`, `state` and `extensions`, which the worker adds."""
    resumed: int
    """How many instances the connection had before."""
    state: bytes | None
    """The connection's state as last confirmed, packed; nil: it has none."""
    body: bytes
    """As much of the request body as had arrived, less than two chunks."""
    more: bool
    """Whether more of the body follows as events."""
    deadline_ms: int
    """Redis time in ms after which nobody waits for this opening."""
    incarnation: str
    """Which life of Redis it was pushed into."""
    credit: int
    """Cost that the worker may send before the first `Credit`."""


class Data(NamedTuple):
    """Worker -> interface: what an instance did in one turn of the loop."""

    connection: str
    op: int
    epoch: int
    events: Sequence[Message]
    """Events that the application sent, in order."""
    confirmed: int | None
    """Events 1..n of stream 0 are handled; 0: the application has asked for its first."""
    state: bytes | None
    """The connection's state at that moment, packed, where it changed."""


class Claim(NamedTuple):
    """Worker -> interface: I run an instance for this opening. The first of an epoch binds.

    It says at once what the instance did in its first turn: `Data` with a window.
    """

    connection: str
    op: int
    epoch: int
    events: Sequence[Message]
    confirmed: int | None
    state: bytes | None
    window: int
    """Cost of unconfirmed events that the interface may have under way."""


class Refuse(NamedTuple):
    """Worker -> interface: this opening was certainly not started; give it to another."""

    connection: str
    op: int
    epoch: int
    reason: str


class Done(NamedTuple):
    """Worker -> interface: the instance ended before its protocol did."""

    connection: str
    op: int
    epoch: int
    outcome: str
    """`returned`, `error` (it raised; its traceback is in the worker's log), `drain`."""


class Release(NamedTuple):
    """Worker -> interface: give me no more events; I want to let go of this connection."""

    connection: str
    op: int
    epoch: int
    reason: str
    """`drain`: another worker shall have it at once; `hibernate`: with its next event."""


class Detach(NamedTuple):
    """Worker -> interface: the instance has ended; the connection is yours again."""

    connection: str
    op: int
    epoch: int
    reason: str
    """As in `Release`."""
    state: bytes | None
    """As in `Data`."""


class Handled(NamedTuple):
    """Worker -> interface: messages 1..seq to the k-th channel of the connection are handled."""

    connection: str
    op: int
    epoch: int
    stream: int
    seq: int


class Listen(NamedTuple):
    """Worker -> interface: be there for the channels of your connections, in this channel layer."""

    connection: str
    op: int
    epoch: int
    prefix: str
    """Of the layer's keys."""
    expiry_ms: int
    group_expiry_ms: int


class Events(NamedTuple):
    """Interface -> worker: what the client did, or what came to a channel of the connection."""

    connection: str
    op: int
    epoch: int
    stream: int
    """0: the client. k: the k-th layer channel of the connection."""
    first: int
    """Number of the first event of this frame in its stream; they are numbered from 1."""
    events: Sequence[Message]


class Credit(NamedTuple):
    """Interface -> worker: cost that may have been sent in this epoch, in total."""

    connection: str
    op: int
    epoch: int
    total: int


class Reset(NamedTuple):
    """Interface -> worker: I do not hold this connection in this epoch with you; end it."""

    connection: str
    op: int
    epoch: int


class Released(NamedTuple):
    """Interface -> worker: all that you were given is confirmed, and no more comes."""

    connection: str
    op: int
    epoch: int


class Envelope(NamedTuple):
    """One entry of an inbox or a queue, read."""

    version: int
    sender: str
    link: LinkHeader | None
    frames: tuple[tuple[Any, ...], ...]


def read_entry(raw: bytes) -> Envelope:
    """Read one entry.

    Raises:
        ProtocolError: Not an envelope of a version that this process speaks; the text names the
            sender where it could be read.
    """
    value = unpack(raw)
    if value.__class__ is not tuple or len(value) < 2 or value[1].__class__ is not str:
        raise ProtocolError("not an envelope [version, sender, link, frames]")
    if value[0] != VERSION:
        raise ProtocolError(
            f"version {value[0]!r} from {value[1]!r}, this process reads {VERSION}", value[1]
        )
    if len(value) != 4 or value[3].__class__ is not tuple:
        raise ProtocolError(f"malformed envelope from {value[1]!r}", value[1])
    link = value[2]
    if link is not None and not (link.__class__ is tuple and len(link) == 5):
        raise ProtocolError(f"malformed link header from {value[1]!r}", value[1])
    return Envelope(VERSION, value[1], link and _link_header(link, value[1]), value[3])


def _link_header(link: tuple[Any, ...], sender: str) -> LinkHeader:
    if tuple(map(type, link)) != _LINK_TYPES or min(link) < 0:
        raise ProtocolError(f"malformed link header from {sender!r}", sender)
    return LinkHeader._make(link)


_LINK_TYPES: Final = (int,) * len(LinkHeader._fields)


def read_open(frame: Any) -> Open:
    """Read the frame of an opening; the worker builds an instance from nothing else.

    Raises:
        ProtocolError: Not an `Open`; the text names the field.
    """
    if frame.__class__ is not tuple or len(frame) != len(Open._fields) or frame[1] != OPEN:
        raise ProtocolError("not an opening")
    if tuple(map(type, frame)) not in _OPEN_TYPES:
        # The state alone may have either of two types.
        expected = _OPENS_WITHOUT_STATE if frame[6] is None else _OPENS_WITH_STATE
        for name, kind, value in zip(Open._fields, expected, frame, strict=True):
            if type(value) is not kind:
                raise ProtocolError(f"an opening whose {name} is a {type(value).__name__}")
    return Open._make(frame)


_NONE: Final = type(None)
_OPENS_WITHOUT_STATE: Final = (str, int, int, str, dict, int, _NONE, bytes, bool, int, str, int)
_OPENS_WITH_STATE: Final = (str, int, int, str, dict, int, bytes, bytes, bool, int, str, int)
_OPEN_TYPES: Final = frozenset((_OPENS_WITHOUT_STATE, _OPENS_WITH_STATE))


def envelope_head(sender: str) -> bytes:
    """Return the packed beginning of every envelope of `sender`; link and frames follow."""
    return b"\x94" + pack(VERSION) + pack(sender)


def write_entry(head: bytes, link: LinkHeader | None, frames: list[bytes]) -> bytes:
    """Join packed frames into one entry.

    Args:
        head: What `envelope_head` returned for this process.
        link: The header of the link, or None for an entry outside of any link.
        frames: Each one packed frame.
    """
    return b"".join((head, pack(link), array_header(len(frames)), *frames))


def write_opening(
    head: bytes, before: tuple[Any, ...], raw_scope: bytes, after: tuple[Any, ...]
) -> bytes:
    """Write the entry of one opening around its scope, which is packed once for every epoch.

    Args:
        head: What `envelope_head` returned for this process.
        before: The fields of `Open` in front of the scope.
        raw_scope: The scope, packed.
        after: The fields behind it.
    """
    # Less the heads of the two arrays, an octet each: all fields are one array.
    return b"".join((head, _ONE_OPENING, pack(before)[1:], raw_scope, pack(after)[1:]))


_ONE_OPENING: Final = pack(None) + array_header(1) + array_header(len(Open._fields))


def split_frames(frames: list[bytes]) -> list[tuple[list[bytes], int]]:
    """Split packed frames, in order, into runs of at most `MAX_ENTRY_BYTES` each.

    Returns:
        (run, its bytes) for each.
    """
    total = sum(map(len, frames))
    if total <= MAX_ENTRY_BYTES:
        return [(frames, total)]
    runs: list[tuple[list[bytes], int]] = []
    run: list[bytes] = []
    size = 0
    for frame in frames:
        if run and size + len(frame) > MAX_ENTRY_BYTES:
            runs.append((run, size))
            run, size = [], 0
        run.append(frame)
        size += len(frame)
    runs.append((run, size))
    return runs
