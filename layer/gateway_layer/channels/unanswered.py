"""What Redis was given and has not answered, and nobody waits for: messages to groups above all."""

import asyncio
from typing import Final

_MOST: Final = 32


class Unanswered:
    """How many such commands one loop has: a bound on what can be lost with a connection.

    Attributes:
        count: At present.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the next sender has to wait for its answer, and with it for all before."""
        return self.count >= _MOST

    def begin(self) -> None:
        """One more was sent."""
        self.count += 1

    def end(self) -> None:
        """One was answered, or lost."""
        self.count -= 1
        if not self.count and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until there is none; by whoever closes the loop's connections."""
        while self.count:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
