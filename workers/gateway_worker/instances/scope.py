"""What a scope has at the worker and not on the wire."""

from typing import Any

from gateway_layer.codec import Message
from gateway_layer.errors import ProtocolError
from gateway_layer.wire import Open


def make_scope(opening: Open, interface: str, state: dict[str, Any]) -> Message:
    """Complete the scope of an opening with what the worker adds.

    Args:
        opening: Its scope came over the wire, where lists arrive as tuples.
        interface: pid of the connection's owner, for its reply channel.
        state: The lifespan's state; each scope gets a shallow copy (ASGI lifespan 2.0, "state").

    Raises:
        ProtocolError: The scope is of another type than the opening.
        KeyError: It lacks what every scope has.
    """
    scope, kind = opening.scope, opening.kind
    if scope["type"] != kind:
        raise ProtocolError(f"a scope of type {scope['type']!r} in a {kind} opening")
    extensions = scope.setdefault("extensions", {})
    extensions["gateway"] = {
        "reply_channel": f"{interface}!{opening.connection}",
        "resumed": opening.resumed,
    }
    if kind == "http":
        scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
        scope["headers"] = list(scope["headers"])
        extensions["http.response.pathsend"] = {}
    elif kind == "websocket":
        scope["asgi"] = {"version": "3.0", "spec_version": "2.5"}
        scope["headers"] = list(scope["headers"])
        scope["subprotocols"] = list(scope["subprotocols"])
    else:
        scope["asgi"] = {"version": "3.0"}
    scope["state"] = state.copy()
    return scope
