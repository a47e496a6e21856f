"""Workers that are killed, replaced or stopped, under load: see `tests.chaos.proofs_workers`."""

import pytest

from tests.chaos import proofs_workers
from tests.chaos.conftest import Prove

pytestmark = pytest.mark.timeout(900)


def test_1_killed_workers_close_nothing_and_lose_nothing(prove: Prove) -> None:
    prove(proofs_workers.killed_workers)


def test_2_rolling_deploys_are_seen_by_nobody(prove: Prove) -> None:
    prove(proofs_workers.rolling_deploy)


def test_4_worker_that_was_stopped_says_nothing_afterwards(prove: Prove) -> None:
    prove(proofs_workers.stopped_worker)


def test_9_crowd_of_a_killed_worker_is_back_soon_and_evenly(prove: Prove) -> None:
    prove(proofs_workers.crowd)
