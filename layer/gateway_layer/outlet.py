"""Room on the way to Redis: whoever produces waits here, so that a slow Redis fills no memory.

Credit bounds what one connection has under way; thousands of connections, or a few large messages,
could still fill the way to Redis in one turn of the event loop. A full way ends every session that
uses it (`LayerUnavailable`), so producers look at `room` first. Sans-I/O.
"""

from collections.abc import Callable
from typing import Final

TURN_BYTES: Final = 8 * 2**20
"""Cost that one turn may produce; the last event may overdraw, by 16 MiB at most."""


class Outlet:
    """What this process may still produce.

    Attributes:
        room: Cost that may still be produced in this turn; producers subtract what they produce,
            and wait where it is not above 0.
    """

    __slots__ = ("_on_wanted", "_waiting", "room")

    def __init__(self, on_wanted: Callable[[], None]) -> None:
        """Begin with all the room of a turn.

        Args:
            on_wanted: Called when somebody waits for room; `flushed` has to follow, for what took
                the room may be held back by a session's credit, so that nothing of it is written.
        """
        self.room = TURN_BYTES
        self._on_wanted = on_wanted
        self._waiting: dict[Callable[[], None], None] = {}

    def when_room(self, then: Callable[[], None]) -> None:
        """Call `then` once when there is room again; asking twice is asking once."""
        self._waiting[then] = None
        self._on_wanted()

    def claim(self, cost: int, then: Callable[[], None]) -> bool:
        """Take room for an event; False: there is none, and `then` is called when there is."""
        if self.room <= 0:
            self.when_room(then)
            return False
        self.room -= cost
        return True

    def flushed(self, *, congested: bool) -> None:
        """A turn's output was handed over; `congested`: Redis has not taken what went before."""
        if congested:
            self.room = 0
            return
        self.room = TURN_BYTES
        waiting, self._waiting = self._waiting, {}
        for then in waiting:
            then()
