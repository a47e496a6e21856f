"""Signals as bytes on a descriptor, so that one selector waits for them and for everything else."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


class SignalPipe:
    """Receives the given signals as bytes; without a thread, a loop or a race.

    `signal.set_wakeup_fd` makes the C handler itself write the signal's number, so a signal
    between two calls of `select` is not lost. Only the main thread may construct one.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        """Take over the signals; `close` gives them back."""
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, _noticed) for number in signals}

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with a signal."""
        return self._read_fd

    def read(self) -> bytes:
        """Return the numbers of the signals that came since the last call, oldest first."""
        try:
            return os.read(self._read_fd, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Put the former handlers back."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._close_descriptors()

    def forget_in_child(self) -> None:
        """After a fork: the child handles these signals as any new process would, SIGINT never.

        Ctrl-C in a terminal reaches every process of it; only the parent shall act on it.
        """
        signal.set_wakeup_fd(-1)
        for number in self._handlers_before:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._close_descriptors()

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let none of the signals in while the block runs.

        Around a fork: else a signal sent to the child before `forget_in_child` would be written
        to the pipe it still shares, and the parent would take it for its own.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers_before)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _close_descriptors(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


def _noticed(number: int, frame: FrameType | None) -> None:
    """Do nothing: a handler must exist for the number to be written to the pipe."""
