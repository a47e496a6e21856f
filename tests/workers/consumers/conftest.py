from collections.abc import Iterator

import pytest

from gateway_worker.consumers import configure
from gateway_worker.testing import InMemoryChannelLayer


@pytest.fixture(autouse=True)
def outside_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """No channel layer is found that a test did not ask for."""
    for name in ("GATEWAY_REDIS", "GATEWAY_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def layer() -> Iterator[InMemoryChannelLayer]:
    """The default channel layer of one test."""
    layer = InMemoryChannelLayer()
    configure({"default": layer})
    yield layer
    configure({})
