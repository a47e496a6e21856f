"""Frameworks: a hello of FastAPI and Django beside uvicorn, of Flask beside gunicorn's threads.

One worker process on either side, 64 connections. What a framework costs is the same on both
sides, so that the ratios are nearer to 1 than those of `http`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.harness import Settings, Subject, gateway, gunicorn, in_turn, uvicorn
from benchmarks.load import HttpRound, wrk
from benchmarks.report import Row, Target, cpu_row, ratio_row

_MODULE = "framework_apps"
_CONNECTIONS = 64
_WARM_UP_S = 1.0
_Serve = Callable[[], AbstractContextManager[Subject]]


def run(settings: Settings) -> list[Row]:
    """Measure one framework after the other; of its two servers one at a time is under load."""
    rows = []
    for name in ("fastapi", "django"):
        theirs = _serving(uvicorn, f"{name}_hello")
        rows += _compare(settings, name, "uvicorn", theirs, Target(">=", 1.0))
    theirs = _serving(gunicorn, "flask_hello")
    return rows + _compare(settings, "flask", "gunicorn's threads", theirs, Target(">=", 0.95))


def _serving(server: Callable[..., AbstractContextManager[Subject]], app: str) -> _Serve:
    return lambda: server(app, module=_MODULE)


def _compare(
    settings: Settings, name: str, peer: str, their_server: _Serve, target: Target
) -> list[Row]:
    """Measure requests/s and CPU time of a framework's hello, in turn with the peer."""
    our_server = their_server if settings.null else _serving(gateway, f"{name}_hello")
    with our_server() as ours, their_server() as theirs:
        for subject in (ours, theirs):
            _load(subject, _WARM_UP_S)
        ours_each, theirs_each = in_turn(
            settings.rounds,
            lambda: _load(ours, settings.round_s),
            lambda: _load(theirs, settings.round_s),
        )
    title = f"{name} hello, {_CONNECTIONS} connections, beside {peer}"
    return [
        ratio_row(
            f"{title}: requests/s",
            [one.requests_per_s for one in ours_each],
            [one.requests_per_s for one in theirs_each],
            unit="/s",
            target=target,
        ),
        cpu_row(
            f"{title}: CPU a request",
            [one.cpu_us for one in ours_each],
            [one.cpu_us for one in theirs_each],
        ),
    ]


def _load(subject: Subject, seconds: float) -> HttpRound:
    return wrk(subject, connections=_CONNECTIONS, seconds=seconds)
