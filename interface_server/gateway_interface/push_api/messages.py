"""From the bodies of requests to what is pushed; without I/O."""

import base64
import hashlib
import json
import re
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.push_api.answers import ApiError
from gateway_layer.codec import Message
from gateway_layer.groups import check_group
from gateway_layer.push.requests import split_reply_channel

MAX_PUSHES: Final = 1000
MAX_KEY_CHARACTERS: Final = 255

BASE64: Final = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_BASE64 = re.compile(BASE64[:-1] + r"\Z")
_TARGETS: Final = ("connection", "group")
_PAYLOADS: Final = ("text", "bytes", "json")


class Item(NamedTuple):
    """One of the pushes of `POST /v1/push`."""

    connection: str | None
    """A reply channel; None: it is for a group."""
    group: str | None
    event: Message


def field_of(head: RequestHead, name: bytes) -> str | None:
    """Return the value of a field, None without it.

    Raises:
        ApiError: 400; it is given several times.
    """
    values = [value for found, value in head.headers if found == name]
    if len(values) > 1:
        raise ApiError(400, f"{name.decode()} may be given once")
    return values[0].decode("latin-1") if values else None


def raw_event(head: RequestHead, body: bytes) -> Message:
    """Return the `websocket.send` for a body: text if it is UTF-8, unless the head says otherwise.

    Raises:
        ApiError: 400; `x-gateway-frame` is wrong, or asks for text and the body is none.
    """
    frame = field_of(head, b"x-gateway-frame")
    if frame not in (None, "text", "binary"):
        raise ApiError(400, "x-gateway-frame: text or binary")
    if frame != "binary":
        try:
            return {"type": "websocket.send", "text": body.decode()}
        except UnicodeDecodeError:
            if frame == "text":
                raise ApiError(400, "x-gateway-frame is text, the body is not UTF-8") from None
    return {"type": "websocket.send", "bytes": body}


def idempotency_key(head: RequestHead, target: str) -> str | None:
    """Return a key under which an owner knows a repetition of this request; None: there is none.

    It is bound to the target: one key for two connections means two pushes. boto3 sends the same
    `amz-sdk-invocation-id` with each repetition of a call; `Idempotency-Key` wins over it.

    Raises:
        ApiError: 400; the key is empty or too long.
    """
    given = (field_of(head, name) for name in (b"idempotency-key", b"amz-sdk-invocation-id"))
    keys = [key for key in given if key is not None]
    if not all(1 <= len(key) <= MAX_KEY_CHARACTERS for key in keys):
        raise ApiError(400, f"an idempotency key has 1 to {MAX_KEY_CHARACTERS} characters")
    return hashlib.sha256(f"{target}\n{keys[0]}".encode()).hexdigest() if keys else None


def excluded(head: RequestHead) -> list[str]:
    """Return the reply channels in the query of a group send.

    Raises:
        ApiError: 400; one is no reply channel, or the query has something else.
    """
    try:
        query = parse_qsl(head.query_string.decode("ascii"), keep_blank_values=True)
    except ValueError as error:
        raise ApiError(400, f"query: {error}") from None
    for name, value in query:
        if name != "exclude":
            raise ApiError(400, "the query may have exclude=REPLY_CHANNEL, any number of times")
        check_connection(value)
    return [value for _name, value in query]


def check_connection(text: str) -> str:
    """Return a reply channel.

    Raises:
        ApiError: 400; it is none.
    """
    try:
        split_reply_channel(text)
    except TypeError as error:
        raise ApiError(400, str(error)) from None
    return text


def check_group_name(text: str) -> str:
    """Return the name of a group.

    Raises:
        ApiError: 400; it is none.
    """
    try:
        return check_group(text)
    except TypeError as error:
        raise ApiError(400, str(error)) from None


def read_items(head: RequestHead, body: bytes) -> list[Item]:
    """Read the body of `POST /v1/push`, `{"pushes": [...]}`.

    Raises:
        ApiError: 415 unless it is said to be JSON; 400 with the place and what is wrong there.
            Then none of the pushes is carried out.
    """
    kind = field_of(head, b"content-type") or ""
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "content-type: application/json is needed")
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors.
        raise ApiError(400, f"not JSON: {error}") from None
    if not isinstance(value, dict) or value.keys() != {"pushes"}:
        raise ApiError(400, 'an object with one key is needed: {"pushes": [...]}')
    pushes = value["pushes"]
    if not isinstance(pushes, list) or not 1 <= len(pushes) <= MAX_PUSHES:
        raise ApiError(400, f"pushes: a list of 1 to {MAX_PUSHES}")
    items = []
    for index, push in enumerate(pushes):
        try:
            items.append(_read_item(push))
        except ApiError as error:
            raise ApiError(400, f"pushes[{index}]: {error.message}") from None
    return items


def _read_item(push: Any) -> Item:
    if not isinstance(push, dict):
        raise ApiError(400, "an object is needed")
    targets = [name for name in _TARGETS if name in push]
    payloads = [name for name in _PAYLOADS if name in push]
    if len(targets) != 1 or len(payloads) != 1 or len(push) != 2:
        raise ApiError(400, "one of connection, group and one of text, bytes, json is needed")
    target, event = push[targets[0]], _read_payload(payloads[0], push[payloads[0]])
    if targets[0] == "group":
        return Item(None, check_group_name(target), event)
    return Item(check_connection(target), None, event)


def _read_payload(kind: str, value: Any) -> Message:
    if kind == "json":
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    elif not isinstance(value, str):
        raise ApiError(400, f"{kind}: a string is needed")
    elif kind == "bytes":
        if not _BASE64.match(value):
            raise ApiError(400, "bytes: base64 with padding is needed")
        return {"type": "websocket.send", "bytes": base64.b64decode(value)}
    else:
        text = value
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(400, f"{kind}: half of a surrogate pair is no character") from None
    return {"type": "websocket.send", "text": text}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
