"""Idle: what 5,000 WebSockets that say nothing keep in memory, beside uvicorn; and hibernating."""

import time

from benchmarks.harness import BenchmarkError, Settings, Subject, gateway, under_test, uvicorn
from benchmarks.load import client
from benchmarks.procfs import settled_pss_bytes
from benchmarks.report import Row, Target, ratio_row

_WARM_UP = 50
_TARGETS = {"interface": Target("<=", 10), "worker": Target("<=", 8)}
_SLEEP_TARGETS = {"interface": Target("<=", 3), "worker": Target("<=", 1)}
"""Of a worker nothing is wanted; an allocator may keep some arenas half full."""

_HIBERNATION = ("--hibernate-after", "1", "--on-worker-exit", "resume")
_ASLEEP_S = 8.0
"""After so long all hibernate."""


def run(settings: Settings) -> list[Row]:
    """Measure with and without compression; each on a server started afresh, one after the other.

    Every browser offers permessage-deflate, so those rows are the daily ones; clients of other
    kinds and proxies often do not.
    """
    connections = 1_000 if settings.quick else 5_000
    return [
        *_rows(settings, connections, "deflate", "deflate offered"),
        *_rows(settings, connections, "plain", "no deflate"),
        *([] if settings.null else _sleep_rows(connections)),
    ]


def _sleep_rows(connections: int) -> list[Row]:
    """Compare WebSockets that hibernate with as many whose instances stay.

    As many others hibernate before them: a process keeps the memory of what was there once, and
    what is asked for is what one more costs.
    """
    with gateway("echo") as subject:
        awake = _kib_per_connection(subject, connections, "deflate")
    with gateway("echo", worker_options=_HIBERNATION) as subject:
        asleep = _kib_per_connection(
            subject, connections, "deflate", warm_up=connections, rest_s=_ASLEEP_S
        )
    name = f"hibernating, {connections:,} WebSockets: PSS each"
    above = {"interface": asleep["interface"] - awake["interface"], "worker": asleep["worker"]}
    return [
        Row(
            name=f"{name}, {part}{', above an idle one' if part == 'interface' else ''}",
            values=[round(kib, 1)],
            unit="KiB",
            target=_SLEEP_TARGETS[part],
        )
        for part, kib in above.items()
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


def _kib_per_connection(
    subject: Subject,
    connections: int,
    handshake: str,
    *,
    warm_up: int = _WARM_UP,
    rest_s: float = 0.0,
) -> dict[str, float]:
    """Return what one more connection costs each part, in KiB.

    The first connections, 50 of them, belong to the start: they make the server import and
    allocate what it does once. Each time memory is looked at `rest_s` after the last handshake.
    """
    with client("idle_client", subject.port) as clients:
        clients.ask(f"{handshake} {warm_up}", timeout_s=90)
        time.sleep(rest_s)
        before = settled_pss_bytes(subject.parts)
        clients.ask(f"{handshake} {connections}", timeout_s=90)
        time.sleep(rest_s)
        after = settled_pss_bytes(subject.parts)
        answer = clients.ask(f"{handshake} 0", timeout_s=10)
    if answer["lost"] or answer["open"] != warm_up + connections:
        raise BenchmarkError(f"{answer['lost']} of {connections} idle WebSockets were closed")
    return {part: (after[part] - before[part]) / connections / 1024 for part in subject.parts}
