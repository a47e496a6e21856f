"""Finds connections that have been idle for long, and lets go of their instances."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from gateway_worker.instances import ResumableInstance

_LOOKS: Final = 4
"""Looks per period; so much finer than the period is the moment of hibernation."""


class Hibernation:
    """One scan over all instances a few times a period: nothing is noted when an event passes."""

    def __init__(
        self, after_s: float, instances: Callable[[], Iterable[ResumableInstance]]
    ) -> None:
        """Begin to look.

        Args:
            after_s: How long a connection is idle before its instance goes.
            instances: Returns all instances of now.
        """
        self._instances: Final = instances
        self._every_s: Final = after_s / _LOOKS
        self._seen: dict[ResumableInstance, tuple[int, int]] = {}
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)
        seen: dict[ResumableInstance, tuple[int, int]] = {}
        for instance in self._instances():
            if not instance.resumable or not instance.idle:
                continue
            moves, looks = self._seen.get(instance, (-1, 0))
            looks = looks + 1 if moves == instance.moves else 0
            if looks >= _LOOKS:
                instance.let_go("hibernate")
            else:
                seen[instance] = (instance.moves, looks)
        self._seen = seen
