"""The servers under test: start, readiness, CPU, rounds in turn, end."""

import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import redis

from benchmarks import procfs
from gateway_layer.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
START_S = 20.0
STOP_S = 10.0
PACKAGES = ("layer", "interface_server", "workers")
WSGI_THREADS = 10
"""What a worker of the gateway has by default."""

T = TypeVar("T")


class BenchmarkError(Exception):
    """A benchmark could not be carried out; the text says what is in its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long to measure, and what."""

    quick: bool = False
    """Fewer and shorter rounds, smaller streams: does it work, rather than does it hold."""

    null: bool = False
    """uvicorn on both sides: how far the ratios stray on this machine by themselves."""

    @property
    def rounds(self) -> int:
        """Rounds of each pair."""
        return 3 if self.quick else 9

    @property
    def round_s(self) -> float:
        """Length of each side of a round."""
        return 1.0 if self.quick else 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A running server or gateway.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        parts: Name of each part of it to the pid of its root process.
        redis_url: Its Redis; None for uvicorn.
    """

    port: int
    parts: Mapping[str, int]
    redis_url: str | None = None

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time each part has used so far, in seconds."""
        return {part: procfs.cpu_s(root) for part, root in self.parts.items()}

    def cpu_us_each(self, since: Mapping[str, float], count: int) -> dict[str, float]:
        """Return the CPU time of each part since `cpu_s()` gave that, in µs for each of `count`."""
        return {part: (now - since[part]) / count * 1e6 for part, now in self.cpu_s().items()}

    def redis_commands(self) -> int:
        """Return how many commands its Redis has carried out so far; 0 without one."""
        if self.redis_url is None:
            return 0
        with redis.Redis.from_url(self.redis_url) as client:
            stats = cast(dict[str, dict[str, Any]], client.info("commandstats"))
        return sum(int(command["calls"]) for command in stats.values())


@contextmanager
def uvicorn(
    app: str, *, http: str = "httptools", workers: int = 1, module: str = "apps"
) -> Iterator[Subject]:
    """Serve `benchmarks.<module>:<app>` with uvicorn on uvloop, without access log."""
    port = _free_port()
    argv = [sys.executable, "-m", "uvicorn", f"benchmarks.{module}:{app}", "--app-dir", str(ROOT)]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", http]
    argv += ["--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    with (
        TemporaryDirectory(prefix="gateway-bench-") as scratch,
        _process(argv, Path(scratch, "uvicorn.log")) as server,
    ):
        server.wait_until(lambda: _accepts(port), "to accept connections")
        yield Subject(port=port, parts={"uvicorn": server.pid})


@contextmanager
def gunicorn(app: str, *, module: str = "apps") -> Iterator[Subject]:
    """Serve the WSGI application `benchmarks.<module>:<app>` with gunicorn's threaded worker.

    It has one worker process and as many threads as a worker of the gateway has by default.
    """
    port = _free_port()
    argv = [sys.executable, "-m", "gunicorn", f"benchmarks.{module}:{app}"]
    argv += ["--chdir", str(ROOT), "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    argv += ["--workers", "1", "--threads", str(WSGI_THREADS), "--log-level", "warning"]
    with (
        TemporaryDirectory(prefix="gateway-bench-") as scratch,
        _process(argv, Path(scratch, "gunicorn.log")) as server,
    ):
        server.wait_until(lambda: _accepts(port), "to accept connections")
        yield Subject(port=port, parts={"gunicorn": server.pid})


@contextmanager
def gateway(
    app: str,
    *,
    http: str = "auto",
    workers: int = 1,
    module: str = "apps",
    worker_options: tuple[str, ...] = (),
    tree: Path | None = None,
) -> Iterator[Subject]:
    """Serve `benchmarks.<module>:<app>` with one interface server, `workers` workers and a Redis.

    The Redis is its own: nothing else is in its memory, CPU time and command counts.
    `worker_options` are more of gateway-worker's; `tree` is another revision of the source.
    """
    port, admin_port = _free_port(), _free_port()
    binaries = Path(sys.executable).parent
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="gateway-bench-")))
        server = stack.enter_context(EmbeddedServer())
        argv = [str(binaries / "gateway-interface"), "--bind", f"127.0.0.1:{port}"]
        argv += ["--redis", server.url, "--http", http, "--processes", "1"]
        argv += ["--admin-bind", f"127.0.0.1:{admin_port}", "--no-access-log"]
        interface = stack.enter_context(_process(argv, scratch / "interface.log", tree))
        argv = [str(binaries / "gateway-worker"), f"benchmarks.{module}:{app}"]
        argv += ["--redis", server.url, "--processes", str(workers), "--app-dir", str(ROOT)]
        argv += worker_options
        worker = stack.enter_context(_process(argv, scratch / "worker.log", tree))
        interface.wait_until(lambda: _answers_200(admin_port, "/readyz"), "to be ready")
        worker.wait_until(lambda: "ready" in worker.output(), "to be ready")
        parts = {"interface": interface.pid, "worker": worker.pid, "redis": server.pid}
        yield Subject(port=port, parts=parts, redis_url=server.url)


@contextmanager
def under_test(
    settings: Settings, app: str, *, http: str = "auto", workers: int = 1
) -> Iterator[Subject]:
    """Serve with the gateway, or with uvicorn where the settings ask for the null comparison."""
    if settings.null:
        parser = "httptools" if http == "auto" else http
        with uvicorn(app, http=parser, workers=workers) as subject:
            yield subject
    else:
        with gateway(app, http=http, workers=workers) as subject:
            yield subject


def in_turn(rounds: int, ours: Callable[[], T], theirs: Callable[[], T]) -> tuple[list[T], list[T]]:
    """Measure two sides in turn and return the results of each, round by round.

    Each round begins with the side that ended the one before (A B, B A, A B, …), so that a machine
    that slows down steadily favours neither.
    """
    first: list[T] = []
    second: list[T] = []
    for number in range(rounds):
        if number % 2:
            second.append(theirs())
            first.append(ours())
        else:
            first.append(ours())
            second.append(theirs())
    return first, second


def prepare() -> None:
    """Raise the limit of open files for us and our children; let SIGTERM end them with us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, _exit_on_signal)


def _exit_on_signal(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


class _Server:
    """A server process of ours, in a process group of its own."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self._popen = popen
        self._log = log
        self.pid = popen.pid

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if self._ended() or time.monotonic() > deadline:
                command = " ".join(map(str, cast(list[str], self._popen.args)))
                raise BenchmarkError(f"waited for this {what}: {command}\n{self.output()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if not self._ended():
            self._popen.terminate()
        deadline = time.monotonic() + STOP_S
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        # The unreaped leader keeps the group's number from being given to anybody else.
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def _ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@contextmanager
def _process(argv: list[str], log: Path, tree: Path | None = None) -> Iterator[_Server]:
    environment = dict(os.environ)
    if tree is not None:  # in front of where this one is installed from
        environment["PYTHONPATH"] = os.pathsep.join(str(tree / folder) for folder in PACKAGES)
    with log.open("wb") as output:
        try:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchmarkError(f"cannot start {argv[0]}: {error}") from error
    server = _Server(popen, log)
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers_200(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
