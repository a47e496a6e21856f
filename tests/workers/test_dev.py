import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway_worker.dev import main

APP = """
import os

answer = "first"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    text = os.environ["GATEWAY_REDIS"] if scope["path"] == "/redis" else answer
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def descendants(os_pid: int) -> list[int]:
    """Return the process and all below it that run."""
    try:
        words = Path(f"/proc/{os_pid}/task/{os_pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [os_pid, *(found for word in words for found in descendants(int(word)))]


def command_of(os_pid: int) -> str:
    try:
        return Path(f"/proc/{os_pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


class Dev:
    """One run of gateway-dev in a folder with the application `site_app.py`."""

    def __init__(self, folder: Path, *args: str, **variables: str) -> None:
        self.folder = folder
        env = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
        with (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway_worker.dev", *args],
                cwd=folder,
                env=env | variables,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.stderr)

    def wait_until_ready(self) -> None:
        self.wait_for("gateway-dev ready: http://127.0.0.1:")

    def get(self, path: str) -> str:
        """Return the body of the answer; empty when the connection is refused or cut."""
        url = self.stderr.partition(" ready: http://")[2].split()[0]
        host, _, port = url.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=10) as client:
                request = f"GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"
                client.sendall(request.encode())
                raw = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            return ""
        return raw.partition(b"\r\n\r\n")[2].decode()

    def find(self, text: str) -> int:
        """Return the first process of this run whose command line holds the text."""
        return next(
            found for found in descendants(self.process.pid)[1:] if text in command_of(found)
        )

    def end(self) -> int:
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    runs: list[Dev] = []

    def start(
        *args: str,
        app: str = "site_app:app",
        bind: str = "127.0.0.1:0",
        source: str = APP,
        **variables: str,
    ) -> Dev:
        (tmp_path / "site_app.py").write_text(source)
        runs.append(Dev(tmp_path, app, "--bind", bind, *args, **variables))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


def test_serves_the_application_at_the_url_of_its_ready_line(start: Callable[..., Dev]) -> None:
    dev = start("--workers", "2")
    dev.wait_until_ready()
    assert dev.stderr.endswith("(2 workers)\n")
    assert dev.get("/") == "first"


def test_application_finds_redis_in_its_environment(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.wait_until_ready()
    assert dev.get("/redis").startswith("unix:///")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_with_status_0_and_leaves_nothing(
    start: Callable[..., Dev], number: signal.Signals
) -> None:
    dev = start("--workers", "2")
    dev.wait_until_ready()
    everything = descendants(dev.process.pid)
    os.killpg(dev.process.pid, number)  # as a terminal does it
    assert dev.end() == 0
    wait_until(lambda: not any(map(descendants, everything)))
    assert dev.stderr.count("\n") == 1


def test_nothing_survives_when_it_is_killed(start: Callable[..., Dev]) -> None:
    dev = start("--workers", "2", "--graceful-timeout", "0.5")
    dev.wait_until_ready()
    everything = descendants(dev.process.pid)
    assert len(everything) >= 7  # itself, Redis and its watch, two parents, three children
    dev.process.kill()
    dev.process.wait()
    wait_until(lambda: not any(map(descendants, everything)))


def test_change_of_the_application_shows_in_the_answer(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.wait_until_ready()
    assert dev.get("/") == "first"
    (dev.folder / "site_app.py").write_text(APP.replace("first", "second"))
    wait_until(lambda: dev.get("/") == "second")


def test_without_reload_a_change_is_not_seen(start: Callable[..., Dev]) -> None:
    dev = start("--no-reload")
    dev.wait_until_ready()
    worker = dev.find("gateway_worker ")
    assert len(descendants(worker)) == 2  # the parent and its child, no watcher


def test_taken_port_is_one_line_and_status_1(start: Callable[..., Dev]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        dev = start(bind=address)
        assert dev.end() == 1
    assert dev.stderr == f"gateway-dev: {address} is already in use\n"


def refused(*args: str, **env: str) -> str:
    """Return what a run says that ends before anything was started."""
    # No server can be found on this PATH, but it is not looked for.
    result = CliRunner().invoke(main, ["m:app", *args], env={"PATH": ""} | env)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_wrong_address_is_told_before_anything_starts() -> None:
    assert refused("--bind", "8000").startswith("gateway-dev: --bind 8000: write host:port, as in ")


def test_wrong_folder_is_told_before_anything_starts() -> None:
    line = "gateway-dev: --app-dir /nonexistent: there is no such folder\n"
    assert refused("--app-dir", "/nonexistent") == line


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GATEWAY_BIND", "8000", "GATEWAY_BIND=8000: write host:port"),
        ("GATEWAY_APP_DIR", "/nonexistent", "GATEWAY_APP_DIR=/nonexistent: there is no such"),
        ("GATEWAY_REDIS", "localhost", "GATEWAY_REDIS: the URL must begin with"),
        ("GATEWAY_WORKERS", "two", "Invalid value for GATEWAY_WORKERS: 'two' is not a whole"),
        ("GATEWAY_RELOAD", "maybe", "Invalid value for GATEWAY_RELOAD: 'maybe' is neither"),
        ("GATEWAY_LEASE", "x", "Invalid value for GATEWAY_LEASE: 'x' is not a number"),
        ("GATEWAY_LEASE", "0.1", "GATEWAY_LEASE=0.1: from 0.5"),
    ],
)
def test_wrong_variable_is_told_once(variable: str, value: str, words: str) -> None:
    assert refused(**{variable: value}).startswith(f"gateway-dev: {words}")


def test_wrong_variable_of_the_interface_server_is_told_once(start: Callable[..., Dev]) -> None:
    dev = start(GATEWAY_QUEUE_CAPACITY="x")
    assert dev.end() == 2
    assert dev.stderr == (
        "gateway-interface: Invalid value for GATEWAY_QUEUE_CAPACITY: 'x' is not a whole number\n"
    )


def test_error_in_the_application_is_told_with_its_own_lines(start: Callable[..., Dev]) -> None:
    dev = start(source="def f(:\n")
    assert dev.end() == 1
    first, second, *_, last = dev.stderr.splitlines()
    assert first == "gateway-worker: importing site_app:app failed"
    assert second == f'  File "{dev.folder}/site_app.py", line 1'
    assert last.startswith("SyntaxError: ")


def test_wrong_application_is_one_line_and_status_2(start: Callable[..., Dev]) -> None:
    dev = start("--workers", "2", app="site_app:missing")
    assert dev.end() == 2
    assert dev.stderr.startswith("gateway-worker: ")
    assert dev.stderr.count("\n") == 1


def test_death_of_a_part_ends_everything(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.wait_until_ready()
    everything = descendants(dev.process.pid)
    os.kill(dev.find("gateway_interface"), signal.SIGKILL)
    assert dev.end() == 128 + signal.SIGKILL
    assert "gateway_interface was killed by SIGKILL" in dev.stderr
    wait_until(lambda: not any(map(descendants, everything)))


def test_death_of_the_private_server_ends_everything(start: Callable[..., Dev]) -> None:
    dev = start("--graceful-timeout", "0.5")
    dev.wait_until_ready()
    os.kill(dev.find("redis.sock"), signal.SIGKILL)
    assert dev.end() == 1
    assert "the embedded Redis server ended by itself" in dev.stderr
