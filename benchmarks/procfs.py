"""What Linux says about the processes under test: trees, CPU time, memory."""

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """The fields of `/proc/<pid>/stat` that are used here."""

    parent: int
    cpu_ticks: int
    """User and system time of all threads, and of the children that were waited for."""


def parse_stat(line: str) -> Stat:
    """Read one `/proc/<pid>/stat` line (proc_pid_stat(5)).

    The second field, the name, may hold spaces and brackets: what counts is after the last one.
    """
    fields = line[line.rindex(")") + 2 :].split()
    return Stat(parent=int(fields[1]), cpu_ticks=sum(map(int, fields[11:15])))


def tree(root: int) -> dict[int, Stat]:
    """Return the process `root` and all its descendants; empty when it is gone."""
    every = _processes()
    children: dict[int, list[int]] = {}
    for pid, stat in every.items():
        children.setdefault(stat.parent, []).append(pid)
    found: dict[int, Stat] = {}
    waiting = [root] if root in every else []
    while waiting:
        pid = waiting.pop()
        found[pid] = every[pid]
        waiting += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """Return the CPU time, in seconds, that the tree of `root` has used since it started."""
    return sum(stat.cpu_ticks for stat in tree(root).values()) * TICK_S


def rss_bytes(pid: int) -> int:
    """Return the resident memory of one process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def pss_bytes(root: int) -> int:
    """Return the proportional memory of the tree of `root`: pages shared by n count 1/n each."""
    return sum(_pss_of(pid) for pid in tree(root))


def settled_pss_bytes(roots: Mapping[str, int], *, timeout_s: float = 15.0) -> dict[str, int]:
    """Return the PSS of each tree once it has stopped moving, by 0.2 % within a second."""
    deadline = time.monotonic() + timeout_s
    before = {part: pss_bytes(root) for part, root in roots.items()}
    while True:
        time.sleep(1.0)
        now = {part: pss_bytes(root) for part, root in roots.items()}
        still = all(abs(now[part] - before[part]) <= 0.002 * now[part] for part in roots)
        if still or time.monotonic() > deadline:
            return now
        before = now


class RssWatch:
    """Samples the RSS of every process of some trees, from a thread, while it is entered.

    A peak shorter than the interval can be missed; what a slow peer makes a process keep stays for
    seconds.

    Attributes:
        samples: How many have been taken so far.
    """

    def __init__(self, parts: Mapping[str, int], *, interval_s: float = 0.1) -> None:
        """Name the trees to watch: part name to root pid."""
        self._parts = parts
        self._interval_s = interval_s
        self.samples = 0
        self._first: dict[tuple[str, int], int] = {}
        self._peak: dict[tuple[str, int], int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rss-watch", daemon=True)

    def __enter__(self) -> Self:
        """Take the first sample, then go on in the thread."""
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the last sample and stop."""
        self._stopped.set()
        self._thread.join()
        self._sample()

    def growth(self) -> dict[str, int]:
        """Return, for each part, the growth in bytes of the process of it that grew most."""
        grown = dict.fromkeys(self._parts, 0)
        for process, peak in self._peak.items():
            part = process[0]
            grown[part] = max(grown[part], peak - self._first[process])
        return grown

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        for part, root in self._parts.items():
            for pid in tree(root):
                process, rss = (part, pid), rss_bytes(pid)
                self._first.setdefault(process, rss)
                self._peak[process] = max(self._peak.get(process, 0), rss)
        self.samples += 1


def _processes() -> dict[int, Stat]:
    # Not /proc/<pid>/task/*/children: kernels without CONFIG_PROC_CHILDREN lack it.
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            found[int(name)] = parse_stat(Path(f"/proc/{name}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the listing and the reading
    return found


def _pss_of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
