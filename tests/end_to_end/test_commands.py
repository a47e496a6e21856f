"""The installed commands, as a person at a terminal or a service manager meets them."""

import json
import socket
from pathlib import Path
from signal import SIGTERM
from typing import Any

import httpx
import pytest
from tests.end_to_end.processes import APPS, Gateway, Launcher, wait_until
from websockets.asyncio.client import ClientConnection, connect

from gateway_layer.embedded import EmbeddedServer

COMMANDS = ["gateway-interface", "gateway-worker", "gateway-dev"]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_version_is_shown(launch: Launcher, name: str) -> None:
    command = launch.run(name, "--version")
    assert command.process.wait(30) == 0
    assert command.stdout.startswith(f"{name} ")


@pytest.mark.parametrize(
    ("name", "headings"),
    [
        ("gateway-interface", ["Listening:", "Channel layer:", "Queues:", "WebSocket:"]),
        ("gateway-worker", ["Application:", "Processes:", "Channel layer:", "Load:"]),
        ("gateway-dev", ["Development server:", "Application:"]),
    ],
)
def test_help_is_grouped(launch: Launcher, name: str, headings: list[str]) -> None:
    command = launch.run(name, "--help")
    assert command.process.wait(30) == 0
    places = [command.stdout.find(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    assert min(places) >= 0


def test_taken_port_is_one_line_and_status_1(launch: Launcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = launch.run("gateway-interface", "--bind", address, *launch.layer)
        assert command.process.wait(30) == 1
    assert command.stderr == f"gateway-interface: {address} is already in use\n"


@pytest.mark.parametrize("app", ["apps:missing", "no_such_module:app", "apps"])
def test_wrong_application_path_is_one_line_and_status_2(launch: Launcher, app: str) -> None:
    command = launch.worker(app=app, ready=False)
    assert command.process.wait(30) == 2
    assert command.stderr.startswith(f"gateway-worker: application '{app}': ")
    assert command.stderr.count("\n") == 1


def test_import_error_keeps_its_traceback(launch: Launcher) -> None:
    (launch.folder / "broken_app.py").write_text("import no_such_package\n")
    command = launch.worker("--app-dir", str(launch.folder), app="broken_app:app", ready=False)
    assert command.process.wait(30) == 1
    assert "broken_app.py" in command.stderr
    assert command.stderr.rstrip().endswith("No module named 'no_such_package'")


def test_failed_lifespan_is_status_3(launch: Launcher) -> None:
    command = launch.worker(app="apps:failing_start", ready=False)
    assert command.process.wait(30) == 3
    assert "application start-up failed: no database" in command.stderr


@pytest.mark.parametrize("name", ["gateway-interface", "gateway-worker"])
def test_unreachable_redis_is_one_line_and_tried_again(launch: Launcher, name: str) -> None:
    with EmbeddedServer() as server:
        server.kill()
        options = {
            "gateway-interface": ("--bind", "127.0.0.1:0"),
            "gateway-worker": ("apps:site", "--app-dir", str(APPS)),
        }
        command = launch.run(name, *options[name], "--redis", server.url)
        command.wait_for("unreachable")
        server.start()
        command.wait_ready()
        assert command.stderr.count("unreachable") == 1
        assert command.end() == 0


def test_options_may_come_from_the_environment(
    launch: Launcher, redis_server: EmbeddedServer
) -> None:
    shared = {"GATEWAY_REDIS": redis_server.url, "GATEWAY_NAMESPACE": launch.namespace}
    interface = launch.run("gateway-interface", GATEWAY_BIND="127.0.0.1:0", **shared)
    app = {"GATEWAY_APP": "apps:site", "GATEWAY_APP_DIR": str(APPS), "NOTES": str(launch.folder)}
    worker = launch.run("gateway-worker", GATEWAY_PROCESSES="2", **app, **shared)
    interface.wait_ready()
    worker.wait_ready()
    assert "(2 processes)" in worker.stderr
    assert Gateway(launch, interface, worker).request("/hello?env").body == b"hello env"


def test_nothing_is_coloured_where_there_is_no_terminal(launch: Launcher) -> None:
    command = launch.worker(app="apps:failing_start", ready=False)
    command.process.wait(30)
    assert "\x1b" not in command.stderr


async def hear(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of this type; others before it are passed over."""
    while True:
        frame: dict[str, Any] = json.loads(await client.recv())
        if frame["type"] == kind:
            return frame


async def test_two_browsers_talk_in_the_chat_of_gateway_dev(launch: Launcher) -> None:
    command = launch.run(
        "gateway-dev",
        *("examples.chat.app:app", "--app-dir", str(ROOT), "--no-reload"),
        *("--bind", "127.0.0.1:0", "--workers", "2"),
    )
    command.wait_ready()
    url = command.urls[0]
    async with httpx.AsyncClient() as browser:
        assert "<title>" in (await browser.get(url)).text
    ws_url = url.replace("http", "ws", 1) + "/ws"
    async with connect(ws_url) as ada, connect(ws_url) as grace:
        for client, name in ((ada, "Ada"), (grace, "Grace")):
            await client.send(json.dumps({"type": "join", "name": name}))
            await hear(client, "welcome")
        await ada.send(json.dumps({"type": "say", "text": "good morning"}))
        heard = await hear(grace, "say")
        assert (heard["name"], heard["text"]) == ("Ada", "good morning")
        await grace.send(json.dumps({"type": "say", "text": "to you too"}))
        while (heard := await hear(ada, "say"))["name"] != "Grace":
            pass
        assert heard["text"] == "to you too"
    command.signal(SIGTERM)
    assert command.process.wait(30) == 0


SITE = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first"})
"""


def test_changed_file_is_served_by_new_workers_without_a_failed_request(launch: Launcher) -> None:
    site = launch.folder / "site_app.py"
    site.write_text(SITE)
    worker = launch.worker("--app-dir", str(launch.folder), "--reload", app="site_app:app")
    gateway = Gateway(launch, launch.interface(), worker)
    assert gateway.request("/").body == b"first"
    site.write_text(SITE.replace("first", "second"))
    seen: list[tuple[int, bytes]] = []

    def served_anew() -> bool:
        answer = gateway.request("/")
        seen.append((answer.status, answer.body))
        return answer.body == b"second"

    wait_until(served_anew, "the reload")
    assert set(seen) == {(200, b"first"), (200, b"second")} or seen == [(200, b"second")]
