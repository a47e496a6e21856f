"""What the push clients have in common, without I/O: requests as frames, answers as results."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway_layer.codec import Message, pack, unpack
from gateway_layer.errors import (
    ChannelFull,
    ConnectionGone,
    GatewayError,
    LayerUnavailable,
    ProtocolError,
    PushTimeout,
)
from gateway_layer.groups import check_group
from gateway_layer.names import split_channel
from gateway_layer.push.events import check_event, check_key
from gateway_layer.push.frames import (
    BAD,
    FULL,
    GONE,
    GROUP_ADD,
    GROUP_DISCARD,
    GROUP_LIST,
    GROUP_SEND,
    INFO,
    OK,
    PUSH,
    PUSH_CAPACITY,
    Reply,
)
from gateway_layer.push.owners import ProcessUnknown
from gateway_layer.redis.keys import PUSH_TTL_S, Keys
from gateway_layer.wire import split_frames, write_entry

PUSH_SCRIPT: Final = (Path(__file__).parent.parent / "redis/scripts/push.lua").read_text()

_CALL_ENTRIES: Final = 64
_CALL_BYTES: Final = 4 * 2**20
"""Of one call of the script: others have their turn in Redis between two calls."""

_SLICE_REQUESTS: Final = 1024
_SLICE_BYTES: Final = 4 * 2**20
"""Of `send_many`: what may be under way before answers are awaited."""


class Request(NamedTuple):
    """One thing asked of the owner of a connection or of members."""

    pid: str
    connection: str
    """"" for a whole group."""
    op: int
    rest: tuple[Any, ...]
    """What follows `reply` in the frame."""

    def packed(self, reply: Reply) -> bytes:
        """Return the frame.

        Raises:
            TypeError: A value that cannot travel.
        """
        return pack((self.connection, self.op, reply, *self.rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What the owner of a connection knows of it."""

    reply_channel: str
    connected_at_ms: int
    """Unix time of the handshake, ms."""
    last_active_ms: int
    """Unix time at which the client was last heard, ms."""
    client: tuple[str, int | None] | None
    """(host, port) of the client, (path, None) on a Unix socket."""
    user_agent: str
    path: str
    groups: tuple[str, ...]
    worker: str | None
    """pid of the worker that runs its instance; None while nobody has claimed it."""
    epoch: int
    """Number of the opening that is current."""


def split_reply_channel(reply_channel: str) -> tuple[str, str]:
    """Split the address of a connection into (pid of its owner, connection id).

    Raises:
        TypeError: It is no reply channel, such as `scope["extensions"]["gateway"]` holds.
    """
    process, connection = split_channel(reply_channel)
    if process is None:
        raise TypeError(f"{reply_channel!r:.120} is not a reply channel 'process!connection'")
    return process, connection


# Requests. Each raises TypeError for a name that is none, before anything is sent.


def push_request(
    reply_channel: str, event: Message, key: str | None = None, *, confirm: bool = False
) -> Request:
    """Ask that an event go to a connection."""
    pid, connection = split_reply_channel(reply_channel)
    return Request(pid, connection, PUSH, (event, check_key(key), bool(confirm)))


def push_requests(pushes: Iterable[tuple[str, Message]]) -> Iterator[list[Request]]:
    """Ask for many pushes, in slices of at most 1,024 requests and about 4 MiB.

    Raises:
        TypeError, ValueError: One of them is none; before the first slice, so nothing was sent.
    """
    requests = [push_request(channel, check_event(event)) for channel, event in pushes]
    run: list[Request] = []
    size = 0
    for request in requests:
        event = request.rest[0]
        run.append(request)
        size += len(event.get("text") or event.get("bytes") or "")
        if len(run) == _SLICE_REQUESTS or size >= _SLICE_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


def info_request(reply_channel: str) -> Request:
    """Ask what is known of a connection."""
    return Request(*split_reply_channel(reply_channel), INFO, ())


def add_request(group: str, reply_channel: str) -> Request:
    """Ask that a connection join a group."""
    return Request(*split_reply_channel(reply_channel), GROUP_ADD, (check_group(group),))


def discard_request(group: str, reply_channel: str) -> Request:
    """Ask that a connection leave a group."""
    return Request(*split_reply_channel(reply_channel), GROUP_DISCARD, (check_group(group),))


def group_send_request(
    group: str, event: Message, exclude: Sequence[str] = (), key: str | None = None
) -> Request:
    """Ask that an event go to the members of a group; the pid is to be replaced."""
    if isinstance(exclude, str):
        raise TypeError("exclude= is a sequence of reply channels")
    left_out = tuple(split_reply_channel(channel)[1] for channel in exclude)
    return Request("", "", GROUP_SEND, (check_group(group), event, left_out, check_key(key)))


