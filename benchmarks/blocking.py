"""Four workers of an application that blocks its loop 20 ms: does any worker hoard requests?

The ideal is computed, not measured: n workers that are never idle while a request waits answer
n / 0.02 requests a second, and each of 64 closed-loop connections then waits 64 / (n / 0.02).
"""

from benchmarks.apps import BLOCK_S
from benchmarks.harness import Settings, under_test
from benchmarks.load import wrk
from benchmarks.report import Row, Target

WORKERS = 4
CONNECTIONS = 64


def run(settings: Settings) -> list[Row]:
    """Measure; uvicorn is not beside it, the ideal is."""
    rounds, seconds = (2, 3.0) if settings.quick else (3, 6.0)
    with under_test(settings, "blocking", workers=WORKERS) as subject:
        wrk(subject, connections=CONNECTIONS, seconds=1.0)
        found = [wrk(subject, connections=CONNECTIONS, seconds=seconds) for _ in range(rounds)]
    ideal_per_s = WORKERS / BLOCK_S
    ideal_us = CONNECTIONS / ideal_per_s * 1e6
    name = f"blocking {BLOCK_S * 1000:g} ms, {WORKERS} workers, {CONNECTIONS} connections"
    throughput = [one.requests_per_s for one in found]
    p99 = [one.p99_us for one in found]
    return [
        Row(
            name=f"{name}: requests/s of the ideal {ideal_per_s:g}",
            values=[one / ideal_per_s for one in throughput],
            unit="x",
            target=Target(">=", 0.95),
            gateway=throughput,
            absolute_unit="/s",
        ),
        Row(
            name=f"{name}: p99 of the ideal {ideal_us / 1000:g} ms",
            values=[one / ideal_us for one in p99],
            unit="x",
            target=Target("<=", 1.5),
            gateway=[one / 1000 for one in p99],
            absolute_unit="ms",
        ),
    ]
