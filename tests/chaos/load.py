"""The load, a process of its own: `python -m tests.chaos.load PORT …`, commanded by lines of JSON.

A command is `[name, {argument: value}]`, answered by one line: the result, or `{"error": text}`.
Times are of the monotonic clock, which all processes of one machine share.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from gateway_layer.push import Push
from tests.chaos.apps import GROUP
from tests.chaos.clients import Asker, Reader, Socket, Writer, handshake

_AT_ONCE = 50
_OPEN_S = 30.0
_LOOK_S = 0.02
_TICK_S = 0.02


class Load:
    """All clients of this process; each public coroutine is a command."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._loop = asyncio.get_running_loop()
        self._sockets: list[Socket] = []
        self._askers: list[Asker] = []
        self._stuck: list[Reader | Writer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    async def open(self, count: int, path: str = "/count", server: int | None = None) -> int:
        """Open so many WebSockets, over all interface servers or to one; wait for their hellos."""
        ports = self._ports if server is None else [self._ports[server]]
        while count:
            batch = min(count, _AT_ONCE)
            count -= batch
            async with asyncio.timeout(_OPEN_S):
                await asyncio.gather(
                    *(self._connect(path, ports[index % len(ports)]) for index in range(batch))
                )
        return len(self._sockets)

    async def _connect(self, path: str, port: int) -> None:
        _, client = await self._loop.create_connection(lambda: Socket(path), "127.0.0.1", port)
        self._sockets.append(client)
        await client.opened

    async def begin(self, period_s: float, askers: int = 0, pause_s: float = 0.03) -> None:
        """Send a number on each WebSocket once in a period; ask over so many HTTP connections."""
        self._stopped.clear()
        self._tasks = [self._loop.create_task(self._send(period_s))]
        for index in range(askers):
            name = f"{os.getpid()}-{len(self._askers)}"
            asker = Asker(self._ports[index % len(self._ports)], name)
            self._askers.append(asker)
            self._tasks.append(self._loop.create_task(asker.run(pause_s, self._stopped)))

    async def _send(self, period_s: float) -> None:
        """Spread the sending evenly over the period, whatever the answers."""
        begun, sent = self._loop.time(), 0
        while not self._stopped.is_set():
            due = int((self._loop.time() - begun) / period_s * len(self._sockets))
            for number in range(sent, due):
                self._sockets[number % len(self._sockets)].send()
            sent = due
            await asyncio.sleep(_TICK_S)

    async def finish(self, settle_s: float) -> dict[str, Any]:
        """Send nothing more, wait for what is not answered yet, and tell everything."""
        self._stopped.set()
        until = self._loop.time() + settle_s
        await asyncio.wait(self._tasks, timeout=settle_s)
        await _until(self._all_answered, until)
        return await self.report()

    def _all_answered(self) -> bool:
        return all(one.close is not None or one.answered == one.sent for one in self._sockets)

    async def report(self) -> dict[str, Any]:
        """Tell everything, so far."""
        sockets = self._sockets
        hung = [one.under_way for one in self._askers if one.under_way]
        return {
            "sockets": len(sockets),
            "sent": sum(one.sent for one in sockets),
            "unanswered": [
                (index, one.lost + one.sent - one.answered)
                for index, one in enumerate(sockets)
                if one.lost or one.sent != one.answered
            ],
            "repeats": [(i, *repeat) for i, one in enumerate(sockets) for repeat in one.repeats],
            "wrong": [(i, text) for i, one in enumerate(sockets) for text in one.wrong],
            "closed": [(i, *one.close) for i, one in enumerate(sockets) if one.close],
            "hellos": [(i, *hello) for i, one in enumerate(sockets) for hello in one.hellos],
            "others": [(i, *other) for i, one in enumerate(sockets) for other in one.others],
            "requests": [request for asker in self._askers for request in asker.done],
            "hung": hung,
        }

    async def latencies(self, since: float) -> list[float]:
        """Return how long answers took, of what was sent since."""
        return [took for one in self._sockets for sent, took in one.latencies if sent >= since]

    async def join(self, redis: str, namespace: str) -> None:
        """Let all WebSockets join the group."""
        async with Push(redis, namespace=namespace) as push:
            await asyncio.gather(*(push.group_add(GROUP, one.channel) for one in self._sockets))

    async def group(self, redis: str, namespace: str, number: int, within_s: float) -> int:
        """Send to the group until it has all members; return how many have that message."""
        until = self._loop.time() + within_s
        async with Push(redis, namespace=namespace, timeout_s=within_s) as push:
            while await push.group_send(GROUP, text=f"group {number}") != len(self._sockets):
                if self._loop.time() > until:
                    break
                await asyncio.sleep(_LOOK_S)
        await _until(lambda: self._got(number) == len(self._sockets), until)
        return self._got(number)

    def _got(self, number: int) -> int:
        return sum(
            any(kind == "group" and one == number for _when, kind, one in client.others)
            for client in self._sockets
        )

    async def others(self) -> int:
        """Return how many texts came that are no answers."""
        return sum(len(one.others) for one in self._sockets)

    async def channels(self) -> list[str]:
        """Return the reply channel of each WebSocket."""
        return [one.channel for one in self._sockets]

    async def served_by(self) -> list[int]:
        """Return the worker of each WebSocket, by its last hello."""
        return [one.worker for one in self._sockets]

    async def stick(self, readers: int, writers: int) -> None:
        """Open clients that never read what has no end, and clients of who never listens."""
        for index in range(readers):
            get = b"GET /endless HTTP/1.1\r\nhost: here\r\n\r\n"
            head = get if index % 2 else handshake("/endless")
            await self._connect_stuck(Reader(head), index)
        for index in range(writers):
            await self._connect_stuck(Writer("/deaf"), index)

    async def _connect_stuck(self, client: Reader | Writer, index: int) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await self._loop.sock_connect(sock, ("127.0.0.1", self._ports[index % len(self._ports)]))
        await self._loop.create_connection(lambda: client, sock=sock)
        self._stuck.append(client)

    async def unstick(self) -> int:
        """Drop the stuck clients; return how many had been dropped by the server."""
        lost = sum(client.lost for client in self._stuck)
        for client in self._stuck:
            client.transport.abort()
        self._stuck = []
        return lost

    async def ask(self, path: str, count: int, server: int) -> None:
        """Send so many GETs, each on a connection of its own, and do not wait for answers."""
        head = f"GET {path} HTTP/1.1\r\nhost: here\r\n\r\n".encode()
        for _ in range(count):
            port = self._ports[server]
            client = Reader(head)
            await self._loop.create_connection(lambda one=client: one, "127.0.0.1", port)  # type: ignore[misc]
            self._stuck.append(client)

    async def leave(self) -> None:
        """Drop all clients and forget what they did."""
        for client in self._sockets:
            client.leave()
        self._sockets, self._askers = [], []
        await self.unstick()


async def _until(reached: Callable[[], bool], until: float) -> None:
    """Look again and again, until the loop's clock says so."""
    while not reached() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)


async def _main(ports: list[int]) -> None:
    load = Load(ports)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        name, arguments = json.loads(line)
        try:
            result = await getattr(load, name)(**arguments)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_main([int(word) for word in sys.argv[1:]]))
