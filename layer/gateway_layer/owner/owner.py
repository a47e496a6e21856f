"""What all connections of one interface server share, whichever protocols it speaks."""

import asyncio
import contextlib
import itertools
import logging
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway_layer.codec import pack
from gateway_layer.names import ConnectionIds
from gateway_layer.node import Node
from gateway_layer.owner.channels import OwnedChannels
from gateway_layer.owner.openings import Openings, OpeningSession
from gateway_layer.owner.pushes import Pushes
from gateway_layer.wire import CLAIM, RESET, Reset

_log = logging.getLogger("gateway.interface")

FOREVER: Final = float("inf")

_TICK_S: Final = 0.25
"""How often deadlines are looked at: one pass over all sockets is cheaper than a timer for each
(10,000 sockets: about 0.5 ms)."""

_TICKS_A_SECOND: Final = 4

_LOOK_S: Final = 0.05
"""How often a drain looks whether all clients are gone."""

_SETTLE_S: Final = 5.0
"""How long to wait, before the end, until the workers have heard of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one client may make its owner hold or wait for; the defaults of `gateway-interface`."""

    window_bytes: int = 262_144
    """Credit of the application: payload + 256 bytes an event that the client has not taken."""

    queue_capacity: int = 1000
    """Openings that one queue may hold."""

    queue_deadline_s: float = 10.0
    """How long an opening may wait for a worker."""

    response_timeout_s: float = 60.0
    """From a worker's claim to the application's first word. 0 waits for ever."""

    resume_timeout_s: float = 30.0
    """How long a connection whose instance is gone waits for another worker."""

    redis_grace_s: float = 30.0
    """How long connections stay open without Redis."""

    send_timeout_s: float = 60.0
    """How long a client may take nothing of what waits for it."""

    max_send_buffer_bytes: int = 1_048_576
    """What may wait for one client that takes less than is pushed to it."""


class Client(Protocol):
    """One client's socket, as the clock and the drain of its server see it."""

    deadline: float
    """When `on_deadline` is due, by the loop's clock."""

    def on_deadline(self, now: float) -> None:
        """The deadline has passed; sets a new one or ends the connection."""

    def drain(self) -> None:
        """The server stops: finish what is under way, then close."""

    def abort(self) -> None:
        """End now."""


class Owner:
    """A process that holds clients' connections; handed to each of them.

    Attributes:
        bounds: Of each client.
        channels: Of connections, in channel layers.
        clients: Every open socket; whoever adds one discards it.
        ids: Of connections.
        loop: The running one.
        node: Its sessions are the connections.
        openings: Puts connections before the workers.
        pushes: Carries out what other services say to connections and groups.
    """

    def __init__(self, node: Node, bounds: Bounds) -> None:
        """Take over the node's callbacks; needs a running loop, and a layer not yet started."""
        self.bounds: Final = bounds
        self.clients: Final[set[Client]] = set()
        self.ids: Final = ConnectionIds()
        self.loop: Final = asyncio.get_running_loop()
        self.node: Final = node
        self.openings: Final = Openings(
            node.layer,
            capacity=bounds.queue_capacity,
            deadline_s=bounds.queue_deadline_s,
            resume_s=bounds.resume_timeout_s,
        )
        self.pushes: Final = Pushes(node.layer, node)
        self.channels: Final = OwnedChannels(node)
        self._without_redis_since: float | None = None
        node.on_unknown = _answer_unknown
        node.on_dead = self._on_dead
        node.on_lost = self._on_lost
        node.on_available = self._on_available
        node.on_pull_lost = self._on_pull_lost
        node.on_fenced = node.layer.rejoin

    async def run(self) -> None:
        """Keep the deadlines of all connections, until it is cancelled."""
        for count in itertools.count():
            await asyncio.sleep(_TICK_S)
            self.check_deadlines()
            if not count % _TICKS_A_SECOND:
                now = self.loop.time()
                self.openings.check(now, self._sessions())
                self._check_redis(now)

    async def drain(self, timeout_s: float) -> None:
        """Tell all clients that the server stops, and wait until they are gone."""
        for client in list(self.clients):
            client.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.clients:  # noqa: ASYNC110 - each discards itself, and tells nobody
                    await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """End all connections, and tell the workers; the layer stays the caller's to close.

        Returns within 5 s: as soon as every worker that lives has heard of it.
        """
        for client in list(self.clients):
            client.abort()
        await asyncio.sleep(0)  # the connections hear of it, and tell their workers
        if self.node.layer.available:
            await self.node.settle(_SETTLE_S)
        await self.channels.close()
        self.node.close()
        self.pushes.close()

    def check_deadlines(self) -> None:
        """Tell every client whose deadline has passed; `run` does it four times a second."""
        now = self.loop.time()
        for client in [client for client in self.clients if client.deadline <= now]:
            try:
                client.on_deadline(now)
            except Exception:  # a fault of ours: the clock goes on for all others
                _log.exception("a deadline of a client failed")
                client.abort()

    def _sessions(self) -> list[OpeningSession]:
        sessions = self.node.sessions.values()
        return [one for one in sessions if isinstance(one, OpeningSession)]

    # The layer's side.

    def _on_dead(self, _pid: str) -> None:
        self.openings.worker_died(self._sessions())

    def _on_lost(self) -> None:
        self._without_redis_since = self.loop.time()

    def _on_available(self) -> None:
        if self._without_redis_since is None:
            self.openings.push_waiting()  # the first time
        else:
            self._without_redis_since = None
            self.openings.redis_returned(self._sessions())
        self.pushes.assert_groups()
        self.channels.announce()

    def _on_pull_lost(self) -> None:
        self.openings.redis_returned(self._sessions())

    def _check_redis(self, now: float) -> None:
        """Close everything when Redis has been away for longer than the grace."""
        since = self._without_redis_since
        if since is not None and now - since > self.bounds.redis_grace_s:
            self._without_redis_since = None
            sessions = self._sessions()
            _log.error("no Redis for %g s: ending %d connections", now - since, len(sessions))
            for session in sessions:
                session.on_unavailable()


def _answer_unknown(_sender: str, frame: tuple[Any, ...]) -> bytes | None:
    """Tell a worker that claims a connection whose client has left."""
    if frame[1] == CLAIM:
        return pack(Reset(frame[0], RESET, frame[2]))
    return None
