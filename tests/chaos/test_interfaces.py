"""Interface servers stopped, killed, or beset: see `tests.chaos.proofs_interfaces`."""

import pytest

from tests.chaos import proofs_interfaces
from tests.chaos.conftest import Prove

pytestmark = pytest.mark.timeout(900)


def test_4_interface_server_that_was_stopped_goes_on(prove: Prove) -> None:
    prove(proofs_interfaces.stopped_interface)


def test_6_killed_interface_server_ends_its_instances(prove: Prove) -> None:
    prove(proofs_interfaces.killed_interface)


def test_8_who_does_not_read_costs_nobody_anything(prove: Prove) -> None:
    prove(proofs_interfaces.stuck)
