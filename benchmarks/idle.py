"""Idle: what 5,000 WebSockets that say nothing keep in memory, beside uvicorn."""

from benchmarks.harness import BenchmarkError, Settings, Subject, under_test, uvicorn
from benchmarks.load import client
from benchmarks.procfs import settled_pss_bytes
from benchmarks.report import Row, Target, ratio_row

_WARM_UP = 50
_TARGETS = {"interface": Target("<=", 10), "worker": Target("<=", 8)}


def run(settings: Settings) -> list[Row]:
    """Measure with and without compression; each on a server started afresh, one after the other.

    Every browser offers permessage-deflate, so those rows are the daily ones; clients of other
    kinds and proxies often do not.
    """
    connections = 1_000 if settings.quick else 5_000
    return [
        *_rows(settings, connections, "deflate", "deflate offered"),
        *_rows(settings, connections, "plain", "no deflate"),
    ]


def _rows(settings: Settings, connections: int, handshake: str, label: str) -> list[Row]:
    with under_test(settings, "echo") as subject:
        ours = _kib_per_connection(subject, connections, handshake)
    with uvicorn("echo") as subject:
        theirs = _kib_per_connection(subject, connections, handshake)
    name = f"idle, {connections:,} WebSockets, {label}: PSS each"
    rows = [
        Row(name=f"{name}, {part}", values=[kib], unit="KiB", target=_TARGETS.get(part))
        for part, kib in ours.items()
    ]
    gateway, uvicorn_ = [sum(ours.values())], [sum(theirs.values())]
    return [*rows, ratio_row(f"{name}, all processes", gateway, uvicorn_, unit="KiB")]


def _kib_per_connection(subject: Subject, connections: int, handshake: str) -> dict[str, float]:
    """Return what one more connection costs each part, in KiB.

    The first 50 connections belong to the start: they make the server import and allocate what it
    does once.
    """
    with client("idle_client", subject.port) as clients:
        clients.ask(f"{handshake} {_WARM_UP}", timeout_s=30)
        before = settled_pss_bytes(subject.parts)
        clients.ask(f"{handshake} {connections}", timeout_s=90)
        after = settled_pss_bytes(subject.parts)
        answer = clients.ask(f"{handshake} 0", timeout_s=10)
    if answer["lost"] or answer["open"] != _WARM_UP + connections:
        raise BenchmarkError(f"{answer['lost']} of {connections} idle WebSockets were closed")
    return {part: (after[part] - before[part]) / connections / 1024 for part in subject.parts}
