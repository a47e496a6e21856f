from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway_layer.channels import RedisChannelLayer

MakeLayer = Callable[..., RedisChannelLayer]


@pytest.fixture
async def make(redis_url: str) -> AsyncIterator[MakeLayer]:
    """Makes layers, each as of a process of its own, on one empty server."""
    made: list[RedisChannelLayer] = []

    def make(**options: Any) -> RedisChannelLayer:
        made.append(RedisChannelLayer(**{"hosts": [redis_url], **options}))
        return made[-1]

    yield make
    for layer in made:
        await layer.close_pools()


@pytest.fixture
async def layer(make: MakeLayer) -> RedisChannelLayer:
    return make()
