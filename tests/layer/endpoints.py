"""Both sides of a session, with hooks that write down what they were told."""

from collections.abc import Callable, Collection
from typing import Any

from gateway_layer.codec import Message, pack, unpack
from gateway_layer.session import InterfaceSession, WorkerSession
from gateway_layer.wire import OPEN, Open

INTERFACE = "interface"
WORKER = "worker"


def opening(
    connection: str = "c",
    epoch: int = 1,
    credit: int = 10_000,
    *,
    resumed: int = 0,
    state: bytes | None = None,
) -> Open:
    """What a worker finds in a queue."""
    return Open(connection, OPEN, epoch, "test", {}, resumed, state, b"", False, 0, "inc", credit)


def read(frames: list[bytes]) -> list[tuple[Any, ...]]:
    """Packed frames, as the other side sees them."""
    return [unpack(frame) for frame in frames]


def packed(*frame: object) -> bytes:
    return pack(frame)


def nothing(_session: object) -> None:
    """Mark nothing: the test calls `take_frames` itself."""


class Owner(InterfaceSession):
    """The interface server's side of one connection."""

    def __init__(
        self,
        connection: str = "c",
        window: int = 10_000,
        on_mark: Callable[["Owner"], None] = nothing,
    ) -> None:
        super().__init__(connection, window)
        self.events: list[Message] = []
        self.calls: list[tuple[str, object]] = []
        self._on_mark = on_mark

    def mark(self) -> None:
        self._on_mark(self)

    def on_events(self, events: tuple[Message, ...]) -> None:
        self.events += [dict(event) for event in events]
        self.calls.append(("events", len(events)))

    def on_claimed(self) -> None:
        self.calls.append(("claimed", self.worker))

    def on_confirmed(self, seq: int) -> None:
        self.calls.append(("confirmed", seq))

    def on_done(self, outcome: str) -> None:
        self.calls.append(("done", outcome))

    def on_refused(self) -> None:
        self.calls.append(("refused", self.epoch))

    def on_lost(self, reason: str) -> None:
        self.calls.append(("lost", reason))

    def on_detached(self, reason: str) -> None:
        self.calls.append(("detached", reason))

    def on_room(self) -> None:
        self.calls.append(("room", None))

    def on_malformed(self, reason: str) -> None:
        self.calls.append(("malformed", reason))

    def told(self, name: str) -> list[object]:
        """What one hook was called with, in order."""
        return [value for called, value in self.calls if called == name]


class Runner(WorkerSession):
    """The worker's side of one connection."""

    def __init__(
        self,
        opened: Open | None = None,
        interface: str = INTERFACE,
        window: int = 10_000,
        on_mark: Callable[["Runner"], None] = nothing,
        full: Collection[str | None] = frozenset(),
    ) -> None:
        super().__init__(opened or opening(), interface, window, full)
        self.calls: list[tuple[str, object]] = []
        self._on_mark = on_mark

    def mark(self) -> None:
        self._on_mark(self)

    def on_events(self) -> None:
        self.calls.append(("events", len(self.inbox)))

    def on_credit(self) -> None:
        self.calls.append(("credit", None))

    def on_released(self) -> None:
        self.calls.append(("released", None))

    def on_over(self, reason: str) -> None:
        self.calls.append(("lost", reason))

    def told(self, name: str) -> list[object]:
        """What one hook was called with, in order."""
        return [value for called, value in self.calls if called == name]
