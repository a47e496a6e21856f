"""What the push clients have in common, without I/O: requests as frames, answers as results."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway_layer.codec import Message, pack_message, unpack
from gateway_layer.errors import (
    ChannelFull,
    ConnectionGone,
    GatewayError,
    MessageTooLarge,
    ProtocolError,
    PushTimeout,
)
from gateway_layer.names import split_channel
from gateway_layer.push.frames import BAD, FULL, GONE, OK, PUSH_CAPACITY

PUSH_SCRIPT: Final = (Path(__file__).parent.parent / "redis/scripts/push.lua").read_text()

MAX_MESSAGE_BYTES: Final = 16 * 2**20

_GONE_LENGTH, _FULL_LENGTH = -1, -2


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


def send_event(
    text: str | None = None, data: bytes | None = None, json_value: Any = None
) -> Message:
    """Return the `websocket.send` for exactly one of text, bytes and json.

    Raises:
        TypeError: None of them, several, or a value of a wrong type.
        MessageTooLarge: Over 16 MiB.
    """
    given = [value for value in (text, data, json_value) if value is not None]
    if len(given) != 1:
        raise TypeError("a push needs exactly one of text=, bytes= and json=")
    if json_value is not None:
        text = json.dumps(json_value, separators=(",", ":"), ensure_ascii=False)
    key, value = ("bytes", data) if text is None else ("text", text)
    if not isinstance(value, (str, bytes)) or isinstance(value, str) is (key == "bytes"):
        raise TypeError(f"{key}= must be {'bytes' if key == 'bytes' else 'a str'}")
    event: Message = {"type": "websocket.send", key: value}
    if len(pack_message(event)) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge("a push may have 16 MiB")
    return event


def close_event(code: int, reason: str) -> Message:
    """Return the `websocket.close` for a code and a reason.

    Raises:
        ValueError: A code that may not be sent (RFC 6455 7.4), or a reason over 123 bytes.
    """
    if not (code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code <= 4999):
        raise ValueError(f"close code {code}: 1000-1003, 1007-1014 or 3000-4999")
    if len(reason.encode()) > 123:
        raise ValueError("a close reason may have 123 bytes of UTF-8")
    return {"type": "websocket.close", "code": code, "reason": reason}


def script_error(length: int, pid: str) -> GatewayError | None:
    """Return what the push script's answer means for the requests that it carried."""
    if length == _GONE_LENGTH:
        return ConnectionGone(f"the interface server {pid} of this connection is gone")
    if length == _FULL_LENGTH:
        return ChannelFull(f"{pid}:push", PUSH_CAPACITY)
    return None


def read_answers(raw: bytes) -> list[tuple[int, str, Any]]:
    """Read an entry of a reply list: (number, status, payload) of each answer in it.

    Raises:
        ProtocolError: It is none.
    """
    value = unpack(raw)
    if value.__class__ is not tuple or any(len(answer) != 3 for answer in value):
        raise ProtocolError("not a list of answers [number, status, payload]")
    return [(number, status, payload) for number, status, payload in value]


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


def info_of(reply_channel: str, payload: dict[str, Any]) -> ConnectionInfo:
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
