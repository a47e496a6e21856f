"""HTTP consumers: the whole body of a request goes to `handle`."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway_worker.consumers.consumer import AsyncConsumer, SyncConsumer
from gateway_worker.consumers.dispatch import Message
from gateway_worker.consumers.errors import StopConsumer

Headers = Iterable[tuple[bytes, bytes]] | Mapping[bytes, bytes]


def _start_message(status: int, headers: Headers | None) -> Message:
    if headers is None:
        headers = []
    elif isinstance(headers, Mapping):
        headers = list(headers.items())
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body_message(body: bytes, more_body: bool) -> Message:
    assert isinstance(body, bytes), "Body is not bytes"
    return {"type": "http.response.body", "body": body, "more_body": more_body}


class AsyncHttpConsumer(AsyncConsumer):
    """An HTTP request; override `handle`.

    It is over when `handle` has returned and the response is complete. A response whose last part
    had `more_body=True` is completed by the handler of a message from the channel layer, as in
    long polling, unless the client leaves first.

    Attributes:
        body: The parts of the request's body that have come.
    """

    _unfinished = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take whatever `as_asgi` was given."""
        self.body: list[bytes] = []
        self._handled = False

    async def send(self, message: Message) -> None:
        """Send an ASGI message to the client; waits while it takes nothing."""
        await super().send(message)
        if message["type"] == "http.response.body":
            self._unfinished = message.get("more_body", False)

    async def _handle(self, message: Message) -> None:
        """Handle one message, and stop when the response is complete."""
        await super()._handle(message)
        if self._handled and not self._unfinished:
            await self.disconnect()
            raise StopConsumer

    async def send_headers(self, *, status: int = 200, headers: Headers | None = None) -> None:
        """Begin the response; it leaves with the first part of the body.

        Args:
            status: 200 to 599.
            headers: (name, value), lower case and bytes, or a mapping of them.
        """
        await self.send(_start_message(status, headers))

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """Send a part of the body, the last one unless `more_body`.

        Raises:
            AssertionError: Not bytes.
        """
        await self.send(_body_message(body, more_body))

    async def send_response(self, status: int, body: bytes, **kwargs: Any) -> None:
        """Send a whole response; `kwargs` are those of `send_headers`."""
        await self.send_headers(status=status, **kwargs)
        await self.send_body(body)

    async def handle(self, body: bytes) -> None:
        """Answer the request, whose whole body this is."""
        raise NotImplementedError(f"{type(self).__qualname__} must provide a handle() method")

    async def disconnect(self) -> None:
        """The request is over: answered, failed, or the client has left; nothing can be sent."""

    async def http_request(self, message: Message) -> None:
        """Collect the body; give it to `handle` when it is whole."""
        self.body.append(message.get("body", b""))
        if message.get("more_body"):
            return
        try:
            await self.handle(b"".join(self.body))
        except BaseException:
            await self.disconnect()
            raise
        self._handled = True

    async def http_disconnect(self, message: Message) -> None:
        """The client has left, or has its answer: `disconnect`, which is the end."""
        await self.disconnect()
        raise StopConsumer


class HttpConsumer(SyncConsumer):
    """An HTTP request whose methods are run in a thread; override as in AsyncHttpConsumer."""

    _unfinished = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take whatever `as_asgi` was given."""
        self.body: list[bytes] = []
        self._handled = False

    def send(self, message: Message) -> None:
        """Send an ASGI message to the client; waits while it takes nothing."""
        super().send(message)
        if message["type"] == "http.response.body":
            self._unfinished = message.get("more_body", False)

    def _handle(self, message: Message) -> None:
        """Handle one message, and stop when the response is complete."""
        super()._handle(message)
        if self._handled and not self._unfinished:
            self.disconnect()
            raise StopConsumer

    def send_headers(self, *, status: int = 200, headers: Headers | None = None) -> None:
        """Begin the response; arguments as of AsyncHttpConsumer."""
        self.send(_start_message(status, headers))

    def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """Send a part of the body, the last one unless `more_body`.

        Raises:
            AssertionError: Not bytes.
        """
        self.send(_body_message(body, more_body))

    def send_response(self, status: int, body: bytes, **kwargs: Any) -> None:
        """Send a whole response; `kwargs` are those of `send_headers`."""
        self.send_headers(status=status, **kwargs)
        self.send_body(body)

    def handle(self, body: bytes) -> None:
        """Answer the request, whose whole body this is."""
        raise NotImplementedError(f"{type(self).__qualname__} must provide a handle() method")

    def disconnect(self) -> None:
        """The request is over: answered, failed, or the client has left; nothing can be sent."""

    def http_request(self, message: Message) -> None:
        """Collect the body; give it to `handle` when it is whole."""
        self.body.append(message.get("body", b""))
        if message.get("more_body"):
            return
        try:
            self.handle(b"".join(self.body))
        except BaseException:
            self.disconnect()
            raise
        self._handled = True

    def http_disconnect(self, message: Message) -> None:
        """The client has left, or has its answer: `disconnect`, which is the end."""
        self.disconnect()
        raise StopConsumer
