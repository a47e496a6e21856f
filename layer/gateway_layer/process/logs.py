"""Log lines for people on stderr, access lines for programs on stdout."""

import asyncio
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")

FLUSH_DELAY_S = 0.1
"""An access line is written at most so long after `AccessLog.write`."""

FLUSH_CHARS = 65_536
"""So much is written without waiting for the delay: what an empty pipe takes at once."""

MAX_PENDING_CHARS = 2**20
"""What a reader that does not keep up may leave in memory; lines beyond it are dropped."""

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


class LineFormatter(logging.Formatter):
    """`HH:MM:SS level message`, then a traceback if there is one."""

    def __init__(self, *, colour: bool) -> None:
        """Colour the level, or do not."""
        super().__init__(datefmt="%H:%M:%S")
        self._levels = {
            logging.getLevelName(getattr(logging, level.upper())): (
                f"\x1b[{code}m{level}\x1b[0m" if colour else level
            )
            for level, code in _COLOURS.items()
        }

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the line without the traceback, which `format` appends."""
        level = self._levels.get(record.levelname, record.levelname.lower())
        return f"{self.formatTime(record, self.datefmt)} {level} {record.message}"


def set_up_logging(level: str, stream: TextIO | None = None) -> None:
    """Let everything of the gateway log to one stream.

    Only the loggers `gateway` and below are touched: the root logger belongs to the application.
    A second call replaces what the first set up.

    Args:
        level: One of LEVELS.
        stream: Where to; stderr if None. Colours when it is a terminal, unless NO_COLOR is set.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    # https://no-color.org: present and not empty.
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(LineFormatter(colour=colour))
    logger = logging.getLogger("gateway")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


def tell(text: str) -> None:
    """Write to stderr what is no log line; nothing happens where nobody can read it any more."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


class AccessLog:
    """Gathers lines and writes all of them with one system call, at most 100 ms later.

    Costs a list append a line (0.14 us; a call of `logging` 8 us). A descriptor that takes nothing
    never holds up the event loop: lines wait up to 1 MiB, then new ones are dropped and counted.

    Attributes:
        dropped: Lines that were not written, for a metric.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int = 1) -> None:
        """Write to a copy of `fd`; all calls must come from the loop's thread."""
        self.dropped = 0
        self._loop = loop
        self._fd, self._write_raw = _open_non_blocking(fd)
        self._lines: list[str] = []
        self._chars = 0
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: str) -> None:
        """Append one line, given without its newline; it must contain none."""
        if self._chars > MAX_PENDING_CHARS:
            self.dropped += 1
            return
        self._lines.append(line)
        self._chars += len(line) + 1
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_DELAY_S, self._on_timer)
        elif self._chars > FLUSH_CHARS and not self._rest:
            self.flush()

    def flush(self) -> None:
        """Write what the descriptor takes now; keep the rest."""
        if not self._chars:
            return
        raw = self._rest
        if self._lines:
            raw += ("\n".join(self._lines) + "\n").encode("utf-8", "backslashreplace")
        try:
            self._rest = raw[self._write_raw(raw) :]
        except BlockingIOError:
            self._rest = raw
        except OSError:  # the reader is gone
            self.dropped += raw.count(b"\n")
            self._rest = b""
        self._lines.clear()
        self._chars = len(self._rest)

    def close(self) -> None:
        """Write what can be written without waiting, and give up the rest; then `write` no more."""
        self.flush()
        self.dropped += self._rest.count(b"\n")
        self._rest = b""
        self._chars = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        os.close(self._fd)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
        if self._rest:
            self._timer = self._loop.call_later(FLUSH_DELAY_S, self._on_timer)


def _open_non_blocking(fd: int) -> tuple[int, Callable[[bytes], int]]:
    """Return a descriptor of our own for the same file, and a write to it that never waits.

    O_NONBLOCK belongs to the open file, which stdout shares with the shell and other processes:
    set there, their writes would fail. So a pipe or terminal is opened a second time by its name,
    a socket is asked call by call, and a plain file does not block.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(fd))
        copy = sock.detach()
        return copy, lambda raw: _send(copy, raw)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # Refused where the terminal belongs to another user (su): then it is written as it is.
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            copy = os.open(f"/dev/fd/{fd}", flags)
            return copy, lambda raw: os.write(copy, raw)
    copy = os.dup(fd)
    return copy, lambda raw: os.write(copy, raw)


def _send(fd: int, raw: bytes) -> int:
    """Write to a socket without waiting."""
    sock = socket.socket(fileno=fd)
    try:
        return sock.send(raw, socket.MSG_DONTWAIT)
    finally:
        sock.detach()
