"""What docs/routing.md shows works as it is shown."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.workers.middleware.asgi import Application, exchange, http, status_of, websocket

from gateway_layer.embedded import EmbeddedServer

TEXT = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()


@pytest.fixture
def shown() -> dict[str, Any]:
    """The names that the blocks define, run in their order."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S):
        exec(compile(block, "routing.md", "exec"), names)
    return names


async def test_page_is_found_by_nested_routes(shown: dict[str, Any]) -> None:
    sent = await exchange(shown["application"], http("/rooms/12/"))
    assert sent[1]["body"] == b"room 12\n"


@pytest.mark.parametrize(
    ("scope", "status"), [(http("/rooms/x/"), 404), (websocket("/chat/a b/"), 403)]
)
async def test_without_a_route_it_is_refused(
    shown: dict[str, Any], scope: Any, status: int
) -> None:
    assert await status_of(shown["application"], scope) == status


async def test_websocket_is_found_by_an_expression(shown: dict[str, Any]) -> None:
    sent = await exchange(shown["application"], websocket("/chat/tea/"))
    assert sent[1]["text"] == "welcome to tea"


async def test_lifespan_needs_an_entry(shown: dict[str, Any]) -> None:
    app = Application()
    await exchange(shown["with_lifespan"](app, []), {"type": "lifespan"})
    assert app.scope == {"type": "lifespan"}
    with pytest.raises(ValueError, match="'lifespan'"):
        await exchange(shown["application"], {"type": "lifespan"})


async def test_message_is_sent_to_the_prefix_that_the_worker_reads(shown: dict[str, Any]) -> None:
    assert shown["layer"].prefix == "gw-channels"
    with EmbeddedServer() as server:
        layer = type(shown["layer"])([server.url], prefix="gw-channels")
        await shown["after_upload"](layer, "a.png")
        assert await layer.receive("thumbnails") == {"type": "make", "file": "a.png"}
        await layer.close_pools()
