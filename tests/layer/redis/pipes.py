"""What the tests of pipes share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway_layer.redis.address import parse_address, sync_client
from gateway_layer.redis.pipe import Pipe


@asynccontextmanager
async def piped(url: str, **options: Any) -> AsyncIterator[Pipe]:
    """Run a connected pipe."""
    pipe = Pipe(parse_address(url), name="test", **options)
    pipe.start()
    try:
        await pipe.wait_connected(5)
        yield pipe
    finally:
        await pipe.close()


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


def calls(url: str) -> dict[str, int]:
    """How often each command ran since the statistics were reset."""
    with sync_client(url) as client:
        stats: dict[str, dict[str, int]] = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


def items(url: str, key: str) -> list[bytes]:
    with sync_client(url) as client:
        found: list[bytes] = client.lrange(key, 0, -1)
    return found
