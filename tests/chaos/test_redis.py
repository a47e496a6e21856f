"""A Redis that is killed, emptied, away or badly connected: see `tests.chaos.proofs_redis`."""

import pytest

from tests.chaos import proofs_redis
from tests.chaos.conftest import Prove

pytestmark = pytest.mark.timeout(900)


def test_3_lost_redis_closes_nothing_and_loses_nothing(prove: Prove) -> None:
    prove(proofs_redis.lost_redis)


def test_5_bad_network_closes_nothing_and_loses_nothing(prove: Prove) -> None:
    prove(proofs_redis.bad_network)


def test_7_nothing_is_left_in_redis(prove: Prove) -> None:
    prove(proofs_redis.left_clean)
