"""A client of the simulated world: a WebSocket over a transport that never is a socket."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.model.loop import Loop

LEFT = 3001
"""The code of a client that leaves: nobody else closes with it."""

_OPENING = (
    b"GET /%d HTTP/1.1\r\nHost: model\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Client(asyncio.Transport):
    """One client, which sends 1, 2, 3, … and is answered `n count`.

    Attributes:
        number: Its name; the path that it asks for.
        sent: Messages sent so far.
        answers: (n, count) as they came.
        code: Of the close frame of the server, or its HTTP status; None: there was none.
        left: It has sent its own close frame.
        gone: The socket is closed.
        crashes: How often an instance of it was lost by a death, rather than let go of.
        deaths: How many deaths it may have to do with, of instances or of whoever took an opening.
        told: Who was told that it left: the names of their processes.
    """

    def __init__(
        self, number: int, loop: Loop, protocol: asyncio.Protocol, on_answer: Callable[..., None]
    ) -> None:
        super().__init__()
        self.number = number
        self.sent = 0
        self.answers: list[tuple[int, int]] = []
        self.accepted = False
        self.code: int | None = None
        self.left = False
        self.gone = False
        self.crashes = 0
        self.deaths = 0
        self.told: list[str] = []
        self._loop = loop
        self._protocol: Any = protocol
        self._on_answer = on_answer
        self._from_server = b""
        self._to_server: list[bytes] = []
        self._reading = True
        loop.call_soon(protocol.connection_made, self)
        self._deliver(_OPENING % number)

    @property
    def open(self) -> bool:
        """Whether it still waits for answers."""
        return not self.left and not self.gone and self.code is None

    # The client.

    def send(self, *, slow: bool) -> None:
        """Send the next message; with `slow` the application takes its time with it."""
        self.sent += 1
        text = b"%d%s" % (self.sent, b"s" if slow else b"")
        self._deliver(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)

    def leave(self) -> None:
        """Send a close frame."""
        self.left = True
        self._deliver(b"\x88\x82" + bytes(4) + LEFT.to_bytes(2, "big"))

    def _deliver(self, data: bytes) -> None:
        self._to_server.append(data)
        self._loop.call_soon(self._feed)

    def _feed(self) -> None:
        if self._reading and not self.gone:
            waiting, self._to_server = self._to_server, []
            if waiting:
                self._protocol.data_received(b"".join(waiting))

    def write(self, data: Any) -> None:
        """Read what the server writes."""
        self._from_server += bytes(data)
        if not self.accepted:
            head, end, rest = self._from_server.partition(b"\r\n\r\n")
            if not end:
                return
            status = int(head.split()[1])
            if status != 101:
                self.code = status
                return
            self.accepted = True
            self._from_server = rest
        while len(self._from_server) >= 2:
            head, body = self._from_server[:2], self._from_server[2:]
            length = head[1]  # never more than 125
            self._from_server = body[length:]
            self._frame(head[0] & 15, body[:length])

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == 1:
            number, count = payload.split()
            self._on_answer(self, int(number), int(count))
            self.answers.append((int(number), int(count)))
        elif opcode == 8 and not self.left:
            self.code = int.from_bytes(payload[:2], "big")

    # The transport.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return] # whichever it is now

    def close(self) -> None:
        if not self.gone:
            self.gone = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.gone

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """All is taken at once."""

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._feed)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 2)}.get(name, default)
