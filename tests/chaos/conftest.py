from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.judge import failures
from tests.chaos.proofs import Proof
from tests.chaos.scale import chosen

Prove = Callable[[Proof], None]


@pytest.fixture
def prove(tmp_path: Path) -> Prove:
    """Runs a proof, short or long, and holds all that it found against the targets."""

    def prove(proof: Proof) -> None:
        found = failures(proof(tmp_path / "run", chosen()))
        assert not found, "\n" + "\n".join(found)

    return prove
