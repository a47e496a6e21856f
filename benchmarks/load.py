"""The load: wrk for HTTP, and client processes of ours for WebSocket."""

import json
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import ROOT, BenchmarkError, Subject

# wrk prints its own figures rounded, in changing units; this prints the same ones to the µs.
_WRK_SCRIPT = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'JSON {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRound:
    """What one run of wrk did, and what it cost the server."""

    requests: int
    duration_s: float
    p50_us: float
    p99_us: float
    cpu_us: Mapping[str, float]
    """CPU time for one request, by part of the server."""

    redis_commands: int

    @property
    def requests_per_s(self) -> float:
        """Completed requests a second."""
        return self.requests / self.duration_s


_DISTINCT = """
local number = 0
function request()
  number = number + 1
  return wrk.format(nil, "/?number=" .. number)
end
"""


def wrk_path() -> str:
    """Return where wrk is.

    Raises:
        BenchmarkError: It is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise BenchmarkError("wrk is not on the PATH; on Debian: apt-get install wrk")
    return path


def wrk(subject: Subject, *, connections: int, seconds: float, distinct: bool = False) -> HttpRound:
    """Load a server with GET / over keep-alive connections, each with one request under way.

    wrk counts whole seconds; `seconds` is rounded up. With `distinct` each request has a query of
    its own, so that nothing of one is of use for the next.

    Raises:
        BenchmarkError: A request failed: figures of a server that fails say nothing.
    """
    whole_s = max(1, -int(-seconds // 1))
    cpu, commands = subject.cpu_s(), subject.redis_commands()
    with TemporaryDirectory(prefix="gateway-bench-") as scratch:
        script = Path(scratch, "report.lua")
        script.write_text(_WRK_SCRIPT + (_DISTINCT if distinct else ""))
        argv = [wrk_path(), "--threads", "1", "--connections", str(connections)]
        argv += ["--duration", f"{whole_s}s", "--timeout", "10s", "--script", str(script)]
        argv.append(f"http://127.0.0.1:{subject.port}/")
        run = subprocess.run(argv, capture_output=True, text=True, timeout=whole_s + 20)
    commands = subject.redis_commands() - commands
    found = [line[5:] for line in run.stdout.splitlines() if line.startswith("JSON ")]
    if run.returncode or not found:
        raise BenchmarkError(f"wrk failed: {run.stdout}{run.stderr}")
    report = json.loads(found[0])
    if report["errors"] or not report["requests"]:
        raise BenchmarkError(f"wrk met errors at {connections} connections: {run.stdout}")
    return HttpRound(
        requests=report["requests"],
        duration_s=report["duration_us"] / 1e6,
        p50_us=report["p50_us"],
        p99_us=report["p99_us"],
        cpu_us=subject.cpu_us_each(cpu, report["requests"]),
        redis_commands=commands,
    )


class Client:
    """A client process that answers one line of JSON to each line it is told."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        """Talk to a process that was started with pipes."""
        assert popen.stdin is not None, "started with a pipe"
        assert popen.stdout is not None, "started with a pipe"
        self._stdin, self._stdout = popen.stdin, popen.stdout

    def ask(self, command: str, *, timeout_s: float) -> Mapping[str, Any]:
        """Tell it a command and return its answer, always a JSON object.

        Raises:
            BenchmarkError: It did not answer in time, ended, or answered with `error`.
        """
        self._stdin.write(command.encode() + b"\n")
        self._stdin.flush()
        # Nothing is left in the reader's buffer: an answer is one line, read whole before we ask.
        if not select.select([self._stdout], [], [], timeout_s)[0]:
            raise BenchmarkError(f"client, asked to {command}: no answer within {timeout_s:g} s")
        line = self._stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise BenchmarkError(f"client, asked to {command}: {answer['error']}")
        assert isinstance(answer, dict), "answers are objects"
        return answer


@contextmanager
def client(module: str, port: int) -> Iterator[Client]:
    """Start `benchmarks.<module>` against a port; it ends when its standard input does."""
    argv = [sys.executable, "-m", f"benchmarks.{module}", str(port)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as popen:
        try:
            yield Client(popen)
            assert popen.stdin is not None, "started with a pipe"
            popen.stdin.close()
            popen.wait(timeout=10)
        finally:
            popen.kill()
