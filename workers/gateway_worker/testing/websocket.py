"""A client of one WebSocket."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from gateway_worker.testing.application import TIMEOUT_S, ApplicationCommunicator
from gateway_worker.testing.http import Headers, client_scope


class WebsocketCommunicator(ApplicationCommunicator):
    """Opens a WebSocket, and sends and receives its messages.

    Attributes:
        response_headers: Those of `websocket.accept`, None before it.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        path: str,
        headers: Headers | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        """Take the handshake.

        Args:
            application: Of ASGI 2 or 3.
            path: Percent-encoded, perhaps with a query.
            headers: (name, value), names in lower case; none are added.
            subprotocols: What the client offers.
            spec_version: To stand in the scope under this name.

        Raises:
            TypeError: The path is no str.
        """
        if not isinstance(path, str):
            raise TypeError(f"Expected str, got {type(path)}")
        scope = client_scope("websocket", path, headers)
        scope["subprotocols"] = list(subprotocols or ())
        if spec_version:
            scope["spec_version"] = spec_version
        super().__init__(application, scope)
        self.response_headers: list[tuple[bytes, bytes]] | None = None

    async def connect(self, timeout: float = TIMEOUT_S) -> tuple[bool, Any]:  # noqa: ASYNC109 (as Channels has it)
        """Open the WebSocket.

        Returns:
            (True, chosen subprotocol or None), or (False, close code) where it was refused; where
            that was by a response of its own, (False, HTTP status).

        Raises:
            TimeoutError: As of `receive_output`.
            AssertionError: The application sends anything else first.
            Exception: What the application has raised.
        """
        await self.send_input({"type": "websocket.connect"})
        response = await self.receive_output(timeout)
        if response["type"] == "websocket.close":
            return False, response.get("code", 1000)
        if response["type"] == "websocket.http.response.start":
            return False, response["status"]
        assert response["type"] == "websocket.accept"
        self.response_headers = response.get("headers", [])
        return True, response.get("subprotocol")

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send a message, text or bytes.

        Raises:
            AssertionError: Both or neither, or of another type.
            Exception: What the application has raised.
        """
        assert (text_data is None) != (bytes_data is None), (
            "You must supply exactly one of text_data or bytes_data"
        )
        if text_data is not None:
            assert isinstance(text_data, str), "The text_data argument must be a str"
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            assert isinstance(bytes_data, bytes), "The bytes_data argument must be bytes"
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        """Send a value as JSON text."""
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float = TIMEOUT_S) -> str | bytes:  # noqa: ASYNC109 (as Channels has it)
        """Return the next message, text or bytes.

        Raises:
            TimeoutError: As of `receive_output`.
            AssertionError: The application closes instead, or sends no proper message.
            Exception: What the application has raised.
        """
        response = await self.receive_output(timeout)
        assert response["type"] == "websocket.send", (
            f"Expected type 'websocket.send', but was '{response['type']}'"
        )
        text, data = response.get("text"), response.get("bytes")
        assert (text is None) != (data is None), (
            "The response needs exactly one of 'text' or 'bytes'"
        )
        payload: Any = data if text is None else text
        wanted = bytes if text is None else str
        assert isinstance(payload, wanted), f"the payload is no {wanted.__name__}: {type(payload)}"
        return payload

    async def receive_json_from(self, timeout: float = TIMEOUT_S) -> Any:  # noqa: ASYNC109 (as Channels has it)
        """Return the value of the next message, which is a JSON text; raises as `receive_from`."""
        payload = await self.receive_from(timeout)
        assert isinstance(payload, str), f"JSON data is not a text frame, it is {type(payload)}"
        return json.loads(payload)

    async def disconnect(self, code: int = 1000, timeout: float = TIMEOUT_S) -> None:  # noqa: ASYNC109 (as Channels has it)
        """Close the WebSocket, and wait until the application has returned; raises as `wait`."""
        await self.send_input({"type": "websocket.disconnect", "code": code})
        await self.wait(timeout)
