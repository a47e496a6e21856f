"""Which processes hold connections, as one pusher knows them: who is gone, and who is only unknown.

Redis tells who lives, and who is registered for a group. After it has lost its data, or was away,
it does not know everybody at once. Then whoever is not known is not gone, for who hears "gone"
deletes what it has of a client; and a group request goes to whoever lives, or lived before, too.
"""

from collections.abc import Sequence
from typing import Any, Final

from gateway_layer.errors import ChannelFull, ConnectionGone, GatewayError, LayerUnavailable
from gateway_layer.push.frames import PUSH_CAPACITY

LOST_S: Final = 5.0
"""So long it takes until all are back in a Redis that was away; with the default lease."""

_NOBODY_S: Final = 60.0
"""A gateway of which nobody is known for so long does not come back."""

_FULL: Final = -2
_UNKNOWN: Final = -3


class ProcessUnknown(LayerUnavailable):
    """The owner of a connection may live, or not: Redis has lost what it knew."""


class Owners:
    """What one pusher has seen of the processes; `now` is a monotonic clock's, in seconds."""

    def __init__(self) -> None:
        """Begin knowing nothing."""
        self._reached = False
        self._data_id: bytes | None = None
        self._live: frozenset[str] = frozenset()
        self._lost_until = float("-inf")
        self._nobody_since: float | None = None

    @property
    def seen(self) -> bool:
        """Whether it is known which data Redis has."""
        return self._data_id is not None

    @property
    def known(self) -> bool:
        """Whether there has been a gateway."""
        return self._reached or self.seen

    def redis_was_away(self, now: float) -> None:
        """A connection to it was lost: for some time not all processes may be known."""
        self._lost_until = now + LOST_S

    def see(self, data_id: bytes | None, now: float) -> None:
        """Take in `{p}:inc`, which changes when Redis has lost its data; None: nobody is known."""
        if data_id:
            self._nobody_since = None
            if self._data_id not in (None, data_id):
                self.redis_was_away(now)
            self._data_id = data_id
        elif self._nobody_since is None:
            self._nobody_since = now

    def error_of(self, reply: Any, pid: str, now: float) -> GatewayError | None:
        """Return what the push script's answer means for the requests that it carried to `pid`."""
        if reply.__class__ is list and len(reply) == 2:
            code, data_id = reply
            return self._error_without(code, data_id, pid, now)
        if reply == _FULL:
            return ChannelFull(f"{pid}:push", PUSH_CAPACITY)
        self._reached = True
        return None

    def _error_without(self, code: Any, data_id: Any, pid: str, now: float) -> GatewayError:
        """Return the error for a process that Redis does not know."""
        self.see(data_id, now)
        if self._nobody_since is not None:
            unknown = self.known and now - self._nobody_since < _NOBODY_S
        else:
            unknown = code == _UNKNOWN or now < self._lost_until
        if unknown:
            return ProcessUnknown(
                f"Redis was away, and does not know the interface server {pid} (yet): retry soon"
            )
        return ConnectionGone(f"the interface server {pid} of this connection is gone")

    def take_in(
        self, registered: Sequence[bytes], data_id: bytes | None, live: Sequence[bytes], now: float
    ) -> tuple[list[str], list[str]]:
        """Take in `{g:GROUP}`, `{p}:inc` and `{p}:alive`, read together.

        Args:
            registered: pids that have members.
            data_id: As for `see`.
            live: pids of all living processes.
            now: The time.

        Returns:
            (whom to ask and wait for, to whom to send besides).
        """
        self.see(data_id, now)
        if data_id is None:
            self.redis_was_away(now)
        asked = [_name(pid) for pid in registered]
        living = frozenset(map(_name, live))
        if now >= self._lost_until:
            self._live = living
            return asked, []
        self._live |= living
        return asked, sorted(self._live.difference(asked))


def _name(raw: bytes) -> str:
    return raw.decode("ascii", "replace")
