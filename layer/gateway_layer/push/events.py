"""What may be pushed to a WebSocket, without I/O: messages and closes, as ASGI's events."""

import json
from typing import Any, Final

from gateway_layer.codec import Message, pack_message
from gateway_layer.errors import MessageTooLarge
from gateway_layer.push.frames import MAX_KEY

MAX_MESSAGE_BYTES: Final = 16 * 2**20


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


def check_event(event: Any) -> Message:
    """Return what may be pushed to a WebSocket, with nothing beside it.

    Args:
        event: `websocket.send` with one of `text` (str) and `bytes` (bytes), or `websocket.close`
            with `code` (1000) and `reason` ("").

    Raises:
        TypeError: No such event, or a field of a wrong type.
        ValueError: A code that may not be sent, or a reason over 123 bytes.
        MessageTooLarge: Over 16 MiB.
    """
    if event.__class__ is not dict:
        raise TypeError("a push needs an event")
    kind = event.get("type")
    if kind == "websocket.send":
        text, data = event.get("text"), event.get("bytes")
        if text.__class__ is str and data is None:
            return _check_size({"type": kind, "text": text}, len(text))
        if data.__class__ is bytes and text is None:
            return _check_size({"type": kind, "bytes": data}, len(data))
        raise TypeError("websocket.send needs one of text: str and bytes: bytes")
    if kind == "websocket.close":
        code, reason = event.get("code", 1000), event.get("reason")
        if code.__class__ is not int or not (reason is None or reason.__class__ is str):
            raise TypeError("websocket.close has code: int and reason: str")
        return close_event(code, reason or "")
    raise TypeError(f"event {kind!r:.60}: websocket.send or websocket.close can be pushed")


def _check_size(event: Message, length: int) -> Message:
    # No character takes more than 4 bytes: few messages have to be looked at.
    if length > MAX_MESSAGE_BYTES // 4 and len(pack_message(event)) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge("a push may have 16 MiB")
    return event


def check_key(key: Any) -> str | None:
    """Return an idempotency key, or None where there is none.

    Raises:
        TypeError: Not a str of 1 to 128 characters.
    """
    if key is None:
        return None
    if key.__class__ is not str or not 0 < len(key) <= MAX_KEY:
        raise TypeError(f"an idempotency key is a str of 1 to {MAX_KEY} characters")
    return str(key)
