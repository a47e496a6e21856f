"""What a consumer raises to say how its connection goes on, and what is wrong with its layer."""

import sys

from gateway_layer.errors import GatewayError


class StopConsumer(Exception):
    """Raised in a handler: the consumer is done, and its application instance returns."""


class AcceptConnection(Exception):
    """Raised in `connect`: accept the WebSocket."""


class DenyConnection(Exception):
    """Raised in `connect`: refuse the WebSocket, which its client sees as a 403."""


class InvalidChannelLayerError(GatewayError, ValueError):
    """A channel layer that is not there, cannot be made, or has no groups where they are needed."""


def also_of_channels(error: type[Exception]) -> tuple[type[Exception], ...]:
    """Return an exception of this module, with the one of that name of Django Channels.

    A project that moves over class by class may still raise those of `channels.exceptions`. That
    module is looked at only if the application has imported it.
    """
    theirs = getattr(sys.modules.get("channels.exceptions"), error.__name__, None)
    return (error,) if theirs is None else (error, theirs)
