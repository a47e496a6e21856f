"""A chat of Django Channels over two interface servers and two workers, with this layer."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from tests.end_to_end.processes import Launcher
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def urls(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """The addresses of two interface servers."""
    redis_server.start()
    launcher = Launcher(tmp_path_factory.mktemp("django"), redis_server.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAT_REDIS", redis_server.url)
        try:
            workers = [
                launcher.worker("--processes", "1", app="django_chat:application", ready=False)
                for _ in range(2)
            ]
            interfaces = [launcher.interface() for _ in range(2)]
            for worker in workers:
                worker.wait_ready()
            yield [interface.urls[0] for interface in interfaces]
        finally:
            launcher.close()


@asynccontextmanager
async def in_room(urls: list[str], room: str) -> AsyncIterator[list[ClientConnection]]:
    """Six clients over both interfaces, or more until both workers have one in the room."""
    async with AsyncExitStack() as stack:
        clients: list[ClientConnection] = []
        workers: set[int] = set()
        while len(clients) < 6 or len(workers) < 2:
            assert len(clients) < 40, "one worker takes all connections"
            url = urls[len(clients) % 2].replace("http", "ws", 1)
            clients.append(await stack.enter_async_context(connect(f"{url}/chat/{room}")))
            workers.add(json.loads(await clients[-1].recv())["worker"])
        yield clients


async def heard(clients: list[ClientConnection]) -> list[object]:
    return [json.loads(text) for text in await asyncio.gather(*(one.recv() for one in clients))]


async def test_what_one_says_all_hear_in_order(urls: list[str]) -> None:
    async with in_room(urls, "lobby") as clients:
        for number in range(20):
            await clients[0].send(json.dumps({"n": number}))
        for number in range(20):
            assert await heard(clients) == [{"n": number}] * len(clients)


async def test_a_synchronous_view_speaks_to_the_room(urls: list[str]) -> None:
    async with in_room(urls, "hall") as clients, httpx.AsyncClient() as http:
        assert (await http.get(f"{urls[1]}/announce/hall")).text == "said"
        assert await heard(clients) == ["announcement"] * len(clients)


async def test_who_leaves_is_no_member_any_more(urls: list[str]) -> None:
    async with httpx.AsyncClient() as http:
        async with in_room(urls, "cellar") as clients:
            assert (await http.get(f"{urls[0]}/members/cellar")).text == str(len(clients))
        async with asyncio.timeout(10):
            while (await http.get(f"{urls[0]}/members/cellar")).text != "0":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
