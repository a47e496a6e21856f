"""Break the rules that survival rests on, one at a time, and see that the model notices.

`python -m tests.model.mutants` applies each mutation to a copy of the product and runs the model
over it. A mutation that survives, or does not apply any more, is an error.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ("layer", "interface_server", "workers")
EXAMPLES: Final = 5000
"""Schedules that a mutation has to survive to count as a survivor."""

_TIMEOUT_S: Final = 600

_INTERFACE: Final = "layer/gateway_layer/session/interface.py"
_WORKER: Final = "layer/gateway_layer/session/worker.py"
_LINK: Final = "layer/gateway_layer/link.py"


class Edit(NamedTuple):
    """Text of a file and what to write instead; it stands there once."""

    path: str
    before: str
    after: str


class Mutant(NamedTuple):
    """A rule, broken."""

    name: str
    edits: tuple[Edit, ...]


MUTANTS: Final = (
    Mutant(
        "no fence: frames count from any worker and epoch",
        (
            Edit(
                _INTERFACE,
                """\
        if epoch != self.epoch:
            return self._reset(epoch)
        if sender == self.worker:
            if op == DATA:
""",
                """\
        if state is _BOUND:
            if op == DATA:
""",
            ),
        ),
    ),
    Mutant(
        "fence by epoch alone: frames count from any worker",
        (
            Edit(
                _INTERFACE,
                """\
        if sender == self.worker:
            if op == DATA:
""",
                """\
        if state is _BOUND:
            if op == DATA:
""",
            ),
        ),
    ),
    Mutant(
        "the state leaves with the batch after the confirmation",
        (
            Edit(
                _WORKER,
                """\
        frames: list[bytes] = []
        out = self._out
""",
                """\
        frames: list[bytes] = []
        state = None
        out = self._out
""",
            ),
            Edit(
                _WORKER,
                "frames.append(self._frame(out, confirmed, state))",
                "frames.append(self._frame(out, confirmed, None))",
            ),
            Edit(
                _WORKER,
                """\
            self._last = None
        return frames
""",
                """\
            self._last = None
        if state is not None:
            self._say((self.connection, DATA, self.epoch, [], None, state))
        return frames
""",
            ),
        ),
    ),
    Mutant(
        "an event is confirmed when it is handed over",
        (
            Edit(
                _WORKER,
                """\
        self._given, event = self.inbox.popleft()
        return event
""",
                """\
        self._given, event = self.inbox.popleft()
        self.confirm()
        return event
""",
            ),
        ),
    ),
    Mutant(
        "an opening is pushed again under its old epoch",
        (Edit(_INTERFACE, "self.epoch += 1\n", "self.epoch = self.epoch or 1\n"),),
    ),
    Mutant(
        "a timer sends data again, without a probe",
        (
            Edit(
                _LINK,
                """\
                self._next_probe_s = self.stuck_s + min(self.stuck_s, _LONGEST_PROBE_S)
                self._probe = self.due = True
""",
                """\
                self._next_probe_s = self.stuck_s + min(self.stuck_s, _LONGEST_PROBE_S)
                self._resend = self.due = True
""",
            ),
        ),
    ),
)

_RUN: Final = """
import logging, sys
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.model.test_survival import Survival

logging.getLogger("gateway").propagate = False
options = settings(
    Survival.TestCase.settings,
    max_examples=int(sys.argv[1]),
    derandomize=False,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    database=None,
)
try:
    run_state_machine_as_test(Survival, settings=options)
except AssertionError as error:
    found = error.args[0] if error.args else "an assertion"
    print(found[0] if isinstance(found, list) else str(found).partition("\\n")[0])
    sys.exit(1)
"""


def mutate(mutant: Mutant, root: Path) -> None:
    """Apply a mutation to the sources below `root`.

    Raises:
        ValueError: The text that it replaces is not there once.
    """
    for path, before, after in mutant.edits:
        text = (root / path).read_text()
        if text.count(before) != 1:
            raise ValueError(f"{mutant.name}: {path} has its text {text.count(before)} times")
        (root / path).write_text(text.replace(before, after))


def copy_sources(root: Path) -> None:
    """Copy the product below `root`."""
    for source in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / source, root / source, ignore=ignored)


def run_model(root: Path, examples: int) -> str:
    """Run the model over the sources below `root`.

    Returns:
        What it found wrong; empty if nothing.

    Raises:
        RuntimeError: It did not run.
    """
    path = os.pathsep.join([*(str(root / source) for source in SOURCES), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-c", _RUN, str(examples)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if run.returncode == 0:
        return ""
    if run.returncode == 1 and run.stdout:
        return run.stdout.strip()
    raise RuntimeError(run.stderr[-2000:])


def main() -> int:
    """Try all mutations; print a row of a table for each."""
    sys.stdout.write("| rule broken | noticed by | after |\n|---|---|---|\n")
    survivors = 0
    for mutant in MUTANTS:
        with TemporaryDirectory() as folder:
            root = Path(folder)
            copy_sources(root)
            mutate(mutant, root)
            begin = time.monotonic()
            found = run_model(root, EXAMPLES)
            survivors += not found
            took = f"{time.monotonic() - begin:.1f} s"
            sys.stdout.write(f"| {mutant.name} | {found[:120] or 'NOTHING'} | {took} |\n")
            sys.stdout.flush()
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
