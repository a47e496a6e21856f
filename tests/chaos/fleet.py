"""What the proofs break: interface servers, workers, a Redis, and a process of clients."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gateway_layer.embedded import EmbeddedServer
from tests.chaos.judge import Kill
from tests.chaos.scale import Scale
from tests.end_to_end.processes import Command, Launcher, children_of, wait_until

ROOT = Path(__file__).resolve().parents[2]
_APP = "tests.chaos.apps:site"
_SETTLE_S = 45.0
"""Beyond the time after which a request hangs."""


class Clients:
    """The process of clients; its commands are the coroutines of `tests.chaos.load.Load`."""

    def __init__(self, ports: Sequence[int]) -> None:
        argv = [sys.executable, "-m", "tests.chaos.load", *map(str, ports)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
        )

    def ask(self, command: str, *, timeout_s: float = 40.0, **arguments: Any) -> Any:
        """Have a command carried out, and return its result.

        Raises:
            AssertionError: It failed, or took longer than `timeout_s`.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None, "started with a pipe"
        assert stdout is not None, "started with a pipe"
        stdin.write(json.dumps([command, arguments]).encode() + b"\n")
        stdin.flush()
        # Nothing is left in the reader's buffer: an answer is one line, read whole before we ask.
        ready = select.select([stdout], [], [], timeout_s)[0]
        assert ready, f"clients, asked to {command}: no answer within {timeout_s:g} s"
        answer = json.loads(stdout.readline() or '{"error": "they ended"}')
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"clients, asked to {command}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None, "started with a pipe"
        assert self._process.stdout is not None, "started with a pipe"
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class Fleet:
    """Two interface servers and three workers, each with a supervisor of its own.

    Attributes:
        redis: Their Redis.
        interfaces: The supervisors of the interface servers.
        workers: The supervisors of the workers.
        clients: The process of clients.
    """

    def __init__(self, folder: Path, redis: EmbeddedServer, scale: Scale) -> None:
        self.redis = redis
        self.scale = scale
        self.launcher = Launcher(folder, redis.url)
        self.interfaces: list[Command] = []
        self.workers: list[Command] = []
        self.clients: Clients
        self._folder = folder

    def interface(self, *args: str, redis: str = "") -> Command:
        """Start an interface server and do not wait for it."""
        layer = self._layer(redis)
        arguments = ("--bind", "127.0.0.1:0", "--no-access-log", *layer, *args)
        self.interfaces.append(self.launcher.run("gateway-interface", *arguments))
        return self.interfaces[-1]

    def worker(self, *args: str, redis: str = "") -> Command:
        """Start a worker and do not wait for it."""
        command = self.launcher.run(
            "gateway-worker",
            *(_APP, "--app-dir", str(ROOT), *self._layer(redis), *args),
            NOTES=str(self._folder),
            CHAOS_REDIS=self.redis.url,
            CHAOS_NAMESPACE=self.launcher.namespace,
        )
        self.workers.append(command)
        return command

    def _layer(self, redis: str) -> tuple[str, ...]:
        url, lease = redis or self.redis.url, f"{self.scale.lease_s:g}"
        return ("--redis", url, "--namespace", self.launcher.namespace, "--lease", lease)

    def wait_ready(self) -> None:
        """Wait until all serve, then start the clients."""
        for command in (*self.interfaces, *self.workers):
            command.wait_ready()
            assert command.child, "ready with a child"
        self.clients = Clients([command.address[1] for command in self.interfaces])

    def begin(self, path: str = "/count") -> None:
        """Open the WebSockets, and let all clients begin."""
        self.clients.ask("open", count=self.scale.sockets, path=path)
        self.clients.ask("begin", period_s=self.scale.period_s, askers=self.scale.askers)

    def finish(self) -> dict[str, Any]:
        """Let all clients end, and return what they saw; see `Load.finish`."""
        report = self.clients.ask("finish", settle_s=_SETTLE_S, timeout_s=2 * _SETTLE_S)
        assert isinstance(report, dict), "a report"
        return report

    @property
    def at_redis(self) -> dict[str, Any]:
        """Say to the clients where Redis is."""
        return {"redis": self.redis.url, "namespace": self.launcher.namespace}

    def notes(self, kind: str, os_pid: int | str = "*") -> list[list[str]]:
        """Return the words of all notes of a kind, of one process or of all."""
        files = self._folder.glob(f"{kind}-{os_pid}")
        return [line.split(" ") for file in files for line in file.read_text().splitlines()]

    def close(self) -> None:
        """End everything."""
        if hasattr(self, "clients"):
            self.clients.close()
        self.launcher.close()


@contextmanager
def fleet(
    folder: Path,
    scale: Scale,
    *,
    workers: int = 3,
    options: Sequence[str] = (),
    redis: EmbeddedServer | None = None,
    ways: Sequence[str] = ("", ""),
) -> Iterator[Fleet]:
    """Run two interface servers, some workers and the clients.

    Args:
        folder: For what they write and note; new.
        scale: Sets the lease, and what `begin` begins.
        workers: How many.
        options: More options of the interface servers.
        redis: Their server, running; None: one of their own.
        ways: URLs by which the first interface server, and the first worker, reach it.
    """
    raise_file_limit()
    with ExitStack() as stack:
        found = Fleet(folder, redis or stack.enter_context(EmbeddedServer()), scale)
        stack.callback(found.close)
        for number in range(workers):
            found.worker(redis="" if number else ways[1])
        for number in range(2):
            found.interface(*options, redis="" if number else ways[0])
        try:
            found.wait_ready()
            yield found
        except BaseException:
            print(found.launcher.everything_written(), file=sys.stderr)  # noqa: T201
            raise


def raise_file_limit() -> None:
    """Allow this process and its children as many open files as the system does."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def kill_child(command: Command, *, replaced: bool = True) -> tuple[int, Kill]:
    """SIGKILL a supervisor's child; return its number and when that was.

    Where it is not to be replaced the supervisor is ended with it.
    """
    child = command.child
    at = time.monotonic()
    os.kill(child, signal.SIGKILL)
    if not replaced:
        command.signal(signal.SIGTERM)
    wait_until(lambda: child not in children_of(command.process.pid), "the end of the child")
    return child, Kill(at, time.monotonic())


def kill_both(command: Command) -> int:
    """SIGKILL a child with its supervisor, so that nobody tells of it; return the child."""
    child = command.child
    command.kill()
    return child


def serving(command: Command) -> bool:
    """Whether a supervisor has a child now."""
    return bool(children_of(command.process.pid))
