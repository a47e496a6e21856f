import os
import signal
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

from gateway_layer.config import LayerConfig
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ConfigError
from gateway_worker.cli import config_from, main
from gateway_worker.config import WorkerConfig

OPTIONS = {param.name: param for param in main.params}
APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        event = await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
"""
FAILING_APP = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


def parsed(*args: str) -> dict[str, Any]:
    context = main.make_context("gateway-worker", list(args))
    return context.params


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Command:
    """One run of gateway-worker in a folder with the application `site_app.py`."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.folder = folder
        with (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway_worker", *args],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def children(self) -> list[int]:
        parent = self.process.pid
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return [int(word) for word in text.split()]

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.stderr)

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

    def start(*args: str, app: str = APP) -> Command:
        (tmp_path / "site_app.py").write_text(app)
        commands.append(Command(tmp_path, *args, "--redis", redis_url))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.wait()


@pytest.mark.parametrize("config", [WorkerConfig, LayerConfig])
def test_every_field_has_an_option_with_help(config: type) -> None:
    singular = {"reload_dirs": "reload_dir"}
    for field in fields(config):
        if field.name in ("app", "layer"):
            continue
        name = field.name.removesuffix("_s").removesuffix("_bytes")
        option = OPTIONS[singular.get(name, name)]
        assert isinstance(option, click.Option)
        assert option.help


def test_every_option_is_a_field() -> None:
    known = {"control_fd", "log_level", "version", "reload_dir"}
    for config in (WorkerConfig, LayerConfig):
        known |= {field.name.removesuffix("_s").removesuffix("_bytes") for field in fields(config)}
    assert set(OPTIONS) <= known


def test_defaults_are_those_of_the_dataclasses() -> None:
    assert config_from(parsed("m:app")) == WorkerConfig(app="m:app")


def test_every_option_is_in_the_help_with_its_variable() -> None:
    text = " ".join(CliRunner().invoke(main, ["--help"]).stdout.split())
    for name in OPTIONS:
        if name not in ("control_fd", "version"):
            assert f"GATEWAY_{str(name).upper()}" in text


def test_every_option_reaches_its_field() -> None:
    config = config_from(
        parsed(
            *("m:app.inner", "--app-dir", "/srv", "--factory", "--lifespan", "on"),
            *("--lifespan-timeout", "1.5", "--processes", "2", "--limit-max-requests", "10"),
            *("--limit-max-requests-jitter", "5", "--graceful-timeout", "4", "--queue", "slow"),
            *("--redis", "redis://r/1", "--namespace", "n", "--lease", "7", "--concurrency", "3"),
            *("--websocket-concurrency", "6", "--window", "1000", "--reload"),
            *("--protocols", "http,line", "--protocols", "mqtt"),
            *("--reload-dir", "a", "--reload-dir", "b"),
        )
    )
    assert config == WorkerConfig(
        app="m:app.inner",
        app_dir="/srv",
        factory=True,
        lifespan="on",
        lifespan_timeout_s=1.5,
        processes=2,
        limit_max_requests=10,
        limit_max_requests_jitter=5,
        graceful_timeout_s=4.0,
        queue="slow",
        layer=LayerConfig(redis="redis://r/1", namespace="n", lease_s=7.0),
        protocols=("http", "line", "mqtt"),
        concurrency=3,
        websocket_concurrency=6,
        window_bytes=1000,
        reload=True,
        reload_dirs=("a", "b"),
    )


@pytest.mark.parametrize("option", ["--window", "--concurrency", "--websocket-concurrency"])
def test_limit_that_lets_nothing_through_is_named(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} 0: at least 1"):
        config_from(parsed("m:app", option, "0"))


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (",", "at least one"),
        ("http,http", "named twice"),
        *((name, "the name of another protocol") for name in ("Line", "a.b", "lifespan", "x" * 33)),
    ],
)
def test_what_is_no_list_of_protocols_is_refused(names: str, error: str) -> None:
    with pytest.raises(ConfigError, match=f"--protocols.*{error}"):
        config_from(parsed("m:app", "--protocols", names))


