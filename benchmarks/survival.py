"""What survives what: `python -m benchmarks.survival [--quick] [NUMBER …]`.

Carries out the proofs of tests/chaos, the long ones or with `--quick` those of every test run,
prints one table and writes it as JSON to benchmarks/results/<date>-<commit>-survival.json. Exit
status: 0 all targets hold, 1 some does not or a proof failed.
"""

import argparse
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.proofs import PROOFS, Proof
from tests.chaos.scale import LONG, SHORT, Scale

from benchmarks.harness import ROOT, Settings, prepare
from benchmarks.report import Row, table
from benchmarks.run import describe_machine, write_result
from gateway_layer.errors import GatewayError


def main() -> int:
    """Run what the command line asks for and return the exit status."""
    options = _parse_args()
    settings, scale = Settings(quick=options.quick), SHORT if options.quick else LONG
    prepare()
    machine, date = describe_machine(), datetime.now(UTC)
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for number in options.numbers or PROOFS:
        for proof in PROOFS[number]:
            name = f"{number} {proof.__name__.replace('_', ' ')}"
            started = time.monotonic()
            try:
                rows += _named(name, _carry_out(proof, scale))
            except (AssertionError, GatewayError, OSError) as error:
                failures[name] = str(error)
                print(f"{name}: FAILED: {error}", file=sys.stderr)
            else:
                print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(table(rows) if rows else "nothing was proved")
    names = ["survival", *map(str, options.numbers)]
    path = write_result(names, settings, rows, failures, machine, date)
    print(f"\n{path.relative_to(ROOT)}")
    return 1 if failures or any(row.holds is False for row in rows) else 0


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.survival", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="1 to 9; all")
    parser.add_argument("--quick", action="store_true", help="about 2 minutes instead of 12")
    options = parser.parse_args()
    unknown = set(options.numbers) - set(PROOFS)
    if unknown:
        parser.error(f"no proof {', '.join(map(str, sorted(unknown)))}; there are 1 to 9")
    return options


def _carry_out(proof: Proof, scale: Scale) -> list[Row]:
    with TemporaryDirectory(prefix="gateway-chaos-") as scratch:
        return proof(Path(scratch, "run"), scale)


def _named(name: str, rows: list[Row]) -> list[Row]:
    return [replace(row, name=f"{name}: {row.name}") for row in rows]


if __name__ == "__main__":
    sys.exit(main())
