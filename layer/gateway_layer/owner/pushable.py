"""A connection that other services can push to, as its owner sees it."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

from gateway_layer.codec import Message


class Pushable(ABC):
    """A connection that can be pushed to."""

    __slots__ = ()

    connection: str

    @property
    @abstractmethod
    def frame_form(self) -> Hashable | None:
        """Equal for connections whose `encode` gives equal bytes; None: not open, use `push`."""

    @abstractmethod
    def encode(self, payload: str | bytes) -> bytes:
        """Return the bytes that carry a message to any open connection of this `frame_form`."""

    @abstractmethod
    def push(self, event: Message) -> str:
        """Send an event, or hold it until the connection is open; returns a status.

        Args:
            event: `websocket.send` with `text` or `bytes`, or `websocket.close`, whichever
                protocol the client speaks.
        """

    @abstractmethod
    def push_frame(self, frame: bytes) -> bool:
        """Write what `encode` returned, perhaps for another; False: the buffer was full."""

    @abstractmethod
    def flushed(self) -> str | None:
        """Return OK when the kernel has taken all that was pushed, GONE if it never will.

        None: not yet.
        """

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """Return what is known of the connection, as `gateway_layer.push.ConnectionInfo`."""

    @property
    @abstractmethod
    def keeps_groups(self) -> bool:
        """Whether what leaves groups in its name now is an instance that is being replaced."""

    @abstractmethod
    def describe(self) -> str:
        """Return connection and address for a log line."""
