"""Every block of docs/consumers.md is run as it is shown."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import gateway_worker.testing
from gateway_layer.channels import RedisChannelLayer
from gateway_worker import consumers
from gateway_worker.consumers import configure
from gateway_worker.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    InMemoryChannelLayer,
    WebsocketCommunicator,
)

DOCUMENT = (Path(__file__).parents[3] / "docs" / "consumers.md").read_text()
BLOCKS = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", DOCUMENT, re.M | re.S))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All blocks as modules that can be imported."""
    folder = tmp_path_factory.mktemp("blocks")
    for name, source in BLOCKS.items():
        (folder / f"{name}.py").write_text(source)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in BLOCKS:
        sys.modules.pop(name, None)
    configure({})


def block(name: str) -> Any:
    return import_module(name)


def test_every_block_is_run_here() -> None:
    assert DOCUMENT.count("```") == 2 * len(BLOCKS)
    run = re.findall(r'block\("(\w+)"\)', Path(__file__).read_text())
    assert set(run) == set(BLOCKS)


async def test_the_test_of_the_chat_passes() -> None:
    await block("test_chat").test_everybody_hears_what_one_says()


async def test_chat_can_be_resumed(layer: InMemoryChannelLayer) -> None:
    client = WebsocketCommunicator(block("chat").app, "/")
    await client.send_input({"type": "websocket.connect"})
    assert (await client.receive_output())["resume"]
    await client.disconnect()


async def test_counter_counts() -> None:
    client = ApplicationCommunicator(block("counter").app, {"type": "counter"})
    for number in (1, 2, 3):
        await client.send_input({"type": "counter.add", "number": number})
    await client.send_input({"type": "counter.stop"})
    assert (await client.receive_output())["total"] == 6
    await client.wait()


async def test_all_in_the_room_hear(layer: InMemoryChannelLayer) -> None:
    clients = [WebsocketCommunicator(block("rooms").app, "/") for _ in range(2)]
    for client in clients:
        assert (await client.connect())[0]
    await clients[0].send_json_to([1])
    for client in clients:
        assert await client.receive_json_from() == [1]
        await client.disconnect()
    assert not layer.groups


async def test_poll_waits_for_news(layer: InMemoryChannelLayer) -> None:
    client = HttpCommunicator(block("poll").app, "GET", "/")
    await client.send_input({"type": "http.request", "body": b""})
    client.sent_request = True
    while not layer.groups:
        assert await client.receive_nothing(0.01) in (True, False)
    await layer.group_send("polls", {"type": "poll.news", "text": "news"})
    assert (await client.get_response())["body"] == b"news"
    await client.wait()


def test_layers_are_configured() -> None:
    made = block("layers").layer
    assert isinstance(made, RedisChannelLayer)
    assert made.capacity == 500


def test_every_class_that_is_exported_is_mentioned() -> None:
    names = {*consumers.__all__, *gateway_worker.testing.__all__}
    internal = {"BaseConsumer", "ChannelFull", "DEFAULT_CHANNEL_LAYER", "aclose_old_connections"}
    internal |= {"await_many_dispatch", "get_handler_name"}
    assert {name for name in names - internal if f"`{name}" not in DOCUMENT} <= {
        "AcceptConnection",
        "DenyConnection",
    }
    assert "`raise DenyConnection`" in DOCUMENT
    assert "`raise AcceptConnection`" in DOCUMENT


@pytest.mark.parametrize(
    "name", ["ApplicationCommunicator", "WebsocketCommunicator", "HttpCommunicator"]
)
def test_constructors_are_as_documented(name: str) -> None:
    (shown,) = re.findall(rf"^\| `{name}\((.*)\)` \|", DOCUMENT, re.M)
    signature = ast.parse(f"def f({shown}): ...").body[0]
    assert isinstance(signature, ast.FunctionDef)
    parameters = inspect.signature(getattr(gateway_worker.testing, name)).parameters
    assert [argument.arg for argument in signature.args.args] == list(parameters)
