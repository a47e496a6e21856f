"""What a supervisor knows of its children: who is in which place, and how one ended."""

import signal
from dataclasses import dataclass

EXIT_FAILURE = 1
"""A port that is taken, or an exception in code that starts the process."""

EXIT_CONFIG = 2
"""An option or an application path that cannot work."""

YOUNG_S = 10.0
"""A child that lived for so long has shown that it can: its next failure counts as the first."""


@dataclass(slots=True, eq=False)
class Child:
    """One child that was started and has not been waited for yet."""

    index: int
    pid: str
    os_pid: int
    report_fd: int
    """Read end of the pipe on which it says that it is ready; -1 when nothing more can come."""

    generation: int
    """How many replacements of everything had been asked for when it was started."""

    started_at: float
    ready: bool = False
    failure: str = ""
    """Why it will never be ready, in its own words."""

    kill_at: float | None = None
    """When it will be killed; set when it is told to end."""


@dataclass(slots=True)
class Place:
    """One of the 1..N children that there should be."""

    index: int
    current: Child | None = None
    replacement: Child | None = None
    """Started, not ready yet: takes over from `current`, which then drains."""

    failures: int = 0
    """Children in a row that died young."""

    start_at: float | None = None

    def count_failure(self, child: Child, now: float) -> float:
        """Count a death, and return in how many seconds the next child is to be started."""
        self.failures = 1 if now - child.started_at >= YOUNG_S else self.failures + 1
        delay_s = back_off_s(self.failures)
        self.start_at = now + delay_s
        return delay_s


def back_off_s(failures: int) -> float:
    """Return how long to wait before the next start: 0, 0.1, 0.2, 0.4 … 5 seconds.

    Args:
        failures: How many children in a row died young in this place, 1 or more.
    """
    return 0.0 if failures < 2 else min(5.0, 0.1 * float(2 ** min(failures - 2, 16)))


def how_it_ended(status: int) -> str:
    """Say how a process ended, from `os.waitstatus_to_exitcode`."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
