"""The echo client: `python -m benchmarks.ws_client PORT`, then commands on standard input.

`open N` opens N connections; `go S` keeps one 64-byte text under way on each for S seconds.
picows on uvloop: it must not be what limits a server that is measured.
"""

import asyncio
import statistics
import sys
import time
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.commands import answer_commands

PAYLOAD = b"0123456789abcdef" * 4


class Echo(WSListener):
    """One connection: sends the next message when the last has come back."""

    transport: WSTransport
    sent_at = 0.0

    def __init__(self, run: "Run") -> None:
        """Count for this run."""
        super().__init__()
        self._run = run

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Check an echo, note how long it took, send the next."""
        run = self._run
        if frame.msg_type != WSMsgType.TEXT or frame.get_payload_as_bytes() != PAYLOAD:
            run.wrong += 1
            return
        now = time.perf_counter()
        run.latencies.append(now - self.sent_at)
        if run.going:
            self.send(now)
        else:
            run.handle_finished(now)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Count a connection that is gone."""
        self._run.lost += 1

    def send(self, now: float) -> None:
        """Send the message; `now` is the clock's reading."""
        self.sent_at = now
        self.transport.send(WSMsgType.TEXT, PAYLOAD)


class Run:
    """All connections, and what they did since the last `go`."""

    def __init__(self, port: int) -> None:
        """Aim at a server of this machine."""
        self._url = f"ws://127.0.0.1:{port}/"
        self._connections: list[Echo] = []
        self._unfinished = 0
        self._ended_at = 0.0
        self._all_finished = asyncio.Event()
        self.going = False
        self.latencies: list[float] = []
        self.wrong = 0
        self.lost = 0

    async def handle(self, command: str, number: float) -> dict[str, Any]:
        """Carry out a command; see the module."""
        if command == "open":
            for _ in range(int(number)):
                _, echo = await ws_connect(lambda: Echo(self), self._url)
                assert isinstance(echo, Echo), "what the factory made"
                self._connections.append(echo)
            return {"open": len(self._connections)}
        return await self._go(number)

    def handle_finished(self, now: float) -> None:
        """Note that a connection has its last echo."""
        self._unfinished -= 1
        if not self._unfinished:
            self._ended_at = now
            self._all_finished.set()

    async def _go(self, seconds: float) -> dict[str, Any]:
        self.latencies = []
        self._unfinished = len(self._connections)
        self._all_finished.clear()
        self.going = True
        started = time.perf_counter()
        for echo in self._connections:
            echo.send(time.perf_counter())
        await asyncio.sleep(seconds)
        self.going = False
        async with asyncio.timeout(10):
            await self._all_finished.wait()
        if self.wrong or self.lost:
            raise RuntimeError(f"{self.wrong} wrong echoes, {self.lost} connections lost")
        cuts = statistics.quantiles(self.latencies, n=100)
        return {
            "messages": len(self.latencies),
            "duration_s": self._ended_at - started,
            "p50_us": cuts[49] * 1e6,
            "p99_us": cuts[98] * 1e6,
        }


async def _main(port: int) -> None:
    await answer_commands(Run(port).handle)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
