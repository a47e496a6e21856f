"""The bare server: `python -m benchmarks.push_bare 0`, then commands on standard input.

A uvloop server that answers a WebSocket handshake and keeps the transport, nothing else. `port 0`
answers where it listens, `send N` writes one frame of N bytes of text to every transport in a loop
and answers when it began.
"""

import asyncio
import base64
import hashlib
import sys
import time
from typing import Any, cast

import uvloop

from benchmarks.commands import answer_commands

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 4.2.2
_WHOLE_TEXT = 0x81


class _Bare(asyncio.Protocol):
    """One transport."""

    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self._transports = transports
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if not self._head.endswith(b"\r\n\r\n"):
            return
        key = self._head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._transports.append(self._transport)


async def _main() -> None:
    transports: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Bare(transports), "127.0.0.1", 0, backlog=2048)
    port = server.sockets[0].getsockname()[1]

    async def handle(command: str, number: float) -> dict[str, Any]:
        if command == "port":
            return {"port": port}
        frame = bytes((_WHOLE_TEXT, int(number))) + b"x" * int(number)
        began = time.monotonic()
        for transport in transports:
            transport.write(frame)
        return {"began": began}

    await answer_commands(handle)


if __name__ == "__main__":
    assert sys.argv[1] == "0", "it chooses its port"
    uvloop.run(_main())
