"""The layer on several servers, and behind a sentinel."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.sentinel import Sentinel
from tests.layer.channels.conftest import MakeLayer
from tests.layer.channels.receiving import nothing_comes, numbers, waiting

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer, find_server
from gateway_layer.errors import ChannelFull, LayerUnavailable
from gateway_layer.redis.address import sync_client

PLAIN = [f"plain-{number}" for number in range(8)]


@pytest.fixture
def servers() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with EmbeddedServer() as one, EmbeddedServer() as other:
        yield one, other


@pytest.fixture
def sharded(make: MakeLayer, servers: tuple[EmbeddedServer, ...]) -> Callable[[], Any]:
    return lambda: make(hosts=[server.url for server in servers], capacity=3)


def keys_of(servers: tuple[EmbeddedServer, ...]) -> list[int]:
    """How many keys of the layer each server has, leases aside."""
    counts = []
    for server in servers:
        with sync_client(server.url) as client:
            counts.append(len([key for key in client.scan_iter() if not key.endswith(b":up")]))
    return counts


async def works_again(call: Callable[[], Awaitable[None]]) -> None:
    """Call until Redis takes it."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except LayerUnavailable:
                await asyncio.sleep(0.05)


# Several servers: each channel and each group is on one of them.


async def test_channels_are_on_both_servers(
    sharded: Callable[[], RedisChannelLayer], servers: tuple[EmbeddedServer, EmbeddedServer]
) -> None:
    sender, reader = sharded(), sharded()
    readers = [(reader, name) for name in PLAIN]
    readers += [(layer, await layer.new_channel()) for layer in (sharded() for _ in range(8))]
    for _layer, channel in readers:
        for number in range(3):
            await sender.send(channel, {"n": number})
    assert min(keys_of(servers)) > 0
    for layer, channel in readers:
        assert await numbers(layer, channel, 3) == [0, 1, 2]


async def test_each_channel_has_its_capacity(sharded: Callable[[], RedisChannelLayer]) -> None:
    layer = sharded()
    for channel in (*PLAIN, await sharded().new_channel()):
        for number in range(3):
            await layer.send(channel, {"n": number})
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"n": 3})


async def test_groups_have_members_on_both_servers(
    sharded: Callable[[], RedisChannelLayer],
) -> None:
    layers = [sharded() for _ in range(3)]
    members = [(layer, await layer.new_channel()) for layer in layers]
    members += [(layers[0], channel) for channel in PLAIN]
    for group in ("first", "second", "third"):
        for _layer, channel in members:
            await layers[1].group_add(group, channel)
        assert await layers[2].group_channels_count(group) == len(members)
    (left, gone), *rest = members
    await layers[2].group_discard("second", gone)
    for number, group in enumerate(("first", "second", "third")):
        await sharded().group_send(group, {"n": number}, exclude=[PLAIN[0]] if number == 2 else [])
    assert await numbers(left, gone, 2) == [0, 2]
    for layer, channel in rest:
        count = 2 if channel == PLAIN[0] else 3
        assert await numbers(layer, channel, count) == list(range(count))
        await nothing_comes(layer, channel)


async def test_flush_empties_both_servers(
    sharded: Callable[[], RedisChannelLayer], servers: tuple[EmbeddedServer, EmbeddedServer]
) -> None:
    layer = sharded()
    for name in PLAIN:
        await layer.send(name, {"n": 1})
        await layer.group_add(name, name)
    await layer.flush()
    assert keys_of(servers) == [0, 0]


async def test_server_that_is_away_leaves_the_channels_of_the_other(
    sharded: Callable[[], RedisChannelLayer], servers: tuple[EmbeddedServer, EmbeddedServer]
) -> None:
    layer = sharded()
    for name in PLAIN:
        await layer.send(name, {"n": 0})
    servers[0].kill()
    sent = await asyncio.gather(
        *(layer.send(name, {"n": 1}) for name in PLAIN), return_exceptions=True
    )
    there = [name for name, error in zip(PLAIN, sent, strict=True) if error is None]
    assert 0 < len(there) < len(PLAIN)
    assert all(error is None or isinstance(error, LayerUnavailable) for error in sent)
    for name in there:
        assert await numbers(layer, name, 2) == [0, 1]
    servers[0].start()
    for name in set(PLAIN).difference(there):

        async def send(name: str = name) -> None:
            await layer.send(name, {"n": 2})

        await works_again(send)
        assert await numbers(layer, name, 1) == [2]


# Sentinels: they know which server is the master.


@pytest.fixture
def replicated() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A master and its replica."""
    with ExitStack() as stack:
        master = stack.enter_context(EmbeddedServer(port=0))
        follows = ("--replicaof", "127.0.0.1", str(master.port))
        yield master, stack.enter_context(EmbeddedServer(port=0, extra=follows))


@pytest.fixture
def sentinel(
    replicated: tuple[EmbeddedServer, EmbeddedServer], tmp_path: Path, unused_tcp_port: int
) -> Iterator[dict[str, Any]]:
    """What stands in `hosts` for a sentinel that knows both."""
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {unused_tcp_port}\n"
        "bind 127.0.0.1\n"
        f"dir {tmp_path}\n"
        f"sentinel monitor main 127.0.0.1 {replicated[0].port} 1\n"
        "sentinel down-after-milliseconds main 300\n"
        "sentinel failover-timeout main 2000\n"
    )
    process = subprocess.Popen(
        [find_server(), configuration, "--sentinel"], stdout=subprocess.DEVNULL
    )
    try:
        yield {"sentinels": [("127.0.0.1", unused_tcp_port)], "master_name": "main"}
    finally:
        process.kill()
        process.wait()


async def knows_the_replica(sentinel: dict[str, Any]) -> None:
    """Wait until a sentinel could make the replica the master."""
    client: Any = Sentinel(sentinel["sentinels"], socket_timeout=1.0)  # type: ignore[no-untyped-call]
    async with asyncio.timeout(30):
        while True:
            try:
                if await asyncio.to_thread(client.discover_slaves, "main"):
                    return
            except Exception as error:  # it has only just begun
                assert type(error).__module__.startswith("redis"), error  # noqa: PT017
            await asyncio.sleep(0.05)


async def test_layer_goes_on_with_the_master_that_a_sentinel_chooses(
    make: MakeLayer,
    replicated: tuple[EmbeddedServer, EmbeddedServer],
    sentinel: dict[str, Any],
) -> None:
    await knows_the_replica(sentinel)
    layer, other = make(hosts=[sentinel]), make(hosts=[sentinel])
    own = await layer.new_channel()
    await layer.group_add("g", own)
    await other.send(own, {"n": 0})
    await other.group_send("g", {"n": 1})
    assert await numbers(layer, own, 2) == [0, 1]
    with sync_client(f"redis://127.0.0.1:{replicated[0].port}") as client:
        assert client.exists("asgi:{g:g}")

    waits = await waiting(layer, own)
    replicated[0].kill()

    async def send() -> None:
        await other.send(own, {"n": 2})

    await works_again(send)
    assert (await asyncio.wait_for(waits, 30))["n"] == 2
    await works_again(lambda: layer.group_add("g", own))
    await works_again(lambda: other.group_send("g", {"n": 3}))
    assert await numbers(layer, own, 1) == [3]
    with sync_client(f"redis://127.0.0.1:{replicated[1].port}") as client:
        assert client.info("replication")["role"] == "master"
