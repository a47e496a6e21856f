import uuid
from collections.abc import Callable, Iterator

import pytest
from tests.end_to_end.processes import Launcher
from tests.end_to_end.push_api.site import Site
from websockets.sync.client import ClientConnection

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.push import SyncPush


@pytest.fixture(scope="module")
def site(redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    redis_server.start()
    launcher = Launcher(tmp_path_factory.mktemp("push"), redis_server.url, namespace="push-api")
    try:
        site = Site(launcher)
        with site.http:
            yield site
    finally:
        launcher.close()


@pytest.fixture
def client(site: Site) -> Iterator[tuple[ClientConnection, str]]:
    """A client of the interface server without push API, and its reply channel."""
    with site.connect() as client:
        yield client


@pytest.fixture
def group(redis_server: EmbeddedServer) -> Iterator[Callable[..., str]]:
    """Makes a group of some connections."""
    with SyncPush(redis_server.url, namespace="push-api") as push:

        def make(*channels: str) -> str:
            name = f"g-{uuid.uuid4().hex}"
            for channel in channels:
                push.group_add(name, channel)
            return name

        yield make
