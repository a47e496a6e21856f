from collections.abc import Iterator

import pytest

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.redis.address import sync_client


@pytest.fixture(scope="module")
def redis_server() -> Iterator[EmbeddedServer]:
    """A real server, one for the tests of a file; a test may kill, stop and start it."""
    with EmbeddedServer(port=0) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """Address of a server that runs and is empty."""
    redis_server.start()
    with sync_client(redis_server.url) as client:
        client.flushall()
        client.config_resetstat()
    return redis_server.url
