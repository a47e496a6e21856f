"""Events larger than a chunk travel in parts and are whole again for whoever handles them."""

from typing import Final

from gateway_layer.codec import Message
from gateway_layer.wire import CHUNK_BYTES, EVENT_OVERHEAD

PART: Final = "gateway.part"
"""Key of an event of which another part follows."""

_CHARACTERS: Final = CHUNK_BYTES // 4
"""A str is cut by characters, each at most 4 bytes of UTF-8, so that no character is broken."""


def event_cost(event: Message) -> int:
    """Return what a whole event costs: bytes or characters of its payload, + EVENT_OVERHEAD.

    Both sides count with this one function, for credit is a running total.
    """
    payload = event.get("text") or event.get("bytes") or event.get("body")
    return EVENT_OVERHEAD + len(payload) if payload else EVENT_OVERHEAD


def split_event(event: Message, key: str) -> list[Message]:
    """Cut an event whose payload `event[key]` (str or bytes) is large into parts.

    Returns:
        Events of the same type; all but the last are marked as parts. The event itself if it
        is not large.
    """
    payload = event[key]
    if len(payload) <= _CHARACTERS:
        return [event]
    step = _CHARACTERS if payload.__class__ is str else CHUNK_BYTES
    kind = event["type"]
    cuts = range(0, len(payload), step)
    parts = [{"type": kind, key: payload[at : at + step], PART: True} for at in cuts[:-1]]
    parts.append({**event, key: payload[cuts[-1] :]})
    return parts


def cut_turn(events: list[Message]) -> list[list[Message]]:
    """Cut what a connection has to say in one turn into runs, each small enough for a frame.

    A frame is the unit that an entry in Redis is filled with, so one frame with all the parts of
    a large message would undo that it was split.
    """
    runs: list[list[Message]] = []
    run: list[Message] = []
    size = 0
    for event in events:
        cost = event_cost(event)
        if run and size + cost > CHUNK_BYTES:
            runs.append(run)
            run, size = [], 0
        run.append(event)
        size += cost
    runs.append(run)
    return runs


def join_parts(parts: list[Message], last: Message) -> Message:
    """Return the whole event from its earlier parts and its last."""
    key = "text" if last.get("text") is not None else "bytes"
    pieces = [part[key] for part in parts]
    pieces.append(last[key])
    empty: str | bytes = "" if key == "text" else b""
    return {**last, key: empty.join(pieces)}
