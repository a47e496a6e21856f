"""The idle client: `python -m benchmarks.idle_client PORT`, then commands on standard input.

`plain N` and `deflate N` open N more WebSockets and answer how many are open and lost; they then do
nothing but answer pings. A protocol of our own, small enough for thousands.
"""

import asyncio
import base64
import os
import sys
from typing import Any, cast

import uvloop

from benchmarks.commands import answer_commands

# A browser's handshake: eight headers, and a ninth that is the offer of compression or a cookie.
_HANDSHAKE = (
    "GET /ws HTTP/1.1\r\n"
    "Host: 127.0.0.1:{port}\r\n"
    "Connection: Upgrade\r\n"
    "Upgrade: websocket\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Safari/537.36\r\n"
    "Origin: http://127.0.0.1:{port}\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: {key}\r\n"
    "{ninth}\r\n"
    "\r\n"
)
_NINTH = {
    "deflate": "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "plain": "Cookie: sessionid=0123456789abcdef0123456789abcdef",
}
_AT_ONCE = 50
_PING, _PONG_HEAD = 0x89, 0x8A  # FIN and opcode, RFC 6455 5.2


class Idle(asyncio.Protocol):
    """One WebSocket that says nothing."""

    def __init__(self, clients: "Clients", ninth: str, opened: "asyncio.Future[None]") -> None:
        """Count for these clients; resolve `opened` after the 101."""
        self._clients = clients
        self._ninth = ninth
        self._opened = opened
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        head = _HANDSHAKE.format(port=self._clients.port, key=key, ninth=self._ninth)
        self._transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        """Take the answer to the handshake, then answer pings."""
        self._buffer += data
        if not self._opened.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._buffer = rest
            if not head.startswith(b"HTTP/1.1 101 "):
                self._opened.set_exception(RuntimeError(f"not 101: {head[:80]!r}"))
                return
            self._clients.open += 1
            self._clients.on_open(self)
            self._opened.set_result(None)
        self._take_frames()

    def connection_lost(self, error: Exception | None) -> None:
        """Count it."""
        self._clients.lost += 1
        if not self._opened.done():
            self._opened.set_exception(RuntimeError("closed during the handshake"))

    def _take_frames(self) -> None:
        # What a benchmark's server sends is unmasked and under 126 bytes (RFC 6455 5.2).
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + self._buffer[1]:
            end = 2 + self._buffer[1]
            opcode, payload, self._buffer = self._buffer[0], self._buffer[2:end], self._buffer[end:]
            if opcode == _PING:
                # Masked with zero, which leaves the payload as it is.
                self._transport.write(
                    bytes((_PONG_HEAD, 0x80 | len(payload))) + b"\0\0\0\0" + payload
                )
            else:
                self._clients.on_frame(self, opcode, payload)


class Clients:
    """All the WebSockets of this process."""

    def __init__(self, port: int) -> None:
        """Aim at a server of this machine."""
        self.port = port
        self.open = 0
        self.lost = 0

    def on_open(self, socket: "Idle") -> None:
        """A handshake is done."""

    def on_frame(self, socket: "Idle", opcode: int, payload: bytes) -> None:
        """A frame that is no ping has come; `opcode` with FIN."""

    async def handle(self, command: str, number: float) -> dict[str, Any]:
        """Carry out a command; see the module."""
        ninth, left = _NINTH[command], int(number)
        while left:
            batch = min(left, _AT_ONCE)
            left -= batch
            await asyncio.gather(*(self._connect(ninth) for _ in range(batch)))
        return {"open": self.open, "lost": self.lost}

    async def _connect(self, ninth: str) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        async with asyncio.timeout(20):
            await loop.create_connection(lambda: Idle(self, ninth, opened), "127.0.0.1", self.port)
            await opened


async def _main(port: int) -> None:
    await answer_commands(Clients(port).handle)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
