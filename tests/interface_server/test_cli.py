import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gateway_interface.cli import config_from, main
from gateway_interface.config import InterfaceConfig, Limits, WebSocketOptions
from gateway_layer.config import LayerConfig
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ConfigError

OPTIONS = {param.name: param for param in main.params}


def parsed(*args: str) -> dict[str, Any]:
    context = main.make_context("gateway-interface", list(args))
    return context.params


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Command:
    """One run of gateway-interface."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.stderr_path = folder / "stderr"
        with self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway_interface", *args],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def wait_until_ready(self) -> list[str]:
        """Return the addresses in the ready line."""
        wait_until(lambda: " ready: " in self.stderr)
        return self.stderr.partition(" ready: ")[2].partition(" (")[0].split()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with EmbeddedServer() as server:
        yield server.url


@pytest.fixture
def start(tmp_path: Path, redis_url: str) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def start(*args: str) -> Command:
        folder = tmp_path / str(len(commands))
        folder.mkdir()
        commands.append(Command(folder, "--redis", redis_url, *args))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.wait()


def get(url: str, path: str) -> bytes:
    """Return the first line of the answer."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n".encode())
        return client.recv(65536).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("config", "prefix"),
    [(InterfaceConfig, ""), (LayerConfig, ""), (Limits, ""), (WebSocketOptions, "ws_")],
)
def test_every_field_has_an_option_with_its_default_and_help(config: type, prefix: str) -> None:
    built = config_from(parsed())
    parts = {LayerConfig: built.layer, Limits: built.limits, WebSocketOptions: built.websocket}
    assert parts.get(config, built) == config()
    singular = {"routes": "route", "push_keys": "push_key", "push_tokens": "push_token"}
    for field in fields(config):
        if field.name in ("layer", "limits", "websocket"):
            continue
        name = field.name.removesuffix("_s").removesuffix("_bytes")
        option = OPTIONS[prefix + singular.get(name, name)]
        assert isinstance(option, click.Option)
        assert option.help


def test_every_option_is_a_field() -> None:
    known = {"control_fd", "log_level", "version"}
    for config, prefix in (
        (InterfaceConfig, ""),
        (LayerConfig, ""),
        (Limits, ""),
        (WebSocketOptions, "ws_"),
    ):
        known |= {
            prefix + field.name.removesuffix("_s").removesuffix("_bytes")
            for field in fields(config)
        }
    assert {name for name in OPTIONS if name not in ("route", "push_key", "push_token")} <= known


def test_every_option_is_in_the_help_with_its_variable() -> None:
    text = " ".join(CliRunner().invoke(main, ["--help"]).stdout.split())
    for name in OPTIONS:
        if name not in ("control_fd", "version"):
            assert f"GATEWAY_{str(name).upper()}" in text


def test_every_option_reaches_its_field() -> None:
    config = config_from(
        parsed(
            *("--bind", "127.0.0.1:1", "--bind", "unix:/x", "--admin-bind", "127.0.0.1:2"),
            *("--redis", "redis://r/1", "--namespace", "n", "--lease", "7", "--http", "h11"),
            *("--processes", "3", "--no-access-log", "--route", "/a=b", "--queue-capacity", "9"),
            *("--queue-deadline", "8", "--graceful-timeout", "6", "--max-head", "5000"),
            *("--ws-max-size", "77", "--ws-ping-interval", "0", "--no-ws-deflate"),
            *("--push-bind", "[::]:3", "--push-key", "a=s=", "--push-token", "t"),
        )
    )
    assert config == InterfaceConfig(
        bind=("127.0.0.1:1", "unix:/x"),
        admin_bind="127.0.0.1:2",
        push_bind="[::]:3",
        push_keys=(("a", "s="),),
        push_tokens=("t",),
        layer=LayerConfig(redis="redis://r/1", namespace="n", lease_s=7.0),
        http="h11",
        processes=3,
        access_log=False,
        routes=(("/a", "b"),),
        queue_capacity=9,
        queue_deadline_s=8.0,
        graceful_timeout_s=6.0,
        limits=Limits(max_head_bytes=5000),
        websocket=WebSocketOptions(max_size=77, ping_interval_s=0.0, deflate=False),
    )


