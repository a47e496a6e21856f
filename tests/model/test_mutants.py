"""The mutations of `make mutants` break what they name."""

from pathlib import Path

import pytest

from tests.model.mutants import MUTANTS, Mutant, copy_sources, mutate


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutation_still_applies(mutant: Mutant, tmp_path: Path) -> None:
    copy_sources(tmp_path)
    mutate(mutant, tmp_path)
    for path, _before, after in mutant.edits:
        text = (tmp_path / path).read_text()
        assert after in text
        compile(text, path, "exec")
