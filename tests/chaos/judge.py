"""What the clients saw, held against what they were promised."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.report import Row, Target

from tests.chaos.clients import CUT, HUNG, MIXED

_NONE = Target("<=", 0)
_TELL = 5
_NAMES = {CUT: "cut", HUNG: "hung", MIXED: "answer of another"}


class Kill(NamedTuple):
    """The end of a process by SIGKILL: the system takes its time with it."""

    at: float
    over: float
    """When nothing of it was left, its sockets neither: until then it was given requests."""


Kills = Mapping[int, Kill]
"""Number (of the system) of a killed worker -> its end."""


def none(name: str, found: Sequence[object], of: str = "") -> Row:
    """Expect an empty list; the row tells its first entries."""
    told = ", ".join(map(str, found[:_TELL]))
    note = f"{of}: {told}" if of and told else told or of
    return Row(name=name, values=[len(found)], unit="", target=_NONE, note=note)


def at_most(name: str, value: float, limit: float, unit: str = "", note: str = "") -> Row:
    """Expect a figure within a limit."""
    return Row(name=name, values=[value], unit=unit, target=Target("<=", limit), note=note)


def at_least(name: str, value: float, limit: float, unit: str = "", note: str = "") -> Row:
    """Expect a figure of at least so much."""
    return Row(name=name, values=[value], unit=unit, target=Target(">=", limit), note=note)


def sockets(report: Mapping[str, Any], *, repeated: bool = False) -> list[Row]:
    """Judge the WebSockets: closed, lost, counted wrong and, unless allowed, repeated."""
    lost = sum(count for _index, count in report["unanswered"])
    lost_row = at_most("messages lost", lost, 0, note=_told(report["unanswered"]))
    rows = [
        none("sockets closed", [(i, code) for i, _when, code in report["closed"]]),
        lost_row,
        none("counts wrong", report["wrong"]),
        at_least("messages answered", report["sent"] - lost, 1),
    ]
    return rows if repeated else [*rows, none("answers repeated", report["repeats"])]


def repeats(report: Mapping[str, Any], kills: Kills) -> list[Row]:
    """Judge answers that came twice: one for each hand-over after a kill, at most."""
    moved = Counter(index for index, _when, old, _new in report["hellos"] if old in kills)
    again = Counter(index for index, _number, _when in report["repeats"])
    excess = [(index, count) for index, count in again.items() if count > moved[index]]
    return [
        none("answers repeated without a kill", excess),
        Row(name="answers repeated, in flight at a kill", values=[again.total()], unit=""),
    ]


def hand_overs(report: Mapping[str, Any], kills: Kills, limit_ms: float) -> list[Row]:
    """Judge how long after a kill the next instance spoke."""
    took = [
        (when - kills[old].at) * 1000
        for _index, when, old, _new in report["hellos"]
        if old in kills
    ]
    if not took:
        return [at_least("hand-overs", 0, 1)]
    return [
        at_most("hand-over, median", statistics.median(took), limit_ms, "ms", f"of {len(took)}"),
        Row(name="hand-over, longest", values=[max(took)], unit="ms"),
    ]


def requests(
    report: Mapping[str, Any], *, allowed: Sequence[int] = (200,), methods: str = "GET POST"
) -> list[Row]:
    """Judge HTTP: every answer's status among the allowed, none hanging."""
    done = [one for one in report["requests"] if one[0] in methods]
    bad = Counter(_NAMES.get(status, status) for *_one, status in done if status not in allowed)
    hung = len(report["hung"]) + sum(status == HUNG for *_one, status in done)
    told = ", ".join(f"{count} x {status}" for status, count in bad.items())
    only = "/".join(map(str, allowed))
    return [
        at_most(f"{methods} not {only}", bad.total(), 0, note=told),
        at_most("requests hung", hung, 0),
        at_least(f"{methods} answered 200", sum(one[3] == 200 for one in done), 1),
    ]


def failed_posts(report: Mapping[str, Any], kills: Kills) -> list[Row]:
    """Judge POSTs that failed: 502 or 504, no more than were in flight at a kill."""
    posts = [one for one in report["requests"] if one[0] == "POST"]
    failed = [one for one in posts if one[3] != 200]
    in_flight = sum(
        any(sent <= kill.over and kill.at <= answered for kill in kills.values())
        for _method, sent, answered, _status in posts
    )
    bad = [_NAMES.get(status, status) for *_one, status in failed if status not in (502, 504)]
    return [
        at_most("POSTs failed (at most those in flight)", len(failed), in_flight),
        none("POSTs failed and not 502 or 504", bad),
    ]


def posts_once(notes: Sequence[Sequence[str]]) -> Row:
    """Judge whether any POST reached an application twice."""
    twice = [body for (body,), count in Counter(map(tuple, notes)).items() if count > 1]
    return none("POSTs carried out twice", twice)


def _told(pairs: Sequence[Sequence[int]]) -> str:
    return ", ".join(f"socket {index}: {count}" for index, count in pairs[:_TELL])


def failures(rows: Sequence[Row]) -> list[str]:
    """Return a line for each figure that misses its target, with what the row tells of it."""
    return [
        f"{row.name}: {row.measured:g} {row.unit}, not {row.target.kind} {row.target.value:g}"
        + (f" ({row.note})" if row.note else "")
        for row in rows
        if row.target is not None and not row.holds
    ]
