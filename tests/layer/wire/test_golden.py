"""The bytes of every frame, for ever: what another version or language must read and write."""

from pathlib import Path
from typing import Any

import pytest

from gateway_layer.codec import pack, unpack
from gateway_layer.push.frames import PUSH
from gateway_layer.wire import (
    CLAIM,
    CREDIT,
    DATA,
    DEAD,
    DETACH,
    DONE,
    EVENTS,
    FLAG_ACK,
    FLAG_ANSWER,
    FLAG_BYE,
    FLAG_PROBE,
    FLAG_WANT,
    MESSAGE,
    OPEN,
    REFUSE,
    RELEASE,
    RELEASED,
    RESET,
    Claim,
    Credit,
    Data,
    Detach,
    Done,
    Events,
    LinkHeader,
    Open,
    Refuse,
    Release,
    Released,
    Reset,
    envelope_head,
    read_entry,
    read_open,
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
    "open again": (
        OPENING._replace(resumed=2, state=b"\x81\xa1n\x01"),
        "9ca1630101a46874747081a474797065a46874747002c40481a16e01c404626f6479c3"
        "cf0000010000000000a3696e63ce00040000",
    ),
    "claim": (Claim("c", CLAIM, 1, (), 0, None, 256), "97a16302019000c0cd0100"),
    "claim with an event": (
        Claim("c", CLAIM, 1, TEXT, None, None, 256),
        "97a16302019182a474797065a174a474657874a2c3a9c0c0cd0100",
    ),
    "data": (Data("c", DATA, 2, TEXT, 7, None), "96a16303029182a474797065a174a474657874a2c3a907c0"),
    "data with a state": (
        Data("c", DATA, 1, (), 3, b"\x81\xa1n\x01"),
        "96a16303019003c40481a16e01",
    ),
    "refuse": (Refuse("c", REFUSE, 3, "draining"), "94a1630403a8647261696e696e67"),
    "done": (Done("c", DONE, 1, "error"), "94a1630501a56572726f72"),
    "events": (
        Events("c", EVENTS, 1, 0, 4, TEXT),
        "96a163100100049182a474797065a174a474657874a2c3a9",
    ),
    "credit": (Credit("c", CREDIT, 1, 2**32), "94a1631101cf0000000100000000"),
    "reset": (Reset("c", RESET, 9), "93a1631209"),
    "release": (Release("c", RELEASE, 1, "drain"), "94a1630601a5647261696e"),
    "released": (Released("c", RELEASED, 1), "93a1631301"),
    "detach": (
        Detach("c", DETACH, 1, "hibernate", b"\x80"),
        "95a1630701a968696265726e617465c40180",
    ),
    "detach without a state": (Detach("c", DETACH, 1, "drain", None), "95a1630701a5647261696ec0"),
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
        (LinkHeader(3, 2, 300, 5, 0), "9401a3706964950302cd012c05009193a1631209"),
    ],
)
def test_an_envelope_has_its_golden_bytes(link: LinkHeader | None, golden: str) -> None:
    entry = write_entry(envelope_head("pid"), link, [pack(Reset("c", RESET, 9))])
    assert entry.hex() == golden
    assert read_entry(entry) == (1, "pid", link, (("c", RESET, 9),))


@pytest.mark.parametrize(
    ("flag", "golden"),
    [
        (FLAG_ACK, "9401a3706964950302cd012c050190"),
        (FLAG_WANT, "9401a3706964950302cd012c050290"),
        (FLAG_PROBE, "9401a3706964950302cd012c050490"),
        (FLAG_ANSWER, "9401a3706964950302cd012c050890"),
        (FLAG_BYE, "9401a3706964950302cd012c051090"),
    ],
)
def test_a_word_of_the_link_itself_has_its_golden_bytes(flag: int, golden: str) -> None:
    header = LinkHeader(3, 2, 300, 5, flag)
    entry = write_entry(envelope_head("pid"), header, [])
    assert entry.hex() == golden
    assert read_entry(entry) == (1, "pid", header, ())


# What processes of the revision before wrote, while both are in use.

PREVIOUS = dict(
    line.split()
    for line in (Path(__file__).parent / "golden_previous.txt").read_text().splitlines()
)
TYPES: dict[str, Any] = {
    "open": Open,
    "claim": Claim,
    "data": Data,
    "refuse": Refuse,
    "done": Done,
    "events": Events,
    "credit": Credit,
    "reset": Reset,
}


@pytest.mark.parametrize("name", PREVIOUS)
def test_an_entry_of_the_revision_before_can_be_read(name: str) -> None:
    entry = read_entry(bytes.fromhex(PREVIOUS[name]))
    assert len(entry.sender) == 22


@pytest.mark.parametrize("name", TYPES)
def test_a_frame_of_the_revision_before_has_the_fields_of_today(name: str) -> None:
    (frame,) = read_entry(bytes.fromhex(PREVIOUS[name])).frames
    assert len(TYPES[name]._make(frame)) == len(frame)


def test_an_opening_of_the_revision_before_can_be_started() -> None:
    (frame,) = read_entry(bytes.fromhex(PREVIOUS["open"])).frames
    opened = read_open(frame)
    assert (opened.resumed, opened.state) == (0, None)


def test_a_reset_of_a_link_is_an_acknowledgement_today_that_says_nothing() -> None:
    """That revision began a generation with flag 1; its first batch still tells of it."""
    entry = read_entry(bytes.fromhex(PREVIOUS["link-reset"]))
    assert (entry.link, entry.frames) == (LinkHeader(4, 0, 0, 0, FLAG_ACK), ())


def test_the_revision_before_wrote_every_op_but_those_that_are_new() -> None:
    entries = [read_entry(bytes.fromhex(raw)) for raw in PREVIOUS.values()]
    ops = {frame[1] for entry in entries for frame in entry.frames}
    assert ops - {PUSH} == {frame[1] for frame, _ in GOLDEN.values()} - {RELEASE, RELEASED, DETACH}
