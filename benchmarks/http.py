"""HTTP: 13 bytes of hello, with 64, 1 and 256 connections, beside uvicorn."""

from collections.abc import Callable
from operator import attrgetter

from benchmarks.harness import Settings, Subject, in_turn, under_test, uvicorn
from benchmarks.load import HttpRound, wrk
from benchmarks.report import Row, Target, cpu_row, ratio_row

_WARM_UP_S = 1.0
_THROUGHPUT = attrgetter("requests_per_s")
_P50 = attrgetter("p50_us")
_P99 = attrgetter("p99_us")


def run(settings: Settings) -> list[Row]:
    """Measure all of them; the servers stay up, and one at a time is under load."""
    with under_test(settings, "hello") as ours, uvicorn("hello") as theirs:
        rows = _at_64(settings, ours, theirs)
        rows += _at_64_distinct(settings, ours, theirs)
        rows += _at_1(settings, ours, theirs)
        rows += _at_256(settings, ours, theirs)
    return rows + _with_h11(settings)


def _at_64(settings: Settings, ours: Subject, theirs: Subject) -> list[Row]:
    gateway, uvicorn_ = _rounds(ours, theirs, settings.rounds, settings.round_s, 64)
    name = "http hello, 64 connections"
    rows = [
        _compare(f"{name}: requests/s", gateway, uvicorn_, _THROUGHPUT, "/s", Target(">=", 1.1)),
        _cpu(f"{name}: CPU a request", gateway, uvicorn_, Target("<=", 1.35)),
    ]
    if ours.redis_url is not None:
        commands = [one.redis_commands / one.requests for one in gateway]
        rows.append(
            Row(
                name=f"{name}: Redis commands a request",
                values=commands,
                unit="",
                target=Target("<=", 0.3),
            )
        )
    return rows


def _at_64_distinct(settings: Settings, ours: Subject, theirs: Subject) -> list[Row]:
    """Show what it costs to read each head anew: a repeated one is judged once a connection."""
    rounds = 1 if settings.quick else 3
    gateway, uvicorn_ = in_turn(
        rounds,
        lambda: wrk(ours, connections=64, seconds=settings.round_s, distinct=True),
        lambda: wrk(theirs, connections=64, seconds=settings.round_s, distinct=True),
    )
    name = "http hello, 64 connections, every request different"
    return [
        _compare(f"{name}: requests/s", gateway, uvicorn_, _THROUGHPUT, "/s", None),
        _cpu(f"{name}: CPU a request", gateway, uvicorn_, None),
    ]


def _at_1(settings: Settings, ours: Subject, theirs: Subject) -> list[Row]:
    gateway, uvicorn_ = _rounds(ours, theirs, settings.rounds, settings.round_s * 2 / 3, 1)
    name = "http hello, 1 connection: p50"
    return [_compare(name, gateway, uvicorn_, _P50, "µs", Target("<=", 3.5))]


def _at_256(settings: Settings, ours: Subject, theirs: Subject) -> list[Row]:
    gateway, uvicorn_ = _rounds(ours, theirs, settings.rounds, settings.round_s, 256)
    name = "http hello, 256 connections"
    return [
        _compare(f"{name}: p99", gateway, uvicorn_, _P99, "µs", Target("<=", 1.0)),
        _compare(f"{name}: requests/s", gateway, uvicorn_, _THROUGHPUT, "/s", None),
    ]


def _with_h11(settings: Settings) -> list[Row]:
    rounds = 1 if settings.quick else 3
    with (
        under_test(settings, "hello", http="h11") as ours,
        uvicorn("hello", http="h11") as theirs,
    ):
        gateway, uvicorn_ = _rounds(ours, theirs, rounds, settings.round_s, 64)
    name = "http hello, 64 connections, both with h11"
    return [
        _compare(f"{name}: requests/s", gateway, uvicorn_, _THROUGHPUT, "/s", None),
        _cpu(f"{name}: CPU a request", gateway, uvicorn_, None),
    ]


def _rounds(
    ours: Subject, theirs: Subject, rounds: int, seconds: float, connections: int
) -> tuple[list[HttpRound], list[HttpRound]]:
    for subject in (ours, theirs):
        wrk(subject, connections=connections, seconds=_WARM_UP_S)
    return in_turn(
        rounds,
        lambda: wrk(ours, connections=connections, seconds=seconds),
        lambda: wrk(theirs, connections=connections, seconds=seconds),
    )


def _compare(
    name: str,
    gateway: list[HttpRound],
    uvicorn_: list[HttpRound],
    figure: Callable[[HttpRound], float],
    unit: str,
    target: Target | None,
) -> Row:
    return ratio_row(
        name, list(map(figure, gateway)), list(map(figure, uvicorn_)), unit=unit, target=target
    )


def _cpu(
    name: str, gateway: list[HttpRound], uvicorn_: list[HttpRound], target: Target | None
) -> Row:
    return cpu_row(
        name, [one.cpu_us for one in gateway], [one.cpu_us for one in uvicorn_], target=target
    )
