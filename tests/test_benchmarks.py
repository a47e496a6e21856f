"""The arithmetic of the benchmarks: a wrong ratio would be believed."""

import hashlib
import os
import subprocess
import sys

import pytest
from benchmarks import procfs
from benchmarks.content import CHUNK_BYTES, chunks, sha256_of
from benchmarks.harness import WSGI_THREADS, in_turn
from benchmarks.report import Row, Target, cpu_row, figure, ratio_row, table

from gateway_worker.config import WorkerConfig


def test_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    row = ratio_row("rate", [10.0, 30.0, 8.0], [10.0, 20.0, 4.0], unit="/s")
    assert row.values == [1.0, 1.5, 2.0]
    assert row.measured == 1.5


def test_ratio_needs_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_row("rate", [1.0, 2.0], [1.0], unit="/s")


@pytest.mark.parametrize(
    ("target", "measured", "holds"),
    [
        (Target(">=", 1.1), 1.1, True),
        (Target(">=", 1.1), 1.09, False),
        (Target("<=", 1.35), 1.35, True),
        (Target("<=", 1.35), 1.36, False),
    ],
)
def test_target_holds_up_to_its_value(target: Target, measured: float, holds: bool) -> None:
    assert Row(name="figure", values=[measured], unit="x", target=target).holds is holds


def test_row_without_target_neither_holds_nor_fails() -> None:
    assert Row(name="figure", values=[1.0], unit="x").holds is None


def test_cpu_is_summed_over_the_parts_of_a_round() -> None:
    gateway = [{"interface": 30.0, "worker": 20.0}, {"interface": 40.0, "worker": 20.0}]
    row = cpu_row("cpu", gateway, [{"uvicorn": 25.0}, {"uvicorn": 30.0}])
    assert row.values == [2.0, 2.0]
    assert row.note == "interface 35.0, worker 20.0"


def test_table_says_what_does_not_hold() -> None:
    row = ratio_row("rate", [1.0, 1.2], [1.0, 1.0], unit="/s", target=Target(">=", 2))
    header, rule, line = table([row]).splitlines()
    assert len(header) == len(rule) == len(line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["rate", ">= 2 x", "1.10 x", "1.00 - 1.20", "1.10 /s", "1.00 /s", "NO"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (99.95, "100.0"), (9.876, "9.88"), (0.0714, "0.071"), (0, "0")],
)
def test_figures_are_short(value: float, text: str) -> None:
    assert figure(value) == text


def test_rounds_alternate_who_goes_first() -> None:
    order: list[str] = []
    ours, theirs = in_turn(3, lambda: order.append("A"), lambda: order.append("B"))
    assert "".join(order) == "ABBAAB"
    assert len(ours) == len(theirs) == 3


def test_gunicorn_gets_as_many_threads_as_a_worker_has() -> None:
    assert WorkerConfig(app="main:app").threads == WSGI_THREADS


def test_stat_line_of_a_process_with_brackets_in_its_name() -> None:
    line = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7"
    assert procfs.parse_stat(line) == procfs.Stat(parent=7, cpu_ticks=124)


def test_tree_holds_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as child:
        found = procfs.tree(os.getpid())
        child.communicate(b"\n", timeout=10)
    assert {os.getpid(), child.pid} <= found.keys()


def test_tree_of_a_process_that_is_gone_is_empty() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(timeout=10)
    assert procfs.tree(child.pid) == {}


def test_rss_watch_sees_a_growth_that_has_passed() -> None:
    with procfs.RssWatch({"self": os.getpid()}, interval_s=0.01) as watch:
        before = procfs.rss_bytes(os.getpid())
        block = bytearray(b"x") * 2**26
        grown = procfs.rss_bytes(os.getpid()) - before
        seen_by = watch.samples + 2
        while watch.samples < seen_by:
            os.sched_yield()
        del block
    assert grown >= 2**25
    assert watch.growth()["self"] >= 2**25


@pytest.mark.parametrize("total", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5])
def test_content_is_as_long_as_asked(total: int) -> None:
    assert sum(map(len, chunks(total))) == total


def test_content_out_of_order_has_another_hash() -> None:
    first, second = chunks(2 * CHUNK_BYTES)
    assert hashlib.sha256(first + second).hexdigest() == sha256_of(2 * CHUNK_BYTES)
    assert hashlib.sha256(second + first).hexdigest() != sha256_of(2 * CHUNK_BYTES)


def test_revision_that_is_not_there_is_status_2() -> None:
    argv = [sys.executable, "-m", "benchmarks.revisions", "no-such-revision"]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "no revision 'no-such-revision'" in run.stderr or "wrk is not on the PATH" in run.stderr
