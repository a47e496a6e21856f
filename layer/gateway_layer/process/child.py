"""The life of a forked child: say when it is ready, serve, drain, end when its parent dies."""

import asyncio
import atexit
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from gateway_layer.errors import ConfigError
from gateway_layer.process.logs import tell
from gateway_layer.process.places import EXIT_CONFIG, EXIT_FAILURE

READY = b"\0"
"""What a child says to its parent when it serves; any other bytes are the text of its failure."""

_MAX_REPORT_BYTES = 60_000  # fits into an empty pipe, so that a child never waits to be heard
_LIFELINE_MARGIN_S = 1.0


class Server(Protocol):
    """What a child runs: an interface server or a worker."""

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> int | None:
        """Serve until drained; return the exit status, None for 0."""

    def drain(self) -> None:
        """Begin to drain; when called again, end at once."""


@dataclass(slots=True)
class ChildContext:
    """What a child knows of itself and of its parent."""

    index: int
    """0 .. processes-1; a child that replaces another has the same."""

    pid: str
    """The gateway's name for this process, new for each start (not the system's number)."""

    parent: str
    """The gateway's name for the supervising parent."""

    graceful_timeout_s: float
    lifeline_fd: int
    """Read end of a pipe whose only write end the parent holds: it ends with the parent."""

    report_fd: int
    """Write end of a pipe on which the parent hears READY or why there will be none."""

    def ready(self) -> None:
        """Tell the parent that this child serves. Further calls do nothing."""
        self._report(READY)

    def fail(self, text: str) -> None:
        """Give the parent the text to show; on its own stderr when it was ready before."""
        if self.report_fd < 0:
            tell(text)
        else:
            self._report(text.encode("utf-8", "replace")[-_MAX_REPORT_BYTES:])

    def _report(self, raw: bytes) -> None:
        if self.report_fd < 0:
            return
        fd, self.report_fd = self.report_fd, -1
        try:
            os.write(fd, raw)
        except BrokenPipeError:
            pass  # the parent is gone; the lifeline says so too
        finally:
            os.close(fd)


def run_server(make_server: Callable[[], Server], context: ChildContext) -> int:
    """Run a server in an event loop of its own until it has drained.

    SIGTERM begins the drain; it may come twice, from the parent and from a service manager that
    signals every process, and counts once. SIGQUIT, which only the parent sends on purpose, ends
    the drain at once.

    Args:
        make_server: Called inside the running loop.
        context: Who this child is; its parent is told when the server is ready.

    Returns:
        The exit status of the process.

    Raises:
        ConfigError: From `make_server` or `serve`.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(make_server, context))


async def _serve(make_server: Callable[[], Server], context: ChildContext) -> int:
    server = make_server()
    drain = _Drain(server)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, drain.begin)
    loop.add_signal_handler(signal.SIGQUIT, drain.at_once)

    def on_ready() -> None:
        # What start-up made stays for the life of the process: no collection looks at it again.
        gc.collect()
        gc.freeze()
        context.ready()

    return await server.serve(on_ready=on_ready) or 0


class _Drain:
    """Turns signals into calls of `Server.drain`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begun = False

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._server.drain()

    def at_once(self) -> None:
        self.begin()
        self._server.drain()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's factory where it is installed, else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def follow_lifeline(lifeline_fd: int, graceful_timeout_s: float) -> None:
    """End this process when its parent dies, however it dies and whatever this process does.

    A daemon thread waits for the end of the pipe, which also comes when the parent is killed. It
    asks for a drain first; a loop that is blocked does not hear, so the thread ends the process
    itself when the time of a drain is over. (PR_SET_PDEATHSIG would need the loop to answer too,
    and exists on Linux only.)
    """

    def wait() -> None:
        while os.read(lifeline_fd, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(graceful_timeout_s + _LIFELINE_MARGIN_S)
        os._exit(EXIT_FAILURE)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def end_as_child(name: str, context: ChildContext, run: Callable[[ChildContext], int]) -> NoReturn:
    """Run a child's whole life and end the process: never return into the parent's stack.

    Args:
        name: The command, for `name: what is wrong`.
        context: Given to `run`.
        run: Returns the exit status. A ConfigError is one line and status 2; any other exception
            keeps its traceback, status 1.
    """
    status = EXIT_FAILURE
    try:
        status = run(context)
    except ConfigError as error:
        status = EXIT_CONFIG
        context.fail(f"{name}: {error}\n")
    except SystemExit as error:
        status = _status_of(error, context)
    except BaseException:
        context.fail(traceback.format_exc())
    finally:
        # os._exit, since the parent's frames below this one must not unwind here; what an
        # application registered with atexit runs all the same, as multiprocessing does it.
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _status_of(error: SystemExit, context: ChildContext) -> int:
    """Return what the interpreter would have made of a SystemExit."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    context.fail(f"{error.code}\n")
    return EXIT_FAILURE
