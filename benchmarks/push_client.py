"""The receivers: `python -m benchmarks.push_client PORT`, then commands on standard input.

`plain N` opens N WebSockets. `said 0` answers the first text of each, `arm 0` begins to wait for
one more text on each, `wait 0` answers when the last had it, by the clock that all processes of a
machine share (CLOCK_MONOTONIC).
"""

import asyncio
import sys
import time
from typing import Any

import uvloop

from benchmarks.commands import answer_commands
from benchmarks.idle_client import Clients, Idle

_TEXT = 0x81


class Receivers(Clients):
    """All the WebSockets of this process, and what they were told."""

    def __init__(self, port: int) -> None:
        """Aim at a server of this machine."""
        super().__init__(port)
        self._first: dict[Idle, str] = {}
        self._missing: set[Idle] = set()
        self._sockets: set[Idle] = set()
        self._last = 0.0
        self._all = asyncio.Event()

    def on_frame(self, socket: Idle, opcode: int, payload: bytes) -> None:
        """Note a text."""
        if opcode != _TEXT:
            return
        self._first.setdefault(socket, payload.decode())
        self._missing.discard(socket)
        if not self._missing:
            self._last = time.monotonic()
            self._all.set()

    def on_open(self, socket: Idle) -> None:
        """Remember a socket."""
        self._sockets.add(socket)

    async def handle(self, command: str, number: float) -> dict[str, Any]:
        """Carry out a command; see the module."""
        if command == "said":
            return {"said": list(self._first.values())}
        if command == "arm":
            self._all.clear()
            self._missing = set(self._sockets)
            return {}
        if command == "wait":
            async with asyncio.timeout(20):
                await self._all.wait()
            return {"last": self._last}
        return await super().handle(command, number)


async def _main(port: int) -> None:
    await answer_commands(Receivers(port).handle)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
