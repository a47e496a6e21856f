"""This source beside an earlier revision of it: what a change costs on the way of a message.

    .venv/bin/python -m benchmarks.revisions REVISION [--rounds N]

Both are a gateway with a Redis of its own and the libraries installed here, started anew in each
round: two processes of the same source differ by some per cent for as long as they live. Run it
against HEAD, without changes, to see what the machine adds. The load is hello at 64 connections
(needs wrk), then the WebSocket echo at 100. Exit status: 0, 1 where this source is slower by 5 %,
2 where it cannot run here.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import PACKAGES, ROOT, BenchmarkError, gateway, in_turn, prepare
from benchmarks.load import HttpRound, client, wrk, wrk_path
from benchmarks.report import Row, Target, cpu_row, ratio_row, table
from benchmarks.websocket import CONNECTIONS, WebSocketRound, measure

_ROUND_S = 3.0
_WARM_UP_S = 1.0
_RATE, _CPU = Target(">=", 0.95), Target("<=", 1.05)


def main() -> int:
    """Run what the command line asks for and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.revisions", description=__doc__)
    parser.add_argument("revision", metavar="REVISION", help="as git names it")
    parser.add_argument("--rounds", type=int, default=9, help="of each of the two, 6 s")
    options = parser.parse_args()
    prepare()
    try:
        wrk_path()
        with TemporaryDirectory(prefix="gateway-bench-") as scratch:
            trees = _copy(Path(scratch, "now")), _unpack(options.revision, Path(scratch, "then"))
            rows = _http(*trees, options.rounds) + _websocket(*trees, options.rounds)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows, ("now", "before")))
    return 0 if all(row.holds for row in rows) else 1


def _copy(folder: Path) -> Path:
    """Copy this source, as it is, so that both are imported in the same way."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package)
    return folder


def _unpack(revision: str, folder: Path) -> Path:
    argv = ["git", "archive", "--format=tar", revision]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False)
    if run.returncode:
        raise BenchmarkError(f"no revision {revision!r}: {run.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(run.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _http(now: Path, then: Path, rounds: int) -> list[Row]:
    def load(tree: Path) -> HttpRound:
        with gateway("hello", tree=tree) as subject:
            wrk(subject, connections=64, seconds=_WARM_UP_S)
            return wrk(subject, connections=64, seconds=_ROUND_S)

    found = in_turn(rounds, lambda: load(now), lambda: load(then))
    return _rows("hello, 64 connections: requests/s", attrgetter("requests_per_s"), *found)


def _websocket(now: Path, then: Path, rounds: int) -> list[Row]:
    def load(tree: Path) -> WebSocketRound:
        with gateway("echo", tree=tree) as subject, client("ws_client", subject.port) as one:
            one.ask(f"open {CONNECTIONS}", timeout_s=20)
            measure(subject, one, _WARM_UP_S)
            return measure(subject, one, _ROUND_S)

    found = in_turn(rounds, lambda: load(now), lambda: load(then))
    name = f"WebSocket echo, {CONNECTIONS} connections: messages/s"
    return _rows(name, attrgetter("messages_per_s"), *found)


def _rows(
    name: str, rate: Callable[[Any], float], now: Sequence[Any], then: Sequence[Any]
) -> list[Row]:
    def cpu(rounds: Sequence[Any]) -> list[Mapping[str, float]]:
        return [one.cpu_us for one in rounds]

    rates = ratio_row(name, list(map(rate, now)), list(map(rate, then)), unit="/s", target=_RATE)
    return [rates, cpu_row("the same: CPU for each", cpu(now), cpu(then), target=_CPU)]


if __name__ == "__main__":
    sys.exit(main())
