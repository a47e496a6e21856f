"""The socket of a connection that speaks HTTP/1.1: what is written, and how it ends."""

import asyncio
import socket
import struct
from abc import abstractmethod
from enum import Enum, auto
from typing import Final, cast

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.core.http1.response import Cut, ResponseWriter, simple_response
from gateway_interface.scopes import endpoint
from gateway_interface.services import Services, log_access
from gateway_layer.owner import FOREVER

_WRITE_HIGH_WATER: Final = 65_536

_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 4 * 2**20
"""An answer that comes before the end of the request would be lost in a reset if the socket were
closed at once; so much more of the request is read and dropped."""

_RESET: Final = struct.pack("ii", 1, 0)
RETRY_AFTER: Final = [(b"retry-after", b"1")]


class Phase(Enum):
    """What the connection does now."""

    HEAD = auto()
    """Waits for, or reads, the head of a request."""
    EXCHANGE = auto()
    """A request is with the workers."""
    LINGER = auto()
    """The last answer is written; what still comes is dropped."""
    CLOSED = auto()


class HttpSocket(asyncio.Protocol):
    """What a connection does with its socket, whatever it is asked on it.

    Attributes:
        deadline: When `on_deadline` is due, by the loop's clock.
        write: The transport's.
        date: Returns the value of the Date header.
    """

    __slots__ = (
        "_client",
        "_lingered",
        "_phase",
        "_read_paused",
        "_server",
        "_services",
        "_transport",
        "_waiting_to_write",
        "_write_paused",
        "date",
        "deadline",
        "write",
    )

    def __init__(self, services: Services) -> None:
        """Prepare for a socket."""
        self._services = services
        self._phase = Phase.HEAD
        self._read_paused = False
        self._write_paused = False
        self._waiting_to_write = 0
        self._lingered = 0
        self.deadline = FOREVER
        self.date = services.date

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        # uvloop's transports are not asyncio.Transport by inheritance.
        self._transport = transport = cast(asyncio.Transport, transport)
        self.write = transport.write
        transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self._client = endpoint(transport.get_extra_info("peername"))
        self._server = endpoint(transport.get_extra_info("sockname"))
        self._services.clients.add(self)
        self.deadline = self._services.loop.time() + self._services.limits.header_timeout_s
        if self._services.draining:
            transport.close()

    def pause_writing(self) -> None:
        """The client takes less than the application gives: grant it no more credit."""
        self._write_paused = True
        self._waiting_to_write = self._transport.get_write_buffer_size()
        self.deadline = self._services.loop.time() + self._services.limits.send_timeout_s

    def _check_progress(self, now: float) -> None:
        """Cut a client that has taken nothing for the whole of a time-out."""
        waiting = self._transport.get_write_buffer_size()
        if waiting >= self._waiting_to_write:
            self._transport.abort()
        else:
            self._waiting_to_write = waiting
            self.deadline = now + self._services.limits.send_timeout_s

    def _drop(self, size: int) -> None:
        """Count what comes after the last answer; a client that goes on for long is cut."""
        self._lingered += size
        if self._lingered > _LINGER_BYTES:
            self._transport.abort()

    @abstractmethod
    def on_deadline(self, now: float) -> None:
        """Somebody has not done in time what was waited for."""

    # The end.

    @abstractmethod
    def drain(self) -> None:
        """The server stops: close at once, or after what is under way."""

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    def _close(self) -> None:
        self._phase = Phase.CLOSED
        self.deadline = self._services.loop.time() + self._services.limits.send_timeout_s
        self._transport.close()

    def _linger(self) -> None:
        """Close our side, and read on for a moment so that the client reads the answer."""
        self._phase = Phase.LINGER
        self._resume_reading()
        self.deadline = self._services.loop.time() + _LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _cut(self, writer: ResponseWriter) -> None:
        """End a response that has begun so that nobody takes it for complete."""
        if writer.cut() is Cut.RESET:
            sock = self._transport.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
            self._phase = Phase.CLOSED
        else:
            self._close()

    # Small things.

    def _respond(
        self,
        status: int,
        reason: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        head_only: bool = False,
    ) -> None:
        """Write an answer of the server's own."""
        self.write(
            simple_response(
                status,
                reason.rstrip() + "\n",
                date=self.date(),
                head_only=head_only,
                headers=headers or [],
            )
        )

    def _log(self, head: RequestHead, status: int) -> None:
        log = self._services.access_log
        if log is not None:
            query = b"?" + head.query_string if head.query_string else b""
            target = head.raw_path + query
            log_access(log, self._client, head.method, target, head.http_version, status)

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
