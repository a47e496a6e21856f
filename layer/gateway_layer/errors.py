"""Every error the gateway raises on purpose.

GatewayError
├── ConfigError          a wrong option, path or server: exit 2 with one line
├── LayerUnavailable     no connection to Redis now: retry later (HTTP 503)
├── ConnectionGone       a push to a connection that does not exist any more
├── PushTimeout          the connection's owner did not answer in time
├── ChannelFull          a queue or inbox is at its capacity: shed load (HTTP 503)
├── MessageTooLarge      refused before anything was sent
├── ProtocolError        bytes from Redis or a socket that break the protocol
└── ApplicationError     the application broke ASGI: raised inside the application
    └── ClientDisconnected (also an OSError)   it sent after the client had left
"""


class GatewayError(Exception):
    """Root of the errors of channel-gateway."""


class ConfigError(GatewayError):
    """An option, an application path or a Redis server that cannot work; exit status 2."""


class LayerUnavailable(GatewayError):
    """Redis cannot be reached, or has just lost what it knew. Nothing was carried out; retry."""


class ConnectionGone(GatewayError):
    """The connection of a reply channel does not exist (any more); nothing was sent."""


class PushTimeout(GatewayError):
    """The owner of a connection did not answer in time: it may have carried the push out."""


class ChannelFull(GatewayError):
    """A shared queue or a process inbox holds as much as it may.

    Attributes:
        channel: The name of the full channel.
        capacity: How many entries it may hold.
    """

    def __init__(self, channel: str, capacity: int) -> None:
        """Say which channel is full, and how many entries it may hold."""
        super().__init__(f"channel {channel!r} is full: it may hold {capacity} entries")
        self.channel = channel
        self.capacity = capacity


class MessageTooLarge(GatewayError):
    """A message over the limit of what may travel; nothing of it was sent."""


class ProtocolError(GatewayError):
    """Bytes that break the protocol: what came from Redis or from a peer is not understood.

    Attributes:
        sender: Pid of the process that wrote them, empty where it could not be read.
    """

    def __init__(self, text: str, sender: str = "") -> None:
        """Say what is wrong, and whose it is."""
        super().__init__(text)
        self.sender = sender


class ApplicationError(GatewayError, RuntimeError):
    """The application sent an event that ASGI does not allow at this point."""


class ClientDisconnected(ApplicationError, OSError):
    """The application sent after the client had left (ASGI www 2.4: an OSError subclass)."""
