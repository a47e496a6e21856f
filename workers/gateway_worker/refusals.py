"""How routers and middlewares turn a connection away: a small HTTP response, a closed handshake."""

from collections.abc import Sequence

from gateway_worker.apps import Receive, Scope, Send


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    text: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Answer an HTTP request with a status, or refuse the handshake of a WebSocket.

    Args:
        scope: Of type `http` or `websocket`.
        receive: Of the connection.
        send: Of the connection.
        status: Of the HTTP response. A WebSocket is closed before it was accepted, which every
            ASGI server answers with 403 (ASGI www, Close).
        text: What the person reads; written with a line end.
        headers: More header lines of the HTTP response.

    Raises:
        ValueError: A scope of another type: how its protocol refuses is not known here.
    """
    if scope["type"] == "websocket":
        # The event comes first in any case; a client that has left meanwhile is told nothing.
        if (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": 1000})
        return
    if scope["type"] != "http":
        raise ValueError(f"a scope of type {scope['type']!r} cannot be refused: {text}")
    body = f"{text}\n".encode()
    fields = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
