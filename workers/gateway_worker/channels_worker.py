"""The worker for background channels: `gateway-worker MODULE:ATTRIBUTE --channels NAMES`."""

import asyncio
import logging
import random
from collections.abc import Callable, MutableMapping
from typing import Any, Final, NoReturn, Protocol

from asgiref.sync import ThreadSensitiveContext

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.errors import ApplicationError
from gateway_worker.apps import ASGI3App, Message, load_app
from gateway_worker.config import WorkerConfig
from gateway_worker.consumers.layers import get_channel_layer
from gateway_worker.lifespan import Lifespan, LifespanFailed
from gateway_worker.worker import EXIT_LIFESPAN_FAILED

_log = logging.getLogger("gateway.channels")

_RETRY_S: Final = 1.0
"""How long after Redis refused to be read it is asked again."""

_CANCEL_S: Final = 1.0
"""How long an instance may take to end after it was cancelled."""


class ReceivingLayer(Protocol):
    """What this worker needs of a channel layer; every layer of Channels has it."""

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for a message; cancelled, it loses none."""


class ChannelsWorker:
    """Runs one instance of the application for each channel, and gives it messages one by one.

    A message is taken when the instance asks for one, and counts as handled when it asks for the
    next: so one message of a channel is under way in a process at any time. An instance begins with
    the first message; one that ends or raises is followed by another at the next message.

    Attributes:
        served: Messages given to instances so far.
    """

    def __init__(self, config: WorkerConfig, *, layer: ReceivingLayer | None = None) -> None:
        """Prepare; nothing is imported or connected before `serve`.

        Args:
            config: What to run; `channels` are the names.
            layer: None: the application's default channel layer, as consumers find it, else one on
                `config.layer`.
        """
        self._config: Final = config
        self._layer = layer
        self._readers: list[_Reader] = []
        self._draining: Final = asyncio.Event()
        self._at_once: Final = asyncio.Event()
        self._limit = config.limit_max_requests
        if self._limit:
            self._limit += random.randint(0, config.limit_max_requests_jitter)  # noqa: S311
        self.served = 0

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> int:
        """Run until drained.

        Args:
            on_ready: Called once when the channels are read. A Redis that cannot be reached does
                not hinder that: it is waited for.

        Returns:
            Exit status: 0 after a drain, 3 when the application's start-up failed.

        Raises:
            ConfigError: A wrong application path or address of Redis.
            LoadError: The application's own code raised while it was imported.
        """
        application = load_app(self._config)
        lifespan = Lifespan(application, self._config.lifespan, self._config.lifespan_timeout_s)
        try:
            await lifespan.startup()
        except LifespanFailed as error:
            _log.error("application start-up failed: %s", error)
            return EXIT_LIFESPAN_FAILED
        try:
            layer = self._layer or _layer_of(self._config)
            self._readers = [
                _Reader(name, layer, application, lifespan.state, self._on_taken)
                for name in self._config.channels
            ]
            await self._run(on_ready)
        finally:
            await lifespan.shutdown()
        return 0

    def drain(self) -> None:
        """Take nothing more, let what was taken be handled, then let `serve` return.

        The second call ends what is under way at once: those messages are lost, and logged.
        """
        if self._draining.is_set():
            self._at_once.set()
        self._draining.set()

    async def _run(self, on_ready: Callable[[], None] | None) -> None:
        """Run the readers; what is left after the graceful time-out is cancelled."""
        tasks = [asyncio.create_task(one.run(), name=one.channel) for one in self._readers]
        if on_ready is not None:
            on_ready()
        await self._draining.wait()
        for reader in self._readers:
            reader.drain()
        at_once = asyncio.create_task(self._at_once.wait())
        ends: set[asyncio.Future[Any]] = {asyncio.gather(*tasks), at_once}
        await asyncio.wait(
            ends,
            timeout=self._config.graceful_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        at_once.cancel()
        for reader in self._readers:
            reader.abandon()
        await asyncio.wait(tasks, timeout=_CANCEL_S)

    def _on_taken(self) -> None:
        self.served += 1
        if self._limit and self.served >= self._limit and not self._draining.is_set():
            _log.info("limit of %d messages reached: draining", self._limit)
            self.drain()


class _Reader:
    """One channel: the read under way, and the instance that works on its messages.

    The read belongs to the reader, not to whoever waits for it: an instance that is cancelled, or
    that ends, while it waits cannot lose what was taken. The next `receive` gets it.
    """

    def __init__(
        self,
        channel: str,
        layer: ReceivingLayer,
        application: ASGI3App,
        state: dict[str, Any],
        on_taken: Callable[[], None],
    ) -> None:
        self.channel: Final = channel
        self._layer = layer
        self._application = application
        self._state = state
        self._on_taken = on_taken
        self._draining = False
        self._read: asyncio.Task[Message] | None = None
        self._instance: asyncio.Task[None] | None = None
        self._under_way = False

    async def run(self) -> None:
        """Work until drained."""
        while (read := self._begin_read()) is not None:
            await asyncio.wait({read})
            if read.cancelled():
                return
            self._instance = asyncio.create_task(self._run_instance(), name=self.channel)
            await asyncio.wait({self._instance})
            if self._read is read:
                # Never asked for: given to the next instance, it might go on like this for ever.
                self._read = None
                _log.error(
                    "a message is dropped that the application did not receive channel=%s type=%s",
                    self.channel,
                    read.result()["type"],
                )

    def drain(self) -> None:
        """Begin no other read, and end the one that waits."""
        self._draining = True
        if self._read is not None:
            # One that has brought a message is done, and the message is still handled.
            self._read.cancel()

    def abandon(self) -> None:
        """End the instance, whatever it does."""
        if self._instance is not None and not self._instance.done():
            if self._under_way:
                _log.error("a message under way is given up channel=%s", self.channel)
            self._instance.cancel()

    def _begin_read(self) -> asyncio.Task[Message] | None:
        """Return the read under way, else a new one; None: there is none any more."""
        if self._read is None and not self._draining:
            self._read = asyncio.create_task(self._next(), name=f"read {self.channel}")
        return self._read

    async def _next(self) -> Message:
        """Wait for a message that an application can be given."""
        while True:
            try:
                message = await self._layer.receive(self.channel)
            except Exception as error:  # the layer may be any, and raise what it likes
                _log.error("a channel cannot be read channel=%s reason=%r", self.channel, error)
                await asyncio.sleep(_RETRY_S)
                continue
            if isinstance(message.get("type"), str):
                return message
            _log.error("a message without a type is dropped channel=%s", self.channel)

    async def _run_instance(self) -> None:
        scope = {
            "type": "channel",
            "channel": self.channel,
            "asgi": {"version": "3.0"},
            "state": self._state.copy(),
        }
        try:
            # Synchronous work of a channel has a thread of its own; without this, all work of the
            # process would have one together (asgiref, thread_sensitive).
            async with ThreadSensitiveContext():
                await self._application(scope, self._receive, self._send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # its own, that nobody asked for
                _log.exception("application failed channel=%s", self.channel)
        except BaseException:
            # SystemExit too: one message must not end the process.
            _log.exception("application failed channel=%s", self.channel)
        finally:
            self._under_way = False

    async def _receive(self) -> Message:
        """ASGI `receive`: what was given before is handled now; wait for the next message."""
        self._under_way = False
        while (read := self._begin_read()) is not None:
            await asyncio.wait({read})
            if self._read is not read:
                continue  # another task of the application has got it
            self._read = None
            if read.cancelled():
                break
            self._under_way = True
            self._on_taken()
            return read.result()
        assert self._instance is not None, "an instance is asking"
        self._instance.cancel()
        return await _never()

    async def _send(self, message: MutableMapping[str, Any]) -> NoReturn:
        raise ApplicationError(
            f"{message.get('type')!r:.80}: a background channel has no client;"
            " send to a channel or a group of the channel layer"
        )


async def _never() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves it")


def _layer_of(config: WorkerConfig) -> Any:
    """Return the layer that the application's own consumers send to."""
    return get_channel_layer() or RedisChannelLayer(
        [config.layer.redis], prefix=f"{config.layer.namespace}-channels"
    )