def test_prefix_of_a_route_may_hold_an_equals_sign() -> None:
    assert config_from(parsed("--route", "/a=b=pool")).routes == (("/a=b", "pool"),)


@pytest.mark.parametrize("route", ["admin", "/admin", "admin=pool", "/admin="])
def test_route_that_is_none_is_named(route: str) -> None:
    with pytest.raises(ConfigError, match="--route"):
        config_from(parsed("--route", route))


def test_key_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="--push-key: as in ACCESS=SECRET") as refused:
        config_from(parsed("--push-bind", "127.0.0.1:0", "--push-key", "hidden"))
    assert "hidden" not in str(refused.value)


def test_ready_line_names_the_port_of_the_push_api(start: Callable[..., Command]) -> None:
    command = start("--bind", "127.0.0.1:0", "--push-bind", "127.0.0.1:0", "--processes", "2")
    command.wait_until_ready()
    url = command.stderr.partition(", push API on ")[2].strip()
    assert get(url, "/v1/openapi.json") == b"HTTP/1.1 403 Forbidden"  # "here" is no loopback
    assert command.end() == 0


@pytest.mark.parametrize("option", ["--window", "--max-head", "--max-headers"])
def test_limit_that_lets_nothing_through_is_named(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} 0: at least 1"):
        config_from(parsed(option, "0"))


def test_ready_line_names_the_chosen_port_which_answers(start: Callable[..., Command]) -> None:
    command = start("--bind", "127.0.0.1:0", "--queue-deadline", "0.1")
    (url,) = command.wait_until_ready()
    assert get(url, "/").startswith(b"HTTP/1.1 50")
    assert command.end() == 0


def test_processes_are_counted_in_the_ready_line(start: Callable[..., Command]) -> None:
    command = start("--bind", "127.0.0.1:0", "--processes", "2")
    command.wait_until_ready()
    assert "(2 processes)\n" in command.stderr
    assert command.end() == 0


def test_taken_port_is_one_line_and_status_1(start: Callable[..., Command]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = start("--bind", address, "--processes", "2")
        assert command.process.wait(20) == 1
    assert command.stderr == f"gateway-interface: {address} is already in use\n"


def test_address_that_is_none_is_one_line_and_status_2(start: Callable[..., Command]) -> None:
    command = start("--bind", "8000")
    assert command.process.wait(20) == 2
    assert command.stderr.startswith("gateway-interface: --bind 8000: write host:port, as in ")
    assert command.stderr.count("\n") == 1


def test_wrong_address_of_a_variable_names_the_variable() -> None:
    result = CliRunner().invoke(main, [], env={"GATEWAY_BIND": "8000"})
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway-interface: GATEWAY_BIND=8000: write host:port")


def test_wrong_redis_is_one_line_before_anything_is_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(main, ["--bind", bind, "--redis", "localhost"])
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway-interface: --redis: the URL must begin with")
    assert result.stderr.count("\n") == 1


def test_admin_address_is_served_by_the_first_process_and_its_heir(
    start: Callable[..., Command],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = f"127.0.0.1:{free.getsockname()[1]}"
    command = start("--bind", "127.0.0.1:0", "--admin-bind", admin, "--processes", "2")
    command.wait_until_ready()
    assert get(admin, "/healthz") == b"HTTP/1.1 200 OK"
    parent = command.process.pid
    first = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0]
    os.kill(int(first), signal.SIGKILL)
    assert get(admin, "/healthz") == b"HTTP/1.1 200 OK"
    assert command.end() == 0


def test_unix_socket_is_removed_at_the_end(start: Callable[..., Command], tmp_path: Path) -> None:
    path = tmp_path / "gw.sock"
    command = start("--bind", f"unix:{path}")
    assert command.wait_until_ready() == [f"unix:{path}"]
    assert path.is_socket()
    assert command.end() == 0
    assert not path.exists()
