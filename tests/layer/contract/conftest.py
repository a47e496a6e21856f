"""One world for each implementation of the layer, each with the same handles."""

import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from fakeredis import TcpFakeServer
from fakeredis._commands import command
from fakeredis._socket._fakesocket import FakeSocket

from gateway_layer.base import PULL_TIMEOUT_S, ChannelLayer
from gateway_layer.config import LayerConfig
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.names import new_pid
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.layer import RedisLayer
from gateway_layer.redis.liveness import Lease, announce_death


class World(ABC):
    """Layers that share one store, and what can befall it.

    Attributes:
        forgets_after_s: How long the store may go on reading for a connection that is closed, where
            it does not tell of them.
    """

    forgets_after_s = 0.0

    def __init__(self) -> None:
        self.stack = AsyncExitStack()

    async def join(self, kind: str = "test") -> ChannelLayer:
        """A layer that has started; closed with the test."""
        layer = self.stranger(kind)
        await layer.start()
        self.stack.push_async_callback(layer.close)
        return layer

    @abstractmethod
    def stranger(self, kind: str = "test") -> ChannelLayer:
        """A layer that has not started."""

    def connections(self) -> set[str]:
        """Which connections the store has, where it tells."""
        return set()

    @abstractmethod
    def lose_data(self) -> None:
        """Empty the store."""

    @abstractmethod
    async def register(self) -> str:
        """The pid of a process that lives until it is killed."""

    @abstractmethod
    def kill(self, pid: str) -> None:
        """Let a registered process be dead."""

    @abstractmethod
    def fence(self, pid: str) -> None:
        """Let a process that has joined be held for dead."""

    @abstractmethod
    def length(self, queue: str) -> int:
        """How many entries a shared queue holds."""


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()

    def stranger(self, kind: str = "test") -> ChannelLayer:
        return MemoryLayer(self.broker, kind)

    def lose_data(self) -> None:
        self.broker.lose()

    async def register(self) -> str:
        return (await self.join()).pid

    def kill(self, pid: str) -> None:
        self.broker.kill(pid)

    def fence(self, pid: str) -> None:
        self.broker.fence(pid)

    def length(self, queue: str) -> int:
        return len(self.broker.queues[queue])


class RedisWorld(World):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.config = LayerConfig(redis=url, lease_s=1.0)
        self.lose_data()

    def stranger(self, kind: str = "test") -> ChannelLayer:
        return RedisLayer(self.config, kind)

    def connections(self) -> set[str]:
        if self.forgets_after_s:
            return set()
        with sync_client(self.config.redis) as client:
            own = str(client.client_id())
            return {one["id"] for one in client.client_list()} - {own}

    def lose_data(self) -> None:
        with sync_client(self.config.redis) as client:
            client.flushall()

    async def register(self) -> str:
        pid = new_pid()
        lease = Lease(self.config, pid, "test", None, lambda _renewal: None)
        lease.renew()
        lease.stop(leave=False)
        return pid

    def kill(self, pid: str) -> None:
        announce_death(self.config, pid)

    def fence(self, pid: str) -> None:
        announce_death(self.config, pid)

    def length(self, queue: str) -> int:
        with sync_client(self.config.redis) as client:
            found: int = client.llen(f"gw:{{q:{queue}}}:v1")
        return found


@command(name="INFO", fixed=(), repeat=(bytes,))
def info(_self: FakeSocket, *_sections: bytes) -> bytes:
    return (
        b"redis_version:7.4.0\r\nredis_mode:standalone\r\nrun_id:%s\r\n"
        b"maxmemory_policy:noeviction\r\n" % (b"f" * 40)
    )


@pytest.fixture(scope="module")
def fake_url() -> Iterator[str]:
    """Address of fakeredis' server, which lacks the INFO that every client of ours asks for."""
    setattr(FakeSocket, "info", info)  # noqa: B010 - it has none
    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["memory", "fakeredis", "valkey"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each implementation in turn."""
    found: World
    if request.param == "memory":
        found = MemoryWorld()
    elif request.param == "fakeredis":
        found = RedisWorld(request.getfixturevalue("fake_url"))
        # A blocked read of it ends by its time-out alone; a real server drops it at once.
        found.forgets_after_s = PULL_TIMEOUT_S + 0.5
    else:
        server: EmbeddedServer = request.getfixturevalue("redis_server")
        found = RedisWorld(server.url)
    async with found.stack:
        yield found
