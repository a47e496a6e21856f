"""The scope of a connection as it travels: ASGI HTTP & WebSocket 2.5, less what the worker adds."""

from typing import Any

from gateway_interface.core.http1.grammar import comma_list
from gateway_interface.core.http1.head import RequestHead
from gateway_layer.codec import Message

Endpoint = tuple[str, int | None] | None
"""(host, port) of one end of a TCP connection, (path, None) of a Unix socket, None if unknown."""


def endpoint(address: Any) -> Endpoint:
    """Turn what a socket says of its name or peer into ASGI's form."""
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    if isinstance(address, (str, bytes)) and address:
        return (address if isinstance(address, str) else address.decode("utf-8", "replace")), None
    return None


def http_scope(head: RequestHead, client: Endpoint, server: Endpoint) -> Message:
    """Return the scope of a request; `asgi`, `state` and more `extensions` come from the worker.

    The extensions are those for which this client can be sent what they mean.
    """
    extensions: dict[str, Any] = {}
    if head.http_version == "1.1":  # RFC 9110 15.2: no 1xx to HTTP/1.0
        extensions["http.response.early_hint"] = {}
        if takes_trailers(head):
            extensions["http.response.trailers"] = {}
    return {
        "type": "http",
        "http_version": head.http_version,
        "method": head.method,
        "scheme": "http",
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query_string,
        "root_path": "",
        "headers": head.headers,
        "client": client,
        "server": server,
        "extensions": extensions,
    }


def takes_trailers(head: RequestHead) -> bool:
    """Tell whether the client has said that it takes trailers (RFC 9110 10.1.4)."""
    return head.http_version == "1.1" and any(
        name == b"te" and b"trailers" in comma_list(value) for name, value in head.headers
    )


def websocket_scope(
    head: RequestHead, subprotocols: list[str], client: Endpoint, server: Endpoint
) -> Message:
    """Return the scope of a WebSocket; see `http_scope`."""
    return {
        "type": "websocket",
        "http_version": head.http_version,
        "scheme": "ws",
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query_string,
        "root_path": "",
        "headers": head.headers,
        "client": client,
        "server": server,
        "subprotocols": subprotocols,
        "extensions": {"websocket.http.response": {}},
    }
