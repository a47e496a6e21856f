"""An interface server and a worker, and clients whose addresses are known."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from tests.end_to_end.conftest import gateway, redis_server  # noqa: F401 (fixtures)
from tests.end_to_end.processes import Gateway
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.push import Push

Open = Callable[[], Awaitable[tuple[ClientConnection, str]]]


@pytest.fixture
async def open_client(gateway: Gateway) -> AsyncIterator[Open]:  # noqa: F811
    """Opens a WebSocket; returns it with its reply channel."""
    async with AsyncExitStack() as stack:

        async def open_client() -> tuple[ClientConnection, str]:
            client = await stack.enter_async_context(connect(f"{gateway.ws_url}/address?push"))
            return client, str(await client.recv())

        yield open_client


@pytest.fixture
def url(gateway: Gateway) -> str:  # noqa: F811
    return gateway.launcher.layer[1]


@pytest.fixture
async def push(url: str) -> AsyncIterator[Push]:
    async with Push(url) as push:
        yield push
