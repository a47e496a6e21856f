"""The gateway's commands as real processes, and raw sockets to talk to them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

TIMEOUT_S = 30.0
"""Longest wait for anything: a limit for a slow machine, never a delay."""

APPS = Path(__file__).parent
_BIN = Path(sys.executable).parent


def wait_until(condition: Callable[[], object], what: str = "it", timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.01)


def children_of(os_pid: int) -> list[int]:
    try:
        words = Path(f"/proc/{os_pid}/task/{os_pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [int(word) for word in words]


def runs(os_pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def send_signal(os_pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that a `Command` of the test started."""
    os.kill(os_pid, number)


class Command:
    """One run of a command of the gateway; what it writes is kept in files."""

    def __init__(self, folder: Path, command: str, *args: str, **env: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        inherited = {name: text for name, text in os.environ.items() if "GATEWAY_" not in name}
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [_BIN / command, *args],
                cwd=folder,
                env=inherited | env,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self._name = command
        self._known: set[int] = set()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def wait_for(self, text: str) -> None:
        try:
            wait_until(lambda: text in self.stderr or self.process.poll() is not None, text)
        finally:
            self._known.update(self.children)
        assert text in self.stderr, f"{self._name} ended without {text!r}:\n{self.stderr}"

    def wait_ready(self) -> None:
        self.wait_for(f"{self._name} ready: ")

    @property
    def urls(self) -> list[str]:
        """The addresses in the ready line."""
        return re.findall(r"(?:http://|unix:)\S+", self.stderr.partition(" ready: ")[2])

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.urls[0].removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def children(self) -> list[int]:
        return children_of(self.process.pid)

    @property
    def child(self) -> int:
        """The system's number of the only child."""
        wait_until(lambda: self.children, "a child")
        (child,) = self.children
        self._known.add(child)
        return child

    def wait_for_new_child(self, old: int) -> int:
        wait_until(lambda: self.children and self.children != [old], "a new child")
        return self.child

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """End as an operator does it, and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_S)

    def kill(self) -> None:
        """End it for good, at once, with the children that it had.

        All are stopped first: a child that saw its parent die would begin to hand over.
        """
        ours = []
        if self.process.poll() is None:
            self.signal(signal.SIGSTOP)
            self._known.update(self.children)
        for child in self._known:
            # The number may be another's by now: only one of our session is ours.
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(child) == self.process.pid:
                    os.kill(child, signal.SIGSTOP)
                    ours.append(child)
        for child in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        wait_until(lambda: not any(map(runs, ours)), "the end of the children")


class Launcher:
    """Starts commands in folders of their own, and ends them all."""

    def __init__(self, folder: Path, redis_url: str, namespace: str = "gw") -> None:
        self.folder = folder
        self.namespace = namespace
        self.layer = ("--redis", redis_url, "--namespace", namespace)
        self.commands: list[Command] = []
        self._numbers = count(1)

    def run(self, command: str, *args: str, **env: str) -> Command:
        """Start a command without any option of ours."""
        folder = self.folder / f"{next(self._numbers)}-{command}"
        self.commands.append(Command(folder, command, *args, **env))
        return self.commands[-1]

    def interface(self, *args: str, bind: str = "127.0.0.1:0") -> Command:
        """Start an interface server and wait until it serves."""
        command = self.run("gateway-interface", "--bind", bind, *self.layer, *args)
        command.wait_ready()
        return command

    def worker(self, *args: str, app: str = "apps:site", ready: bool = True) -> Command:
        """Start a worker with an application of this folder."""
        command = self.run(
            "gateway-worker",
            *(app, "--app-dir", str(APPS), *self.layer),
            *args,
            NOTES=str(self.folder),
        )
        if ready:
            command.wait_ready()
        return command

    def notes(self, name: str) -> list[str]:
        """What the application has noted under a name, so far."""
        try:
            return (self.folder / f"note-{name}").read_text().splitlines()
        except FileNotFoundError:
            return []

    def wait_for_note(self, name: str, number: int = 1) -> list[str]:
        wait_until(lambda: len(self.notes(name)) >= number, f"a note {name!r}")
        return self.notes(name)

    def open_gate(self, name: str) -> None:
        """Let the application go on that waits at a gate of this name."""
        (self.folder / f"gate-{name}").touch()

    def everything_written(self) -> str:
        return "\n".join(
            f"--- {command.folder.name}\n{command.stderr}" for command in self.commands
        )

    def close(self) -> None:
        for command in self.commands:
            command.kill()


class Gateway:
    """An interface server and a worker that serve together."""

    def __init__(self, launcher: Launcher, interface: Command, worker: Command) -> None:
        self.launcher = launcher
        self.interface = interface
        self.worker = worker

    @property
    def url(self) -> str:
        return self.interface.urls[0]

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def connect(self) -> "RawClient":
        return RawClient(socket.create_connection(self.interface.address, timeout=TIMEOUT_S))

    def request(self, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> "Answer":
        """Send one request on a connection of its own, and read the answer to the end."""
        with self.connect() as client:
            client.send(request(path, *fields, "connection: close", method=method) + body)
            return client.answer(method)


class Answer:
    """One HTTP response as it was on the wire."""

    def __init__(self, head: bytes, body: bytes, whole: bool) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.version, _, rest = first.partition(" ")
        self.status = int(rest[:3])
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self.body = body
        self.whole = whole


class RawClient:
    """A socket of which the test knows every byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _receive(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def until(self, end: bytes) -> bytes:
        """Read up to and with `end`, or to the end of the connection."""
        while end not in self._buffer:
            if not self._receive():
                break
        found, separator, self._buffer = self._buffer.partition(end)
        return found + separator

    def exactly(self, size: int) -> bytes:
        """Read so many bytes, fewer at the end of the connection."""
        while len(self._buffer) < size and self._receive():
            pass
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def rest(self) -> bytes:
        """Read to the end of the connection."""
        while self._receive():
            pass
        found, self._buffer = self._buffer, b""
        return found

    def answer(self, method: str = "GET") -> Answer:
        """Read one response with its body."""
        head = self.until(b"\r\n\r\n").removesuffix(b"\r\n\r\n")
        assert head, "the connection ended without an answer"
        answer = Answer(head, b"", whole=True)
        if method == "HEAD" or answer.status in (100, 204, 304):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body, answer.whole = self._chunks()
        elif "content-length" in answer.headers:
            length = int(answer.headers["content-length"])
            answer.body = self.exactly(length)
            answer.whole = len(answer.body) == length
        else:
            answer.body = self.rest()
        return answer

    def chunk(self) -> bytes | None:
        """Read one chunk; None if the connection was cut instead; empty: the last one."""
        line = self.until(b"\r\n")
        if not line:
            return None
        size = int(line, 16)
        piece = self.exactly(size + 2)
        return piece[:-2] if len(piece) == size + 2 else None

    def _chunks(self) -> tuple[bytes, bool]:
        pieces: list[bytes] = []
        while piece := self.chunk():
            pieces.append(piece)
        return b"".join(pieces), piece is not None


def request(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/{version}", "host: here", *fields, "", ""]
    return "\r\n".join(lines).encode()
