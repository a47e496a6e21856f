"""Pushing from other services, when all goes well and when something does not."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest
import redis
from tests.end_to_end.processes import Gateway, RawClient, request, send_signal, wait_until
from tests.end_to_end.raw_websocket import HANDSHAKE
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway_layer.codec import pack
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.names import new_pid
from gateway_layer.push import (
    ChannelFull,
    ConnectionGone,
    LayerUnavailable,
    Push,
    PushTimeout,
)
from gateway_layer.push.frames import GROUP_SEND, PUSH
from gateway_layer.redis.address import sync_client
from gateway_layer.wire import DATA, DEAD, EVENTS, MESSAGE, envelope_head, write_entry

StartGateway = Callable[..., Gateway]
Client = redis.Redis

SEND = {"type": "websocket.send", "text": "forged"}


@pytest.fixture
def client(redis_server: EmbeddedServer) -> Iterator[Client]:
    redis_server.start()
    with sync_client(redis_server.url) as client:
        yield client


def pusher(gateway: Gateway, timeout_s: float = 5.0) -> Push:
    launcher = gateway.launcher
    return Push(launcher.layer[1], namespace=launcher.namespace, timeout_s=timeout_s)


async def opened(stack: AsyncExitStack, url: str) -> tuple[ClientConnection, str]:
    client = await stack.enter_async_context(connect(f"{url}/address?push"))
    return client, str(await client.recv())


async def test_group_reaches_the_clients_of_every_interface_server(gateway: Gateway) -> None:
    other = gateway.launcher.interface()
    urls = [gateway.ws_url, other.urls[0].replace("http", "ws", 1)] * 2
    async with AsyncExitStack() as stack, pusher(gateway) as push:
        clients = [await opened(stack, url) for url in urls]
        for _client, address in clients:
            await push.group_add("everywhere", address)
        assert await push.group_send("everywhere", text="hello") == 4
        assert [await client.recv() for client, _address in clients] == ["hello"] * 4
    other.end()


async def test_push_before_the_application_accepts_is_held(gateway: Gateway) -> None:
    async with pusher(gateway) as push:
        opening = asyncio.ensure_future(connect(f"{gateway.ws_url}/held?held").__aenter__())
        note = gateway.launcher.wait_for_note
        (address,) = await asyncio.to_thread(note, "held")
        await push.send(address, text="early")
        confirmed = asyncio.create_task(push.send(address, text="confirmed", confirm=True))
        await push.info(address)
        assert not confirmed.done()
        gateway.launcher.open_gate("held")
        async with await opening as client:
            assert [await client.recv(), await client.recv()] == ["early", "confirmed"]
            await confirmed


async def push_on(push: Push, address: str, *, confirm: bool) -> None:
    """Push until it fails, at most 30 MB."""
    for _ in range(500):
        await push.send(address, bytes=bytes(60_000), confirm=confirm)


async def fill(gateway: Gateway, address: str) -> None:
    """Push until the kernel takes no more of what a client does not read."""
    async with pusher(gateway, timeout_s=0.5) as push:
        with pytest.raises(PushTimeout):
            await push_on(push, address, confirm=True)


def never_reading(gateway: Gateway) -> RawClient:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(30)
    sock.connect(gateway.interface.address)
    raw = RawClient(sock)
    raw.send(request("/address?never", *HANDSHAKE))
    raw.until(b"\r\n\r\n")
    return raw


async def test_one_that_never_reads_is_closed_and_the_others_get_everything(
    start: StartGateway,
) -> None:
    gateway = start(interface=("--max-send-buffer", "200000"))
    sent = [f"{number:04}" + "x" * 20_000 for number in range(12)]
    with never_reading(gateway) as raw:
        head, length = raw.exactly(2)
        address = raw.exactly(length).decode()
        async with AsyncExitStack() as stack, pusher(gateway) as push:
            assert head == 0x81
            clients = await asyncio.gather(*(opened(stack, gateway.ws_url) for _ in range(499)))
            members = [address, *(one for _client, one in clients)]
            await asyncio.gather(*(push.group_add("crowd", one) for one in members))
            await fill(gateway, address)
            counts = [await push.group_send("crowd", text=text) for text in sent]
            got = await asyncio.gather(*(received(client, len(sent)) for client, _ in clients))
            assert all(one == sent for one in got)
            assert counts[0] == 500
            assert counts[-1] == 499
            with pytest.raises(ConnectionGone):
                await push.send(address, text="too late")
        assert raw.rest()[:-100].count(b"0000xxx") == 1
    lines = [line for line in gateway.interface.stderr.splitlines() if "1013" in line]
    assert len(lines) == 1
    assert address.partition("!")[2] in lines[0]
    assert "127.0.0.1" in lines[0]
    assert "group=crowd" in lines[0]


async def received(client: ClientConnection, count: int) -> list[str | bytes]:
    return [await client.recv() for _ in range(count)]


async def test_one_that_reads_too_late_finds_1013(start: StartGateway) -> None:
    gateway = start(interface=("--max-send-buffer", "200000"))
    with never_reading(gateway) as raw:
        _head, length = raw.exactly(2)
        address = raw.exactly(length).decode()
        await fill(gateway, address)
        async with pusher(gateway) as push:
            with pytest.raises(ChannelFull):
                await push_on(push, address, confirm=False)
        reason = b"too slow"
        end = bytes((0x88, 2 + len(reason))) + (1013).to_bytes(2, "big") + reason
        assert raw.until(end).endswith(end)


async def test_interface_server_that_stands_still_is_a_time_out(start: StartGateway) -> None:
    gateway = start()
    async with AsyncExitStack() as stack, pusher(gateway, timeout_s=0.5) as push:
        client, address = await opened(stack, gateway.ws_url)
        child = gateway.interface.child
        send_signal(child, SIGSTOP)
        try:
            with pytest.raises(PushTimeout, match=address.partition("!")[0]):
                await push.send(address, text="late", idempotency_key="k")
        finally:
            send_signal(child, SIGCONT)
        await push.send(address, text="late", idempotency_key="k")
        await push.send(address, text="next")
        assert [await client.recv(), await client.recv()] == ["late", "next"]


async def test_nothing_is_left_of_an_interface_server_that_was_killed(
    start: StartGateway, client: Client
) -> None:
    gateway = start()
    async with AsyncExitStack() as stack, pusher(gateway) as push:
        _client, address = await opened(stack, gateway.ws_url)
        await push.group_add("orphans", address)
        pid = address.partition("!")[0]
        child = gateway.interface.child
        send_signal(child, SIGKILL)
        group = f"{gateway.launcher.namespace}:{{g:orphans}}"
        await asyncio.to_thread(wait_until, lambda: client.zscore(group, pid) is None)
        with pytest.raises(ConnectionGone):
            await push.send(address, text="anybody?")
        assert await push.group_send("orphans", text="anybody?") == 0
        assert not [key for key in client.scan_iter() if pid.encode() in key]


async def test_without_redis_a_push_is_unavailable_until_it_is_back(
    start: StartGateway, redis_server: EmbeddedServer
) -> None:
    gateway = start()
    async with AsyncExitStack() as stack, pusher(gateway) as push:
        _client, address = await opened(stack, gateway.ws_url)
        redis_server.kill()
        with pytest.raises(LayerUnavailable):
            await push.send(address, text="x")
        redis_server.start()

        async def works() -> None:
            """Connections end with Redis: a new one joins the group."""
            async with AsyncExitStack() as again:
                client, address = await opened(again, gateway.ws_url)
                await push.group_add("back", address)
                assert await push.group_send("back", text="back") == 1
                assert await client.recv() == "back"

        await until_it(works)


async def until_it(works: Callable[[], Any]) -> None:
    """Try until it works: who comes back does so in its own time."""
    async with asyncio.timeout(30):
        while True:
            try:
                await works()
            except (LayerUnavailable, ConnectionGone, PushTimeout, OSError, ConnectionClosed):
                await asyncio.sleep(0.05)
            except Exception as error:
                if "HTTP 50" not in str(error):
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def test_groups_work_again_after_redis_was_emptied(
    start: StartGateway, client: Client
) -> None:
    gateway = start("--lease", "1")
    async with AsyncExitStack() as stack, pusher(gateway) as push:
        _client, address = await opened(stack, gateway.ws_url)
        await push.group_add("kept", address)
        client.flushall()

        async def works() -> None:
            async with AsyncExitStack() as again:
                client, address = await opened(again, gateway.ws_url)
                await push.group_add("kept", address)
                assert await push.group_send("kept", text="again") >= 1
                assert await client.recv() == "again"

        await until_it(works)


def entry(*frames: object) -> bytes:
    return write_entry(envelope_head(new_pid()), None, [pack(frame) for frame in frames])


async def test_forged_and_broken_frames_are_dropped_and_harm_nobody(
    start: StartGateway, client: Client
) -> None:
    gateway = start()
    async with AsyncExitStack() as stack, pusher(gateway) as push:
        socket_, address = await opened(stack, gateway.ws_url)
        pid, connection = address.split("!")
        worker = (await push.info(address)).worker
        key = f"{gateway.launcher.namespace}:{{{pid}}}:push"
        forged = [
            b"",
            b"\xc1",
            pack([2, "x", None, []]),
            pack("text"),
            entry((connection, DATA, 1, [SEND], 0, None)),
            entry((connection, EVENTS, 1, 0, 1, [SEND])),
            entry(("", DEAD, 0, worker)),
            entry(("", DEAD, 0, pid)),
            entry(("lobby", MESSAGE, 0, SEND)),
            entry((connection, PUSH), 5, "text", None, []),
            entry((connection, PUSH, "reply", SEND, None, False)),
            entry((connection, PUSH, ["a}:in", 1], SEND, None, False)),
            entry((connection, PUSH, None, {"type": "websocket.accept"}, None, False)),
            entry(
                (connection, PUSH, None, {"type": "websocket.send", "text": 5, "bytes": b"x"}, 0, 0)
            ),
            entry((["list"], PUSH, None, SEND, None, False)),
            entry(("", GROUP_SEND, None, "bad name", SEND, [], None)),
            entry(("", GROUP_SEND, None, "g", SEND, 5, None)),
        ]
        client.rpush(key, *forged)
        await push.send(address, text="after")
        assert await socket_.recv() == "after"
        await socket_.send("echo")
        assert await socket_.recv() == "echo"
    assert "dropped from Redis" in gateway.interface.stderr
    assert "Traceback" not in gateway.interface.stderr
