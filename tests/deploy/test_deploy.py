"""The deployment files say only what exists, and their commands run on this machine."""

import json
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml
from tests.end_to_end.processes import Command
from websockets.sync.client import connect

from gateway_interface import cli as interface_cli
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.process.supervisor import KILL_MARGIN_S
from gateway_layer.redis.address import sync_client
from gateway_worker import cli as worker_cli

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if name in ("interface", "worker")}
COMMANDS: dict[str, click.Command] = {
    "gateway-interface": interface_cli.main,
    "gateway-worker": worker_cli.main,
}
DOCKERFILE = re.sub(r"\\\n", "", (ROOT / "deploy" / "Dockerfile").read_text())
STEPS = [
    (line.partition(" ")[0], line.partition(" ")[2].strip())
    for line in DOCKERFILE.splitlines()
    if line and not line.startswith("#")
]
NGINX = re.sub(r"#.*", "", (ROOT / "deploy" / "nginx.conf").read_text())


def steps(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def params_of(service: dict[str, Any]) -> dict[str, Any]:
    """Return what the service's command and its variables say, as click reads them."""
    name, *words = service["command"]
    command = COMMANDS[name]
    context = command.make_context(name, list(words))
    for param in command.params:
        variable = f"GATEWAY_{str(param.name).upper()}"
        if variable in service["environment"]:
            value = service["environment"][variable]
            context.params[str(param.name)] = param.type_cast_value(context, value)
    return context.params


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# The image.


def test_image_runs_a_command_that_the_package_installs() -> None:
    (command,) = steps("CMD")
    name, *words = json.loads(command)
    assert name in PROJECT["scripts"]
    with pytest.raises(click.exceptions.Exit) as exit_:
        COMMANDS[name].make_context(name, words)
    assert exit_.value.exit_code == 0


def test_image_pins_no_command() -> None:
    assert not steps("ENTRYPOINT")


def test_image_does_not_run_as_root() -> None:
    assert int(steps("USER")[-1]) >= 1000


def test_image_shows_log_lines_at_once() -> None:
    assert "PYTHONUNBUFFERED=1" in steps("ENV")[-1].split()


def test_image_holds_neither_the_embedded_server_nor_the_benchmarks() -> None:
    installs = [step for step in steps("RUN") if "pip install" in step]
    assert installs
    assert not [step for step in installs if "[" in step or "-e " in step]


def test_image_is_built_from_a_supported_python() -> None:
    versions = {base.partition("-")[0].removeprefix("python:") for base in steps("FROM")}
    known = {line.rpartition(":: ")[2] for line in PROJECT["classifiers"]}
    assert versions <= known


def test_last_stage_gets_only_what_the_first_has_built() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    copies = [line for line in last.splitlines() if line.startswith("COPY")]
    assert copies
    assert all(line.startswith("COPY --from=build ") for line in copies)


def test_sources_of_the_image_exist_and_reach_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines  # nothing, but for what follows
    kept = [line[1:] for line in lines if line.startswith("!")]
    sources = [word for copy in steps("COPY") if "--from" not in copy for word in copy.split()[:-1]]
    assert sorted(sources) == sorted(kept)
    assert all((ROOT / source).exists() for source in sources)


def test_builder_gets_everything_that_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    sources = {word for copy in steps("COPY") for word in copy.split()[:-1]}
    assert {package.partition("/")[0] for package in packages} <= sources
    assert PROJECT["readme"] in sources


# The composition.


@pytest.mark.parametrize("name", OURS)
def test_every_option_of_a_service_exists(name: str) -> None:
    assert params_of(OURS[name])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_a_service_is_one_of_its_command(name: str) -> None:
    command = COMMANDS[OURS[name]["command"][0]]
    known = {f"GATEWAY_{str(param.name).upper()}" for param in command.params}
    assert set(OURS[name]["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_values_of_a_service_are_allowed(name: str) -> None:
    build = {"interface": interface_cli.config_from, "worker": worker_cli.config_from}[name]
    assert build(params_of(OURS[name])) is not None


@pytest.mark.parametrize("name", OURS)
def test_service_is_killed_only_after_its_own_time_outs(name: str) -> None:
    params = params_of(OURS[name])
    longest = params["graceful_timeout"] + params.get("lifespan_timeout", 0) + KILL_MARGIN_S
    assert seconds(OURS[name]["stop_grace_period"]) > longest


@pytest.mark.parametrize("name", OURS)
def test_service_is_built_from_the_dockerfile(name: str) -> None:
    build = OURS[name]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_exist(name: str) -> None:
    volumes = SERVICES[name].get("volumes", [])
    assert all((ROOT / volume.partition(":")[0]).exists() for volume in volumes)


def test_two_interface_servers_and_three_workers() -> None:
    assert {name: service["deploy"]["replicas"] for name, service in OURS.items()} == {
        "interface": 2,
        "worker": 3,
    }


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]


def test_proxy_waits_for_interface_servers_that_are_ready() -> None:
    assert SERVICES["proxy"]["depends_on"]["interface"]["condition"] == "service_healthy"


# The proxy.


def test_proxy_listens_where_the_composition_says() -> None:
    (port,) = SERVICES["proxy"]["ports"]
    assert re.findall(r"listen (\d+);", NGINX) == [port.rpartition(":")[2]]


def test_proxy_asks_the_interface_servers() -> None:
    (bind,) = params_of(OURS["interface"])["bind"]
    assert f"server interface:{bind.rpartition(':')[2]} resolve" in NGINX


def test_proxy_passes_websocket_handshakes_on() -> None:
    assert "proxy_http_version 1.1;" in NGINX
    assert "proxy_set_header Upgrade $http_upgrade;" in NGINX
    assert "proxy_set_header Connection $connection_upgrade;" in NGINX


def test_proxy_repeats_after_503_but_no_request_that_is_not_idempotent() -> None:
    (repeated,) = re.findall(r"proxy_next_upstream ([^;]*);", NGINX)
    assert "http_503" in repeated.split()
    assert "non_idempotent" not in repeated


def test_braces_of_the_proxy_configuration_match() -> None:
    assert NGINX.count("{") == NGINX.count("}") > 0


# The same commands on this machine.


class Site:
    """The services of the composition as processes, with addresses of this machine."""

    def __init__(self, folder: Path, redis: EmbeddedServer) -> None:
        self._redis_address = f"127.0.0.1:{redis.port}"
        self._folder = folder
        self.admin_ports: list[int] = []
        self.interfaces: list[Command] = []
        self.workers: list[Command] = []

    def start(self) -> None:
        for name, started in (("interface", self.interfaces), ("worker", self.workers)):
            for number in range(OURS[name]["deploy"]["replicas"]):
                command, *words = (self._local(word) for word in OURS[name]["command"])
                variables = OURS[name]["environment"].items()
                env = {variable: self._local(text) for variable, text in variables}
                folder = self._folder / f"{name}-{number}"
                started.append(Command(folder, command, *words, **env))
        for each in self.interfaces + self.workers:
            each.wait_ready()

    def _local(self, word: str) -> str:
        """Replace what means something only in a container."""
        if word == "127.0.0.1:9000":
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.admin_ports.append(free.getsockname()[1])
            return f"127.0.0.1:{self.admin_ports[-1]}"
        word = word.replace("valkey:6379", self._redis_address)
        return {"0.0.0.0:8000": "127.0.0.1:0", ".": str(ROOT)}.get(word, word)

    def close(self) -> None:
        for each in self.interfaces + self.workers:
            each.kill()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[EmbeddedServer]:
    """A server with the arguments of the composition's."""
    _name, *arguments = SERVICES["valkey"]["command"]
    with EmbeddedServer(port=0, extra=arguments) as server:
        yield server


@pytest.fixture(scope="module")
def site(redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), redis_server)
    try:
        site.start()
        yield site
    finally:
        site.close()


def test_server_neither_evicts_nor_writes_to_disk(redis_server: EmbeddedServer) -> None:
    with sync_client(redis_server.url) as client:
        settings = client.config_get("maxmemory*", "save", "appendonly")
    assert settings["maxmemory-policy"] == "noeviction"
    assert int(settings["maxmemory"]) > 0
    assert (settings["save"], settings["appendonly"]) == ("", "no")


def test_page_comes_through_both_interface_servers(site: Site) -> None:
    pages = [httpx.get(interface.urls[0], timeout=30) for interface in site.interfaces]
    assert [page.status_code for page in pages] == [200, 200]
    assert all("<html" in page.text for page in pages)


def test_two_clients_of_different_interface_servers_talk(site: Site) -> None:
    first, second = (
        interface.urls[0].replace("http", "ws", 1) + "/ws" for interface in site.interfaces
    )
    with connect(first) as ada, connect(second) as grace:
        grace.send(json.dumps({"type": "join", "name": "Grace"}))
        assert json.loads(grace.recv(30))["type"] == "welcome"
        ada.send(json.dumps({"type": "join", "name": "Ada"}))
        ada.send(json.dumps({"type": "say", "text": "hello over there"}))
        while (frame := json.loads(grace.recv(30)))["type"] != "say":
            pass
        assert (frame["name"], frame["text"]) == ("Ada", "hello over there")


def test_health_check_of_an_interface_server_succeeds(site: Site) -> None:
    result = health_check(site.admin_ports[0])
    assert result.returncode == 0, result.stderr


def test_health_check_fails_where_nobody_serves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert health_check(port).returncode != 0


def health_check(port: int) -> "subprocess.CompletedProcess[str]":
    """Run the interface service's check against a port of this machine."""
    kind, program, *words = OURS["interface"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    arguments = [word.replace("127.0.0.1:9000", f"127.0.0.1:{port}") for word in words]
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
