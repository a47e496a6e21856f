"""More than Redis takes for a moment: senders wait, sockets are not read, and nothing is lost."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, SIGSTOP

from tests.end_to_end.apps import pattern
from tests.end_to_end.processes import Gateway, request, send_signal
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.embedded import EmbeddedServer

StartGateway = Callable[..., Gateway]

MIB = 2**20
EXCHANGES = 16
BODY_BYTES = 8 * MIB
WINDOW = ("--window", str(16 * MIB))
"""So wide that it is not the window which bounds what is under way."""

TIMEOUT_S = 50


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


async def connect_many(gateway: Gateway, path: str, number: int) -> list[ClientConnection]:
    url = gateway.ws_url + path
    return [
        await connect(url, compression=None, max_size=None, ping_interval=None)
        for _ in range(number)
    ]


async def test_eight_large_messages_at_the_same_moment_come_back_whole(gateway: Gateway) -> None:
    messages = [pattern(15 * MIB - number) for number in range(8)]
    clients = await connect_many(gateway, "/echo?eight", len(messages))

    async def echoed(client: ClientConnection, message: bytes) -> str:
        await client.send(message)
        return digest(await client.recv())

    async with asyncio.timeout(TIMEOUT_S):
        answers = await asyncio.gather(*map(echoed, clients, messages))
    for client in clients:
        await client.close()
    assert answers == [digest(message) for message in messages]


async def test_large_messages_that_get_their_credit_in_one_turn_arrive_whole(
    gateway: Gateway,
) -> None:
    message = pattern(15 * MIB)
    clients = await connect_many(gateway, "/late-hash?credit", 8)
    for client in clients:
        await client.send("first, so that the large one has to wait for credit")

    async def hashed(client: ClientConnection) -> str | bytes:
        await client.send(message)
        return await client.recv()

    answers = [asyncio.create_task(hashed(client)) for client in clients]
    gateway.launcher.wait_for_note("credit", len(clients))
    async with asyncio.timeout(TIMEOUT_S):
        # What fits into the buffers on the way is sent; the rest waits in the clients.
        await asyncio.wait(answers, timeout=1)
        gateway.launcher.open_gate("credit")
        assert await asyncio.gather(*answers) == [digest(message)] * len(clients)
    for client in clients:
        await client.close()


def peak_bytes(os_pid: int) -> int:
    """The most that a process has ever held, resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{os_pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Echo:
    """A request whose body comes back as it goes up; it pauses on its way."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self, gateway: Gateway, body: bytes) -> str:
        reader, writer = await asyncio.open_connection(*gateway.interface.address)
        # HTTP/1.0: the answer is everything up to the end of the connection.
        length = f"content-length: {len(body)}"
        writer.write(request("/echo", length, method="POST", version="1.0") + body[:MIB])
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        self.begun.set()
        await self.go_on.wait()
        writer.write(body[MIB:])
        received = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return digest(received)


async def test_a_redis_that_stands_still_for_seconds_loses_nothing_and_fills_no_memory(
    start: StartGateway, redis_server: EmbeddedServer
) -> None:
    gateway = start(*WINDOW)
    processes = (gateway.interface.child, gateway.worker.child)
    body = pattern(BODY_BYTES)
    echoes = [Echo() for _ in range(EXCHANGES)]
    async with asyncio.timeout(TIMEOUT_S):
        runs = [asyncio.create_task(echo.run(gateway, body)) for echo in echoes]
        await asyncio.gather(*(echo.begun.wait() for echo in echoes))
        before = [peak_bytes(one) for one in processes]
        send_signal(redis_server.pid, SIGSTOP)
        try:
            for echo in echoes:
                echo.go_on.set()
            await asyncio.sleep(3)
        finally:
            send_signal(redis_server.pid, SIGCONT)
        assert await asyncio.gather(*runs) == [digest(body)] * EXCHANGES
    grown = [peak_bytes(one) - size for one, size in zip(processes, before, strict=True)]
    assert max(grown) < EXCHANGES * BODY_BYTES / 2
