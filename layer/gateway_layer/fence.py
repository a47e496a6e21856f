"""Keeps a process that others may hold for dead from saying anything.

A worker that stood still (SIGSTOP, a suspended machine) for longer than its lease has been replaced
while it slept. When it wakes up, its code goes on in the middle of whatever it did: before it has
renewed its lease, nothing of it may leave, neither answers nor what it pushes or sends to groups.
Those go by connections of their own, so the fence is the whole process's.
"""

import time
from typing import Final

from gateway_layer.errors import LayerUnavailable

_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the first


def boot_time_s() -> float:
    """Return a clock that never jumps and goes on while the machine is suspended, in seconds."""
    return time.clock_gettime(_CLOCK)


class Fence:
    """Whether one member of the channel layer may write.

    Attributes:
        until_s: By `boot_time_s`, when it has to renew its lease before it writes on.
        fenced: It was held for dead, and has to rejoin before it writes on.
    """

    __slots__ = ("fenced", "until_s")

    def __init__(self) -> None:
        """Begin closed."""
        self.until_s = float("-inf")
        self.fenced = False

    @property
    def closed(self) -> bool:
        """Whether nothing may be written now."""
        return self.fenced or time.clock_gettime(_CLOCK) > self.until_s  # asked for each opening

    def check(self) -> None:
        """Refuse to write where others may hold this process for dead.

        Raises:
            LayerUnavailable: The lease has lapsed.
        """
        if self.closed:
            raise LayerUnavailable(
                "the lease of this process has lapsed, so others may hold it for dead; retry when "
                "it was renewed"
            )


_of_process: Final[set[Fence]] = set()


def guard_process(fence: Fence) -> None:
    """Have `check_process` ask this fence, too."""
    _of_process.add(fence)


def release_process(fence: Fence) -> None:
    """Have `check_process` ask this fence no more, unless it was closed for good."""
    if not fence.fenced:
        _of_process.discard(fence)


def check_process() -> None:
    """Refuse to push or to send to groups in the name of a worker that may be held for dead.

    A process that is no worker has no fence.

    Raises:
        LayerUnavailable: The lease of this process has lapsed.
    """
    for fence in _of_process:
        fence.check()
