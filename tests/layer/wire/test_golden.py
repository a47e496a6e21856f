"""The bytes of every frame, for ever: what another version or language must read and write."""

from typing import Any

import pytest

from gateway_layer.codec import pack, unpack
from gateway_layer.wire import (
    CLAIM,
    CREDIT,
    DATA,
    DEAD,
    DONE,
    EVENTS,
    FLAG_RESET,
    MESSAGE,
    OPEN,
    REFUSE,
    RESET,
    Claim,
    Credit,
    Data,
    Done,
    Events,
    LinkHeader,
    Open,
    Refuse,
    Reset,
    envelope_head,
    read_entry,
    write_entry,
)

OPENING = Open(
    "c", OPEN, 1, "http", {"type": "http"}, 0, None, b"body", True, 2**40, "inc", 262_144
)
TEXT: Any = ({"type": "t", "text": "é"},)

GOLDEN = {
    "open": (
        OPENING,
        "9ca1630101a46874747081a474797065a46874747000c0c404626f6479c3"
        "cf0000010000000000a3696e63ce00040000",
    ),
    "claim": (Claim("c", CLAIM, 1, (), 0, None, 256), "97a16302019000c0cd0100"),
    "claim with an event": (
        Claim("c", CLAIM, 1, TEXT, None, None, 256),
        "97a16302019182a474797065a174a474657874a2c3a9c0c0cd0100",
    ),
    "data": (Data("c", DATA, 2, TEXT, 7, None), "96a16303029182a474797065a174a474657874a2c3a907c0"),
    "refuse": (Refuse("c", REFUSE, 3, "draining"), "94a1630403a8647261696e696e67"),
    "done": (Done("c", DONE, 1, "error"), "94a1630501a56572726f72"),
    "events": (
        Events("c", EVENTS, 1, 0, 4, TEXT),
        "96a163100100049182a474797065a174a474657874a2c3a9",
    ),
    "credit": (Credit("c", CREDIT, 1, 2**32), "94a1631101cf0000000100000000"),
    "reset": (Reset("c", RESET, 9), "93a1631209"),
    "message": (("group", MESSAGE, 0, {"a": b"b"}), "94a567726f7570200081a161c40162"),
    "dead": (("", DEAD, 0, "pid"), "94a02100a3706964"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_frame_has_its_golden_bytes(name: str) -> None:
    frame, golden = GOLDEN[name]
    assert pack(frame).hex() == golden


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes_read_back(name: str) -> None:
    frame, golden = GOLDEN[name]
    assert unpack(bytes.fromhex(golden)) == tuple(frame)


@pytest.mark.parametrize(
    ("link", "golden"),
    [
        (None, "9401a3706964c09193a1631209"),
        (LinkHeader(1, 0, 0, 0, 0), "9401a37069649501000000009193a1631209"),
        (LinkHeader(3, 2, 300, 5, FLAG_RESET), "9401a3706964950302cd012c05019193a1631209"),
    ],
)
def test_an_envelope_has_its_golden_bytes(link: LinkHeader | None, golden: str) -> None:
    entry = write_entry(envelope_head("pid"), link, [pack(Reset("c", RESET, 9))])
    assert entry.hex() == golden
    assert read_entry(entry) == (1, "pid", link, (("c", RESET, 9),))
