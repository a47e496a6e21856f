"""Channels that belong to a connection, not to the process that reads them.

Inside of a gateway worker, a connection that outlives its worker has its channels at the interface
server that holds its socket. They keep their names and their groups from instance to instance, and
what comes to them between two instances, or wakes a connection that hibernates, waits there.
"""

from abc import ABC, abstractmethod
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from gateway_layer.redis.address import RedisAddress

if TYPE_CHECKING:
    from gateway_layer.channels.mailbox import Mailbox


class Connection(ABC):
    """What a channel layer may ask of the connection that its caller serves."""

    __slots__ = ()

    @property
    @abstractmethod
    def owner(self) -> str:
        """Return the pid of the interface server that holds the client's socket."""

    @property
    @abstractmethod
    def owner_reads(self) -> RedisAddress | None:
        """Where the owner reads channels; None: nowhere."""

    @abstractmethod
    def declare_resumable(self) -> None:
        """The application will say `resume` when it accepts; it has channels before that."""

    @abstractmethod
    def listen(self, prefix: str, expiry_ms: int, group_expiry_ms: int) -> None:
        """Have the owner read what comes to its connections' channels in a layer; soon."""

    @abstractmethod
    def borrow(self, mailbox: "Mailbox", prefix: str) -> "Borrowed | None":
        """Return a new channel of the connection, whose messages come to `mailbox`.

        None: the connection does not outlive its worker, so its channels may as well be here.
        """


class Borrowed(ABC):
    """One channel of a connection, where it is read."""

    __slots__ = ()

    name: str
    connection: Connection

    @property
    @abstractmethod
    def stays(self) -> bool:
        """Whether its instance ends by a hand-over: what it leaves now, the next is still in."""

    @abstractmethod
    def asked(self) -> None:
        """The application asks for the next message: what it was given is handled.

        Raises:
            TypeError, ApplicationError: The connection's state cannot travel with that.
        """


CURRENT: Final[ContextVar[Connection | None]] = ContextVar("gateway_connection", default=None)
"""The connection that the running code serves; a worker sets it."""
