"""Start child processes, keep them running, replace them, and end with them."""

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gateway_layer.names import new_pid
from gateway_layer.process.child import (
    READY,
    ChildContext,
    end_as_child,
    follow_lifeline,
)
from gateway_layer.process.logs import tell
from gateway_layer.process.places import EXIT_FAILURE, Child, Place, how_it_ended
from gateway_layer.process.reload import watch
from gateway_layer.process.signals import SignalPipe

KILL_MARGIN_S = 5.0  # a process on a busy machine that ends by its own time-outs is not killed

_AT_ONCE_S = 1.0
_NO_ROOM_S = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

log = logging.getLogger("gateway.supervisor")


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """A parent that runs `processes` children by fork and does nothing else.

    It has no thread and no event loop, and never imports the application, so a fork copies a
    process that is at rest. SIGTERM and SIGINT drain the children (a second one ends them at
    once), SIGHUP replaces them one after another. A child that dies is started again; its death
    is announced first. Before all children were ready once, a child that exits by itself ends
    everything with its status; later its place is tried again.
    """

    name: str
    """The command, for the ready line."""

    run_child: Callable[[ChildContext], int]
    """Runs in the child; see `end_as_child`."""

    processes: int
    graceful_timeout_s: float
    ready_text: str
    """What is printed after `name ready: `, or sent on the control socket."""

    parent: str
    """The gateway's name for this parent."""

    on_child_death: Callable[[str], None]
    """Called with the pid of a child that was ready, as soon as it ended in any way but with
    status 0. Before it was ready, nobody knew of it."""

    on_stop: Callable[[], None]
    """Called once when the drain begins: time to close listening sockets."""

    reload_folders: tuple[str, ...] = ()
    """Watched for changes of Python files; empty: none."""

    kill_margin_s: float = KILL_MARGIN_S
    """A child that is still there so long after its graceful time-out is killed."""

    control_fd: int | None = None
    """A connected socket whose other end a starter holds: it gets the ready text; each byte it
    sends means SIGTERM, and so does its end. None: the ready line goes to stderr."""

    _places: list[Place] = field(init=False, default_factory=list)
    _children: list[Child] = field(init=False, default_factory=list)
    _to_replace: deque[Place] = field(init=False, default_factory=deque)
    _generation: int = field(init=False, default=0)
    _stops: int = field(init=False, default=0)
    _status: int = field(init=False, default=0)
    _announced: bool = field(init=False, default=False)
    _watch_fd: int = field(init=False, default=-1)
    _watching: bool = field(init=False, default=False)
    _lifeline: tuple[int, int] = field(init=False, default=(-1, -1))
    _control: socket.socket | None = field(init=False, default=None)
    _signals: SignalPipe = field(init=False)
    _selector: selectors.BaseSelector = field(init=False)

    def run(self) -> int:
        """Supervise until everything has ended.

        Returns:
            The exit status: 0 after a drain, or the status of a child that could not start.
        """
        self._signals = SignalPipe(_SIGNALS)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)
        self._lifeline = os.pipe()
        if self.control_fd is not None:
            self._control = socket.socket(fileno=self.control_fd)
            self._control.set_inheritable(False)
            self._selector.register(self._control, selectors.EVENT_READ, self._on_control)
        # Children share these pages with the parent for as long as nobody collects them.
        gc.collect()
        gc.freeze()
        watcher = self._start_watcher() if self.reload_folders else 0
        for index in range(self.processes):
            self._places.append(Place(index))
            self._start(self._places[index])
        while self._children or not self._stops:
            for key, _ in self._selector.select(self._wait_s()):
                key.data()
            self._act_on_time(time.monotonic())
        self._close(watcher)
        return self._status

    def _close(self, watcher: int) -> None:
        """Give everything back; the watcher ends with the lifeline anyway, this waits for it."""
        if watcher:
            os.kill(watcher, signal.SIGKILL)
            os.waitpid(watcher, 0)
        self._selector.close()
        self._signals.close()
        for fd in (*self._lifeline, self._watch_fd):
            if fd >= 0:
                os.close(fd)
        if self._control is not None:
            self._control.close()

    # Starting

    def _start(self, place: Place) -> None:
        """Fill an empty place, later when the system has no room for a process now."""
        place.start_at = None
        place.current = self._spawn(place.index)
        if place.current is None:
            place.start_at = time.monotonic() + _NO_ROOM_S

    def _spawn(self, index: int) -> Child | None:
        """Fork a child, in which this never returns; None when the system refuses."""
        try:
            return self._fork_child(index)
        except OSError as error:
            # Out of memory, processes or descriptors: no reason to lose the other children.
            log.error("process %d cannot be started: %s", index, error)  # noqa: TRY400 (one line)
            return None

    def _fork_child(self, index: int) -> Child:
        report_fd, child_report_fd = os.pipe()
        context = ChildContext(
            index=index,
            pid=new_pid(),
            parent=self.parent,
            graceful_timeout_s=self.graceful_timeout_s,
            lifeline_fd=self._lifeline[0],
            report_fd=child_report_fd,
        )
        os_pid = self._fork()
        if os_pid == 0:
            os.close(report_fd)
            end_as_child(self.name, context, self._live)
        os.close(child_report_fd)
        os.set_blocking(report_fd, False)
        child = Child(index, context.pid, os_pid, report_fd, self._generation, time.monotonic())
        self._children.append(child)
        self._selector.register(report_fd, selectors.EVENT_READ, lambda: self._on_report(child))
        return child

    def _live(self, context: ChildContext) -> int:
        follow_lifeline(context.lifeline_fd, context.graceful_timeout_s)
        return self.run_child(context)

    def _start_watcher(self) -> int:
        """Fork the process that watches files; return its system pid."""
        self._watch_fd, report_fd = os.pipe()
        os_pid = self._fork()
        if os_pid == 0:
            context = ChildContext(-1, "", self.parent, 0.0, self._lifeline[0], -1)
            end_as_child(self.name, context, lambda context: self._watch(context, report_fd))
        os.close(report_fd)
        os.set_blocking(self._watch_fd, False)
        self._selector.register(self._watch_fd, selectors.EVENT_READ, self._on_change)
        return os_pid

    def _watch(self, context: ChildContext, report_fd: int) -> int:
        follow_lifeline(context.lifeline_fd, context.graceful_timeout_s)
        watch(self.reload_folders, report_fd)
        return 0

    def _fork(self) -> int:
        """Fork; the child is left with nothing of the parent's but the lifeline's read end."""
        with suppress(OSError):  # what is buffered would be written twice
            sys.stdout.flush()
            sys.stderr.flush()
        with self._signals.held_back():
            os_pid = os.fork()
            if os_pid == 0:
                self._signals.forget_in_child()
        if os_pid == 0:
            self._selector.close()
            os.close(self._lifeline[1])
            if self._control is not None:
                self._control.close()
            if self._watch_fd >= 0:
                os.close(self._watch_fd)
            for child in self._children:
                if child.report_fd >= 0:
                    os.close(child.report_fd)
        return os_pid

    # What happens

    def _on_signals(self) -> None:
        for number in self._signals.read():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP:
                self._replace_all("hangup signal")
        self._reap()

    def _on_control(self) -> None:
        """Stop when the starter asks for it or has ended."""
        assert self._control is not None
        try:
            raw = self._control.recv(64)
        except ConnectionResetError:  # it ended without having read the ready text
            raw = b""
        for _ in raw:
            self._stop()
        if not raw:
            self._selector.unregister(self._control)
            if not self._stops:
                self._stop()

    def _on_change(self) -> None:
        """Hear from the watcher: an empty line when it watches, then paths."""
        lines = os.read(self._watch_fd, 65536).decode("utf-8", "replace").split("\n")
        if lines == [""]:
            log.error("the watch for changes has ended, no reload from now on")
            self._selector.unregister(self._watch_fd)
        self._watching = True
        self._maybe_announce()
        if changed := next((line for line in lines if line), None):
            self._replace_all(f"{changed} changed")

    def _on_report(self, child: Child) -> None:
        """Hear from a child: READY, or why it failed, or the end of the pipe."""
        if child.report_fd < 0:  # told and reaped in one turn
            return
        try:
            raw = os.read(child.report_fd, 65536)
        except BlockingIOError:
            return
        if raw == READY:
            child.ready = True
            self._on_ready(child)
        else:
            child.failure = raw.decode("utf-8", "replace")
        self._forget_report(child)

    def _forget_report(self, child: Child) -> None:
        if child.report_fd >= 0:
            self._selector.unregister(child.report_fd)
            os.close(child.report_fd)
            child.report_fd = -1

    def _on_ready(self, child: Child) -> None:
        place = self._places[child.index]
        if place.replacement is child:
            before, place.current, place.replacement = place.current, child, None
            if before is not None:
                self._drain(before)
            self._replace_next()
        self._maybe_announce()

    def _maybe_announce(self) -> None:
        """Say once that everything is ready."""
        if self._announced or self._stops or (self.reload_folders and not self._watching):
            return
        if all(place.current is not None and place.current.ready for place in self._places):
            self._announced = True
            if self._control is None:
                tell(f"{self.name} ready: {self.ready_text}\n")
            else:
                with suppress(BrokenPipeError):  # the starter has ended, `_on_control` hears it
                    self._control.sendall(f"{self.ready_text}\n".encode())

    def _reap(self) -> None:
        """Wait for the children that have ended."""
        for child in tuple(self._children):
            os_pid, wait_status = os.waitpid(child.os_pid, os.WNOHANG)
            if os_pid:
                self._children.remove(child)
                status = os.waitstatus_to_exitcode(wait_status)
                self._on_report(child)
                self._forget_report(child)
                if status and child.ready:
                    self.on_child_death(child.pid)
                self._on_exit(child, status)

    def _on_exit(self, child: Child, status: int) -> None:
        if self._stops:
            return
        # Not while stopping: several children may fail for one reason, which one has told.
        tell(child.failure)
        place = self._places[child.index]
        if place.replacement is child:
            place.replacement = None
            log.error("new process %d %s, the old one goes on", child.index, how_it_ended(status))
            if child.generation == self._generation:
                self._to_replace.clear()  # the others would fail for the same reason
            self._replace_next()
        elif place.current is child:
            place.current, place.replacement = place.replacement, None
            if place.current is None:
                self._on_lost(place, child, status)

    def _on_lost(self, place: Place, child: Child, status: int) -> None:
        """Decide what follows when nobody is left in a place."""
        if not self._announced and status >= 0:
            self._status = status or EXIT_FAILURE
            self._stop()
            return
        if status == 0 and child.ready:  # it has done its share: limit_max_requests
            place.failures = 0
            self._start(place)
            return
        if self.reload_folders and not child.ready and status >= 0:
            log.error("process %d %s, waiting for a change", place.index, how_it_ended(status))
            return
        delay_s = place.count_failure(child, time.monotonic())
        log.error("process %d %s, next start in %g s", place.index, how_it_ended(status), delay_s)

    # Replacing

    def _replace_all(self, why: str) -> None:
        """Replace the children one after another, those of a replacement under way included."""
        if self._stops:
            return
        log.info("%s, replacing the processes", why)
        self._generation += 1
        self._to_replace = deque(self._places)
        self._replace_next()

    def _replace_next(self) -> None:
        if self._stops or any(place.replacement for place in self._places):
            return
        while self._to_replace:
            place = self._to_replace.popleft()
            if place.current is not None:
                place.replacement = self._spawn(place.index)
                if place.replacement is not None:
                    return
                continue
            self._start(place)

    # Ending

    def _stop(self) -> None:
        """Drain everything; the second time at once; the third time without a word."""
        self._stops += 1
        if self._stops == 1:
            self._to_replace.clear()
            for place in self._places:
                place.start_at = None
            self.on_stop()
            for child in self._children:
                self._drain(child)
            return
        now = time.monotonic()
        for child in self._children:
            if self._stops == 2 and child.ready:
                os.kill(child.os_pid, signal.SIGQUIT)
                child.kill_at = now + _AT_ONCE_S
            else:
                child.kill_at = now

    def _drain(self, child: Child) -> None:
        if child.kill_at is None:
            os.kill(child.os_pid, signal.SIGTERM)
            child.kill_at = time.monotonic() + self.graceful_timeout_s + self.kill_margin_s

    # Time

    def _wait_s(self) -> float | None:
        """Return the seconds to the nearest deadline; None: nothing is due."""
        deadlines = [child.kill_at for child in self._children if child.kill_at is not None]
        deadlines += [place.start_at for place in self._places if place.start_at is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _act_on_time(self, now: float) -> None:
        for child in self._children:
            if child.kill_at is not None and now >= child.kill_at:
                log.warning("process %d did not end in time, killed", child.index)
                os.kill(child.os_pid, signal.SIGKILL)
                child.kill_at = None
        for place in self._places:
            if place.start_at is not None and now >= place.start_at:
                self._start(place)
