"""A client of one HTTP request."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from gateway_worker.testing.application import TIMEOUT_S, ApplicationCommunicator

Headers = Iterable[tuple[bytes, bytes]]


def client_scope(kind: str, path: str, headers: Headers | None) -> dict[str, Any]:
    """Return what the scopes of HTTP and WebSocket have in common (ASGI HTTP & WebSocket 2.5).

    Args:
        kind: `http` or `websocket`, also the scheme's beginning.
        path: Percent-encoded, perhaps with a query.
        headers: (name, value), names in lower case.
    """
    parts = urlsplit(path)
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": list(headers or ()),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }


class HttpCommunicator(ApplicationCommunicator):
    """Sends one request, and reads the response as a whole.

    For a body or a response in parts, use `send_input` and `receive_output`.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
    ) -> None:
        """Take the request.

        Args:
            application: Of ASGI 2 or 3.
            method: Of either case.
            path: Percent-encoded, perhaps with a query.
            body: Sent in one event.
            headers: (name, value), names in lower case; none are added.
        """
        assert isinstance(body, bytes), "the body is not bytes"
        scope = client_scope("http", path, headers)
        scope["method"] = method.upper()
        super().__init__(application, scope)
        self.body = body
        self.sent_request = False

    async def get_response(self, timeout: float = TIMEOUT_S) -> dict[str, Any]:  # noqa: ASYNC109 (as Channels has it)
        """Send the request if that was not done yet, and return the response.

        Args:
            timeout: Seconds for each part of the response.

        Returns:
            `{"status": int, "headers": list of (name, value), "body": bytes}`.

        Raises:
            TimeoutError: As of `receive_output`.
            AssertionError: The application sends anything but a response.
            Exception: What the application has raised.
        """
        if not self.sent_request:
            self.sent_request = True
            await self.send_input({"type": "http.request", "body": self.body})
        start = dict(await self.receive_output(timeout))
        assert start.pop("type") == "http.response.start"
        start.setdefault("headers", [])
        start["body"] = b""
        more_body = True
        while more_body:
            part = await self.receive_output(timeout)
            assert part["type"] == "http.response.body"
            body = part.get("body", b"")
            assert isinstance(body, bytes)
            start["body"] += body
            more_body = part.get("more_body", False)
        return start