def test_application_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_APP", "m:app")
    assert parsed()["app"] == "m:app"


def test_missing_application_is_one_line_and_status_2() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert result.stderr == "gateway-worker: Missing argument 'MODULE:ATTRIBUTE'.\n"


def test_ready_line_names_the_application(start: Callable[..., Command]) -> None:
    command = start("site_app:app", "--processes", "2")
    command.wait_for("gateway-worker ready: site_app:app (2 processes)\n")
    assert command.end() == 0


def test_wrong_application_is_one_line_and_status_2(start: Callable[..., Command]) -> None:
    command = start("site_app:missing", "--processes", "2")
    assert command.process.wait(20) == 2
    assert command.stderr.startswith("gateway-worker: ")
    assert command.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--reload"]])
def test_wrong_application_folder_is_blamed_on_its_option(options: list[str]) -> None:
    result = CliRunner().invoke(main, ["m:app", "--app-dir", "/nonexistent", *options])
    assert result.exit_code == 2
    assert result.stderr == "gateway-worker: --app-dir /nonexistent: there is no such folder\n"


def test_wrong_redis_is_one_line() -> None:
    result = CliRunner().invoke(main, ["m:app", "--redis", "localhost"])
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway-worker: --redis: the URL must begin with")
    assert result.stderr.count("\n") == 1


def test_import_error_keeps_its_traceback(start: Callable[..., Command]) -> None:
    command = start("site_app:app", app="import no_such_package\n")
    assert command.process.wait(20) == 1
    first, second, third, *_ = command.stderr.splitlines()
    assert first == "gateway-worker: importing site_app:app failed"
    assert second == "Traceback (most recent call last):"
    assert third.startswith(f'  File "{command.folder}/site_app.py", line 1')
    assert "No module named 'no_such_package'" in command.stderr
    assert "could not be announced" not in command.stderr


def test_application_finds_the_gateway_in_its_environment(
    start: Callable[..., Command], redis_url: str
) -> None:
    names = ("GATEWAY_REDIS", "GATEWAY_NAMESPACE")
    shows = f"import os, sys\nprint(*map(os.environ.get, {names}), file=sys.stderr)\n"
    command = start("site_app:app", "--namespace", "shown", app=shows + APP)
    command.wait_for(f"{redis_url} shown\n")


def test_failed_start_up_of_the_application_is_status_3(start: Callable[..., Command]) -> None:
    command = start("site_app:app", app=FAILING_APP)
    assert command.process.wait(20) == 3
    assert "no database" in command.stderr


def test_folder_to_watch_that_is_none_is_one_line_and_status_2(
    start: Callable[..., Command],
) -> None:
    command = start("site_app:app", "--reload", "--reload-dir", "nowhere")
    assert command.process.wait(20) == 2
    assert command.stderr == "gateway-worker: --reload-dir nowhere: there is no such folder\n"


def test_changed_application_is_loaded_by_a_new_process(start: Callable[..., Command]) -> None:
    command = start("site_app:app", "--reload", app="import os\n" + APP)
    command.wait_for(" ready: ")
    before = command.children()
    told = command.folder / "told"
    news = f"open({str(told)!r}, 'w').close()\n"
    (command.folder / "site_app.py").write_text(news + APP)
    wait_until(told.exists)
    wait_until(lambda: len(set(command.children()) & set(before)) == 1)  # the watcher
    assert command.end() == 0


def test_killed_process_is_started_again(start: Callable[..., Command]) -> None:
    command = start("site_app:app")
    command.wait_for(" ready: ")
    (child,) = command.children()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: len(set(command.children()) - {child}) == 1)
    command.wait_for("was killed by SIGKILL, next start in 0 s")
    assert command.end() == 0
