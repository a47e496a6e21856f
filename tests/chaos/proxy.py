"""A TCP proxy in front of a Redis that is the worst network that TCP allows."""

import asyncio
import contextlib
import random
import threading
from typing import Self

_DELAY_S = 0.2
_FAULTS = ("cut", "delay", "truncate")


class Connection:
    """One connection through the proxy.

    Attributes:
        fault: What happens to the next reply; empty: nothing.
    """

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.fault = ""
        self._writers = writers

    def cut(self) -> None:
        """End it both ways at once, with whatever was under way."""
        for writer in self._writers:
            writer.transport.abort()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        """Carry one direction; only replies meet faults."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                fault, self.fault = (self.fault, "") if replies else ("", self.fault)
                if fault == "delay":
                    await asyncio.sleep(_DELAY_S)
                elif fault == "truncate":
                    writer.write(data[: random.randrange(len(data))])
                    await writer.drain()
                    break
                writer.write(data)
                await writer.drain()
        self.cut()


class Proxy:
    """Carries TCP connections to a Redis on a Unix socket; a thread and a loop of its own.

    Attributes:
        faults: What was done so far: kind of fault -> how often.
    """

    def __init__(self, path: str, seed: int) -> None:
        self.faults = dict.fromkeys(_FAULTS, 0)
        self._path = path
        self._random = random.Random(seed)
        self._connections: set[Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._port = 0
        self._listening = threading.Event()
        self._stopped = asyncio.Event()
        self._empty = asyncio.Event()

    @property
    def url(self) -> str:
        """Where to reach Redis through it."""
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        assert self._listening.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_error: object) -> None:
        """End, with all connections."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def disturb(self) -> None:
        """Do something to one of the connections, any thing to any one."""
        self._loop.call_soon_threadsafe(self._disturb)

    def _disturb(self) -> None:
        if self._connections:
            connection = self._random.choice(sorted(self._connections, key=id))
            fault = self._random.choice(_FAULTS)
            self.faults[fault] += 1
            if fault == "cut":
                connection.cut()
            else:
                connection.fault = fault

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stopped.wait()
        server.close()
        for connection in list(self._connections):
            connection.cut()
        if self._connections:
            self._empty.clear()
            await asyncio.wait_for(self._empty.wait(), 10)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            writer.transport.abort()
            return
        connection = Connection((writer, up_writer))
        self._connections.add(connection)
        try:
            await asyncio.gather(
                connection.carry(reader, up_writer, replies=False),
                connection.carry(up_reader, writer, replies=True),
            )
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()
