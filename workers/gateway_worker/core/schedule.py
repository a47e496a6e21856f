"""How many openings a worker takes at once.

A worker that takes many and then blocks its loop makes them wait while other workers idle; one that
takes one at a time pays a Redis round trip for each. So the batch is as large as the time that
the last ones took to run allows: a few milliseconds' worth.
"""

from typing import Final

MAX_BATCH: Final = 16
_TURN_S: Final = 0.005
"""A batch may keep the loop this long. Far above what 16 quick openings take (0.3 ms), far below
what a person notices."""


class BatchSize:
    """The size of the next batch, from how long the last ones kept the event loop.

    Attributes:
        size: Openings to ask for, 1 to MAX_BATCH.
        slow: The application blocks the loop: what must not wait for it should leave before it.
    """

    __slots__ = ("size", "slow")

    def __init__(self) -> None:
        """Start with one, so that a slow application is found out at the cost of one."""
        self.size = 1
        self.slow = False

    def ran(self, count: int, elapsed_s: float) -> None:
        """Learn that `count` openings kept the loop for `elapsed_s` seconds together."""
        if count <= 0:
            return
        self.slow = elapsed_s > _TURN_S
        if elapsed_s * MAX_BATCH <= _TURN_S * count:
            fitting = MAX_BATCH
        else:
            fitting = max(1, int(_TURN_S * count / elapsed_s))
        self.size = min(fitting, self.size * 2, MAX_BATCH)