def group_list_request(group: str) -> Request:
    """Ask who is in a group; the pid is to be replaced."""
    return Request("", "", GROUP_LIST, (check_group(group),))


# Calls of the script, and answers.


def script_calls(
    keys: Keys, head: bytes, pid: str, frames: Sequence[bytes]
) -> Iterator[tuple[int, tuple[bytes | str | int, ...]]]:
    """Put packed frames for one process into calls of the push script, in order.

    Yields:
        (how many of the frames, the parts of the EVAL) of each call: at most 64 entries and about
        4 MiB, so that no caller keeps Redis to itself.
    """
    entries: list[bytes] = []
    count = size = 0
    for run, _size in split_frames(list(frames)):
        entries.append(write_entry(head, None, run))
        count += len(run)
        size += len(entries[-1])
        if len(entries) == _CALL_ENTRIES or size >= _CALL_BYTES:
            yield count, _script_call(keys, pid, entries)
            entries, count, size = [], 0, 0
    if entries:
        yield count, _script_call(keys, pid, entries)


def _script_call(keys: Keys, pid: str, entries: list[bytes]) -> tuple[bytes | str | int, ...]:
    names = (keys.lease(pid), keys.pushes(pid))
    more = (PUSH_TTL_S, PUSH_CAPACITY, keys.incarnation)
    return ("EVAL", PUSH_SCRIPT, 2, *names, *more, *entries)


def read_answers(raw: bytes) -> list[tuple[int, str, Any]]:
    """Read an entry of a reply list: (number, status, payload) of each answer in it.

    Raises:
        ProtocolError: It is none.
    """
    value = unpack(raw)
    if value.__class__ is not tuple or not all(map(_is_answer, value)):
        raise ProtocolError("not a list of answers [number, status, payload]")
    return [(number, status, payload) for number, status, payload in value]


def _is_answer(value: Any) -> bool:
    return value.__class__ is tuple and len(value) == 3 and value[0].__class__ is int


def result_of(status: str, payload: Any) -> Any:
    """Return an answer's payload, or raise what its status means.

    Raises:
        ConnectionGone: There is no such connection.
        ChannelFull: The client takes less than is pushed; it is being closed with 1013.
        ProtocolError: The owner could not carry the request out; the text says why.
    """
    if status == OK:
        return payload
    if status == GONE:
        raise ConnectionGone("no such connection")
    if status == FULL:
        raise ChannelFull("the connection's outgoing buffer", 0)
    if status == BAD:
        raise ProtocolError(f"refused by the interface server: {payload}")
    raise ProtocolError(f"answer {status!r}")


def outcome_of(status: str, payload: Any) -> Any:
    """Return an answer's payload, or the error that its status means."""
    try:
        return result_of(status, payload)
    except GatewayError as error:
        return error


def group_results(answers: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return (pid, payload) of the processes that answered; those that are gone have no members.

    Raises:
        LayerUnavailable: Redis cannot be reached.
        ProtocolError: A process refused the request.
    """
    results = []
    for pid, answer in answers:
        if isinstance(answer, ProcessUnknown):
            continue  # it had members before Redis was away, and has not come back
        if isinstance(answer, (LayerUnavailable, ProtocolError)):
            raise answer
        if not isinstance(answer, GatewayError):
            results.append((pid, answer))
    return results


def errors_of(results: Iterable[Any]) -> list[GatewayError | None]:
    """Return what `send_many` does: for each push None, or its error."""
    return [result if isinstance(result, GatewayError) else None for result in results]


def channels_of(lists: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the reply channels in the answers to `GroupList`."""
    return [f"{pid}!{connection}" for pid, members in lists for connection in members]


def info_of(reply_channel: str, payload: Any) -> ConnectionInfo:
    """Read the payload of an answer to `Info`.

    Raises:
        ProtocolError: It lacks something.
    """
    try:
        client = payload["client"]
        return ConnectionInfo(
            reply_channel=reply_channel,
            connected_at_ms=payload["connected_at_ms"],
            last_active_ms=payload["last_active_ms"],
            client=None if client is None else (client[0], client[1]),
            user_agent=payload["user_agent"],
            path=payload["path"],
            groups=tuple(payload["groups"]),
            worker=payload["worker"],
            epoch=payload["epoch"],
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ProtocolError(f"connection info without {error}") from error


def timed_out(pid: str, timeout_s: float) -> PushTimeout:
    """Return the error for a request that nobody answered in time."""
    return PushTimeout(
        f"the interface server {pid} did not answer within {timeout_s:g} s; it may be dead and not "
        "known to be, so the push may have been carried out"
    )
