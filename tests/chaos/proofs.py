"""Every proof, by its number."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.report import Row

from tests.chaos import proofs_interfaces, proofs_redis, proofs_workers
from tests.chaos.scale import Scale

Proof = Callable[[Path, Scale], list[Row]]
"""Runs in a folder that does not exist yet, and returns what it found; the targets are in it."""

PROOFS: Mapping[int, Sequence[Proof]] = {
    1: [proofs_workers.killed_workers],
    2: [proofs_workers.rolling_deploy],
    3: [proofs_redis.lost_redis],
    4: [proofs_workers.stopped_worker, proofs_interfaces.stopped_interface],
    5: [proofs_redis.bad_network],
    6: [proofs_interfaces.killed_interface],
    7: [proofs_redis.left_clean],
    8: [proofs_interfaces.stuck],
    9: [proofs_workers.crowd],
}
