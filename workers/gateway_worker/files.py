"""Reads the files that applications send by their path, without blocking the event loop."""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from threading import Lock
from typing import BinaryIO, Final

from gateway_layer.errors import ApplicationError

BLOCK_BYTES: Final = 256 * 2**10
"""What one step of a thread reads: a window, so that a step fills the way to the client."""


async def read_file(path: str, limit: int | None) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Yield what a file holds, a block at a time; each is read in a thread when it is asked for.

    A file of less than a block costs one step of a thread. A generator that is left early has to
    be closed; so is its file then, in a thread, after a read that is still under way.

    Args:
        path: Of a regular file.
        limit: Bytes to read at most; None: to its end.

    Yields:
        (block of 0 to 256 KiB, whether more follow); at least one.

    Raises:
        ApplicationError: There is no such file, it is none, or it cannot be read.
    """
    loop = asyncio.get_running_loop()
    reader = _Reader(path, limit)
    more = True
    try:
        while more:
            try:
                block, more = await loop.run_in_executor(None, reader.step)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ApplicationError(f"file {path!r} cannot be sent: {reason}") from error
            yield block, more
    finally:
        if more:
            loop.run_in_executor(None, reader.close)


class _Reader:
    """One file; its methods run in threads, one at a time."""

    def __init__(self, path: str, limit: int | None) -> None:
        """Remember what to read; the first step opens it."""
        self._path = path
        self._left = limit
        self._file: BinaryIO | None = None
        self._closed = False
        self._lock = Lock()

    def step(self) -> tuple[bytes, bool]:
        """Return the next block and whether more follow; the last step closes the file.

        Raises:
            OSError, ValueError: It cannot be opened or read.
        """
        with self._lock:
            if self._closed:  # by a cancellation that overtook this step
                return b"", False
            if self._file is None:
                self._file = _open(self._path)
            size = BLOCK_BYTES if self._left is None else min(self._left, BLOCK_BYTES)
            block = self._file.read(size)
            if self._left is not None:
                self._left -= len(block)
            more = len(block) == size and self._left != 0
            if not more:
                self._file.close()
            return block, more

    def close(self) -> None:
        """Close the file where it is open; no step does anything after that."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()


def _open(path: str) -> BinaryIO:
    """Open a regular file. A pipe or a device could keep a thread for ever, so none is opened.

    Raises:
        OSError, ValueError: It cannot be opened, or is of another kind.
    """
    # O_NONBLOCK: the open of a pipe waits for its other end. It means nothing for a file.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError("not a regular file")
    return open(file, "rb")
