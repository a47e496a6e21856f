"""The option `--channels` of the command `gateway-worker`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ConfigError
from gateway_worker.cli import config_from, main
from gateway_worker.config import WorkerConfig

TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.01)


APP = """
import asyncio, os, signal
from gateway_worker.routing import ChannelNameRouter, ProtocolTypeRouter

def note(text):
    with open("notes", "a") as file:
        file.write(text + "\\n")

async def work(scope, receive, send):
    while True:
        message = await receive()
        note(f"began {message['n']}")
        if message["n"] == 1:
            os.kill(os.getppid(), signal.SIGTERM)
            while not os.path.exists("gate"):
                await asyncio.sleep(0.01)
        note(f"handled {message['n']}")

app = ProtocolTypeRouter({"channel": ChannelNameRouter({"work": work})})
"""


def parsed(*args: str) -> dict[str, Any]:
    return main.make_context("gateway-worker", list(args)).params


@pytest.mark.parametrize("args", [["a,b.c"], ["a", "--channels", "b.c"], [" a , b.c,"]])
def test_channels_are_parted_by_commas_or_given_several_times(args: list[str]) -> None:
    assert config_from(parsed("m:app", "--channels", *args)).channels == ("a", "b.c")


def test_channels_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CHANNELS", "a,b c")
    assert config_from(parsed("m:app")).channels == ("a", "b", "c")


@pytest.mark.parametrize("name", ["a b", "a!b", "x" * 100, "é"])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--channels '.*': fewer than 100"):
        config_from(parsed("m:app", "--channels", name))


def test_channel_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="--channels: a channel is named twice"):
        WorkerConfig(app="m:app", channels=("a", "a"))


def start_command(folder: Path, redis_url: str, namespace: str) -> subprocess.Popen[bytes]:
    arguments = ["site_app:app", "--channels", "work", "--redis", redis_url]
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway_worker", *arguments, "--namespace", namespace],
            cwd=folder,
            env={name: text for name, text in os.environ.items() if "GATEWAY_" not in name},
            stderr=stderr,
        )


async def test_sigterm_lets_the_message_under_way_be_handled(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    namespace = "mine"
    layer = RedisChannelLayer([server.url], prefix=f"{namespace}-channels")
    (tmp_path / "site_app.py").write_text(APP)
    process = start_command(tmp_path, server.url, namespace)
    try:
        for n in range(3):
            await layer.send("work", {"type": "job", "n": n})
        notes = tmp_path / "notes"
        await until(lambda: notes.exists() and "began 1" in notes.read_text())
        (tmp_path / "gate").touch()
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0, (tmp_path / "stderr").read_text()
        assert notes.read_text().split("\n")[:-1] == [
            "began 0",
            "handled 0",
            "began 1",
            "handled 1",
        ]
        assert (await layer.receive("work"))["n"] == 2
    finally:
        process.kill()
        process.wait()
        await layer.close_pools()
