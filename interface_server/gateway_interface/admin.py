"""The admin listener: `/healthz` (this process runs) and `/readyz` (it can serve requests now)."""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway_interface.core.http1.head import Refusal, RequestHead, Signal
from gateway_interface.core.http1.request import RequestReader
from gateway_interface.core.http1.response import simple_response
from gateway_interface.services import Services
from gateway_layer.owner import FOREVER


class AdminConnection(asyncio.Protocol):
    """One request, one answer, then the connection is closed: probes need no more.

    Attributes:
        deadline: When `on_deadline` is due, by the loop's clock.
    """

    def __init__(self, services: Services, ready: Callable[[], bool]) -> None:
        """Answer `/readyz` by what `ready` says."""
        self._services = services
        self._ready = ready
        self._reader = RequestReader(services.parse_head, max_head_bytes=8192, max_headers=64)
        self._transport: asyncio.Transport | None = None
        self.deadline = FOREVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        # uvloop's transports are not asyncio.Transport by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._services.clients.add(self)
        self.deadline = self._services.loop.time() + self._services.limits.header_timeout_s

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the head is complete."""
        self._reader.receive_data(data)
        event = self._reader.next_event()
        if isinstance(event, RequestHead):
            status, text = self._answer(event)
            self._finish(status, text, head_only=event.method == "HEAD")
        elif isinstance(event, Refusal):
            self._finish(event.status, event.reason)
        elif event is Signal.CLOSED:
            self.abort()

    def _answer(self, head: RequestHead) -> tuple[int, str]:
        if head.method not in ("GET", "HEAD"):
            return 405, "only GET"
        if head.path == "/healthz":
            return 200, "ok"
        if head.path == "/readyz":
            return (200, "ready") if self._ready() else (503, "not ready")
        return 404, "there are /healthz and /readyz"

    def _finish(self, status: int, text: str, *, head_only: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        date = self._services.date()
        self._transport.write(simple_response(status, text + "\n", date=date, head_only=head_only))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._services.clients.discard(self)

    def on_deadline(self, now: float) -> None:
        """The probe took too long."""
        self.abort()

    def drain(self) -> None:
        """Probes are answered until the end, so that they see `/readyz` turn to 503."""

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()
