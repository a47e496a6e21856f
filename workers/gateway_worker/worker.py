"""The worker: joins the channel layer, takes openings, runs an instance for each, drains."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from gateway_layer.base import ChannelLayer
from gateway_layer.codec import pack
from gateway_layer.errors import ProtocolError
from gateway_layer.names import queue_name
from gateway_layer.node import Node, Session
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.layer import RedisLayer
from gateway_layer.session import WorkerSession
from gateway_layer.wire import REFUSE, Open, Refuse, read_entry, read_open
from gateway_worker.apps import ASGI3App, load_app
from gateway_worker.config import WorkerConfig
from gateway_worker.hibernation import Hibernation
from gateway_worker.instances import (
    INSTANCE_TYPES,
    Instance,
    ProtocolInstance,
    ResumableInstance,
    make_scope,
)
from gateway_worker.lifespan import Lifespan, LifespanFailed
from gateway_worker.puller import Puller
from gateway_worker.wsgi import WsgiBridge

_log = logging.getLogger("gateway.worker")

EXIT_LIFESPAN_FAILED: Final = 3

_CANCEL_S: Final = 1.0
"""How long instances may take to end after they were cancelled."""

EXIT_FENCED: Final = 75
"""Others have held this process for dead, and its connections are theirs: nothing that still runs
here may say a word, so the process ends and its supervisor starts another (EX_TEMPFAIL)."""

_LETTING_GO: Final = 32
"""Connections that are handed over at once."""

_SETTLE_S: Final = 5.0
"""How long to wait, before the end, until everybody has what was sent to them."""


class Worker:
    """One worker process.

    Attributes:
        served: Connections started so far.
        dropped: Openings that could not be read, or that nobody waited for any more.
    """

    def __init__(
        self,
        config: WorkerConfig,
        *,
        pid: str | None = None,
        parent: str | None = None,
        layer: ChannelLayer | None = None,
    ) -> None:
        """Prepare; nothing is imported or connected before `serve`.

        Args:
            config: What to run, and how much of it.
            pid: This process's name on the layer; None draws one.
            parent: The supervisor's.
            layer: Another layer than that on `config.layer.redis`, for tests and embedding.
        """
        self._config: Final = config
        self._layer: Final = layer or RedisLayer(config.layer, "worker", pid=pid, parent=parent)
        self._node: Final = Node(self._layer)
        self._changed: Final = asyncio.Event()
        self._pullers: Final = {
            kind: Puller(
                self._layer,
                queue_name(config.queue, kind),
                config.concurrency if kind == "http" else config.websocket_concurrency,
                self._on_openings,
                self._changed.set,
            )
            for kind in config.protocols
        }
        self._node.on_lost = self._changed.set
        self._node.on_fenced = self._on_fenced
        self.outlet = self._node.outlet
        self.full = self._node.full
        self.on_worker_exit = config.on_worker_exit
        self.redis = parse_address(self._layer.redis_url) if self._layer.redis_url else None
        self.application: ASGI3App = _nothing_loaded
        self.served = 0
        self.dropped = 0
        self._limit = config.limit_max_requests
        if self._limit:
            self._limit += random.randint(0, config.limit_max_requests_jitter)  # noqa: S311
        self._lifespan: Lifespan | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = asyncio.Event()
        self._at_once = False
        self._fenced = False
        self._to_release: list[ResumableInstance] = []
        self._hibernation: Hibernation | None = None

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> int:
        """Run until drained.

        Args:
            on_ready: Called once when the worker takes connections.

        Returns:
            Exit status: 0 after a drain, 3 when the application's start-up failed, 75 when this
            process had stood still and was held for dead.

        Raises:
            ConfigError: A wrong application path, or a server that cannot serve a channel layer.
            LoadError: The application's own code raised while it was imported.
        """
        self._loop = asyncio.get_running_loop()
        self.application = load_app(self._config)
        bridge = self.application
        if isinstance(bridge, WsgiBridge) and "http" in self._pullers:
            # As many may wait for a thread as have one: more could run elsewhere meanwhile. Those
            # whose client has yet to send a body need none: however many, they keep nobody out.
            self._pullers["http"].limit_to(2 * bridge.threads, lambda: bridge.busy)
        self._lifespan = Lifespan(
            self.application, self._config.lifespan, self._config.lifespan_timeout_s
        )
        try:
            await self._lifespan.startup()
        except LifespanFailed as error:
            _log.error("application start-up failed: %s", error)
            return EXIT_LIFESPAN_FAILED
        try:
            started = await self._layer.start_unless(self._draining)
            if not started or self._draining.is_set():  # both at once: no puller was stopped yet
                return 0
            for puller in self._pullers.values():
                puller.start()
            if on_ready is not None:
                on_ready()
            if self._config.hibernate_after_s:
                self._hibernation = Hibernation(self._config.hibernate_after_s, self._resumable)
            await self._draining.wait()
            await self._finish_connections()
        finally:
            await self._lifespan.shutdown()
            self._node.close()
            await self._layer.close()
        return EXIT_FENCED if self._fenced else 0

    def drain(self) -> None:
        """Take nothing more, finish what is under way, then let `serve` return.

        The second call ends what is under way at once.
        """
        if self._draining.is_set():
            self._at_once = True
            self._changed.set()
        self._draining.set()
        for puller in self._pullers.values():
            puller.stop()

    # Openings.

    def _on_openings(self, puller: Puller, entries: Sequence[bytes]) -> None:
        """Start an instance for each opening; all first steps run before anything is sent.

        Claims leave with the answers of the same turn, in one entry, unless the application is
        known to block the loop: then they go first, so that a death in the middle of it is a
        known worker's death.
        """
        assert self._loop is not None, "openings come after serve"
        now_ms = self._layer.now_ms()
        started = []
        for entry in entries:
            instance = self._open(puller, entry, now_ms)
            if instance is not None:
                puller.active += 1
                started.append(instance)
        if puller.batch.slow:
            for instance in started:
                self._node.mark(instance)
            self._node.flush()
        for instance in started:
            instance.start(self._loop)
        for instance in started:
            self._node.mark(instance)
        self.served += len(started)
        if self._limit and self.served >= self._limit and not self._draining.is_set():
            _log.info("limit of %d connections reached: draining", self._limit)
            self.drain()

    def _open(self, puller: Puller, entry: bytes, now_ms: int) -> Instance | None:
        """Read an opening and make its instance; refuse or drop it where that cannot be."""
        sender = ""
        try:
            _version, interface, _link, frames = read_entry(entry)
            sender = interface
            opening = read_open(frames[0])
            kind = opening.kind
            if self._pullers[kind] is not puller:
                _refuse_kind(kind, puller)
            if opening.incarnation != self._layer.incarnation:
                # Pushed into a Redis whose memory was lost since: its interface server knows.
                self.dropped += 1
                return None
            earlier = self._node.sessions.get(opening.connection)
            if earlier is not None and _is_as_new(earlier, opening):
                # A Redis that failed over to a replica may give an entry out twice.
                self.dropped += 1
                return None
            if self._draining.is_set() or now_ms > opening.deadline_ms:
                self._refuse(interface, opening)
                return None
            assert self._lifespan is not None, "openings come after serve"
            scope = make_scope(opening, interface, self._lifespan.state)
            make = INSTANCE_TYPES.get(kind, ProtocolInstance)
            instance = make(self, opening, interface, self._config.window_bytes, scope)
        except (ProtocolError, TypeError, ValueError, KeyError, IndexError, AttributeError) as bad:
            self.dropped += 1
            sender = bad.sender or sender if isinstance(bad, ProtocolError) else sender
            self._node.drop(f"an opening of {sender!r}: {type(bad).__name__}: {bad}", sender)
            return None
        if earlier is not None:  # its end is still on the way here, and would find the new one
            earlier.on_lost("the connection was opened anew")
        self._node.sessions[opening.connection] = instance
        return instance

    def _refuse(self, interface: str, opening: Open) -> None:
        reason = "draining" if self._draining.is_set() else "past its deadline"
        frame = pack(Refuse(opening.connection, REFUSE, opening.epoch, reason))
        self._node.send(interface, [frame])

    # What instances need.

    def mark(self, session: WorkerSession) -> None:
        """Have the session's frames taken at the end of this turn."""
        self._node.mark(session)

    def ended(self, instance: Instance) -> None:
        """The instance is over; there is room for another."""
        if self._node.sessions.get(instance.connection) is instance:
            del self._node.sessions[instance.connection]
        self._pullers[instance.kind].ended()
        self._changed.set()
        if self._to_release:
            self._to_release.pop().let_go("drain")

    # Drain.

    async def _finish_connections(self) -> None:
        """Hand over what can be, wait for all connections, then cancel what is left."""
        if self._hibernation is not None:
            self._hibernation.stop()
        try:
            async with asyncio.timeout(self._config.graceful_timeout_s):
                self._release_all()
                await self._until(lambda: self._at_once or not self._pulling())
                await self._until(lambda: self._at_once or not self._count())
        except TimeoutError:
            _log.warning("graceful time-out: ending %d connections", self._count())
        self._to_release.clear()
        for session in list(self._node.sessions.values()):
            if isinstance(session, Instance) and session.task is not None:
                session.task.cancel()
        try:
            async with asyncio.timeout(_CANCEL_S):
                await self._until(lambda: not self._count())
        except TimeoutError:
            _log.warning("%d instances ignored their cancellation", self._count())
        if not self._fenced and not await self._node.settle(_SETTLE_S):
            _log.warning("ending before everybody has what was sent to them")

    def _resumable(self) -> list[ResumableInstance]:
        sessions = self._node.sessions.values()
        return [one for one in sessions if isinstance(one, ResumableInstance)]

    def _release_all(self) -> None:
        """Let go of all but requests, some at a time: each that ends is followed by another."""
        self._to_release = self._resumable()
        for _ in range(_LETTING_GO):
            if self._to_release:
                self._to_release.pop().let_go("drain")

    def _on_fenced(self) -> None:
        """This process stood still for too long; see `EXIT_FENCED`."""
        self._fenced = True
        self.drain()
        self.drain()

    def _pulling(self) -> bool:
        """Whether a pull may still bring openings; without Redis none does."""
        return self._layer.available and any(one.pulling for one in self._pullers.values())

    def _count(self) -> int:
        return sum(puller.active for puller in self._pullers.values())

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait for a condition that ending instances and pulls bring about."""
        while not reached():
            self._changed.clear()
            await self._changed.wait()


async def _nothing_loaded(*_arguments: object) -> None:
    raise AssertionError("the application is loaded by serve")


def _refuse_kind(kind: str, puller: Puller) -> NoReturn:
    """Refuse an opening of another kind: its end would make room in the wrong puller."""
    raise ProtocolError(f"a {kind} opening in the queue {puller.queue}")


def _is_as_new(earlier: Session, opening: Open) -> bool:
    return isinstance(earlier, Instance) and earlier.epoch >= opening.epoch
