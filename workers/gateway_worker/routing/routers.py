"""Routers that choose by what stands in the scope as it is: the protocol, or a channel's name."""

from collections.abc import Iterable, Mapping

from gateway_worker.apps import ASGI3App, Receive, Scope, Send
from gateway_worker.refusals import refuse


class ProtocolTypeRouter:
    """Gives each connection to the application for the type of its scope.

        application = ProtocolTypeRouter({"http": site, "websocket": URLRouter([...])})

    Without an entry for it, an HTTP request is answered 404 and a WebSocket refused. Any other type
    raises ValueError, which is how an ASGI application says that it does not speak a protocol:
    servers ask with the scope `lifespan`, and go on without one. An application with a lifespan of
    its own, such as Starlette's, needs an entry `lifespan` beside the others to get it.
    """

    def __init__(self, application_mapping: Mapping[str, ASGI3App]) -> None:
        """Take the applications.

        Args:
            application_mapping: Type of scope (`http`, `websocket`, `lifespan`, `channel`, or a
                protocol's own) to ASGI 3 application.
        """
        self.application_mapping = application_mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for this type.

        Raises:
            ValueError: There is none, and the type is neither `http` nor `websocket`.
        """
        kind = scope["type"]
        application = self.application_mapping.get(kind)
        if application is not None:
            await application(scope, receive, send)
        elif kind in ("http", "websocket"):
            await refuse(scope, receive, send, 404, "Not Found")
        else:
            known = _listed(self.application_mapping)
            raise ValueError(f"no application for scopes of type {kind!r}; there are {known}")


class ChannelNameRouter:
    """Gives each background channel to the application for its name.

    application = ProtocolTypeRouter(
        {"http": site, "channel": ChannelNameRouter({"thumbnails": make_thumbnails})}
    )
    """

    def __init__(self, application_mapping: Mapping[str, ASGI3App]) -> None:
        """Take the applications.

        Args:
            application_mapping: Name of a channel to ASGI 3 application.
        """
        self.application_mapping = application_mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for this channel.

        Raises:
            ValueError: The scope is no channel's, or there is no application for its name.
        """
        if "channel" not in scope:
            raise ValueError(
                f"a scope of type {scope['type']!r} has no 'channel':"
                " ChannelNameRouter is for scopes of type 'channel'"
            )
        application = self.application_mapping.get(scope["channel"])
        if application is None:
            known = _listed(self.application_mapping)
            raise ValueError(f"no application for channel {scope['channel']!r}; there are {known}")
        await application(scope, receive, send)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
