"""The connection that brings messages, lent to who answers one before the next is asked for.

The answer and the next read leave in one write then, which wakes Redis once instead of twice. A
connection that hangs holds the sends behind an answer for up to 7 s, until it is given up.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gateway_layer.redis.pipe import OnReply, Pipe

_TURNS: Final = 3
"""Of the loop: so many it takes from a message until the code that awaited it sends."""

_LONGEST_S: Final = 0.001
"""Turns of a busy loop are long, and others may have messages waiting."""


class Loan:
    """Whether the connection that reads is free now, for one loop.

    Args:
        read_on: Asks for the next messages, called once for each loan; with True, although nobody
            may wait for them yet.
    """

    def __init__(self, read_on: Callable[[bool], None]) -> None:
        """Begin without a loan; in the running loop."""
        self._loop: Final = asyncio.get_running_loop()
        self._read_on: Final = read_on
        self._pipe: Pipe | None = None
        self._until_s = 0.0

    def begin(self, pipe: Pipe) -> None:
        """A connection has brought a message, and whoever gets it may answer."""
        self._pipe = pipe
        self._until_s = self._loop.time() + _LONGEST_S
        self._loop.call_soon(self._wait, _TURNS)

    def _wait(self, turns: int) -> None:
        if self._pipe is None:
            return
        if turns and self._loop.time() < self._until_s:
            self._loop.call_soon(self._wait, turns - 1)
        else:
            self.end()
            self._read_on(False)

    def end(self) -> None:
        """Somebody reads already, or nobody shall."""
        self._pipe = None

    def write_all(
        self, writer: Pipe, commands: bytes, on_replies: Sequence[OnReply | None]
    ) -> Callable[[], None] | None:
        """Write to the connection, and ask for the next messages behind it, if it is free.

        What follows waits in the writer, so that nothing overtakes; nor is it lent where
        something is under way there that could be overtaken.

        Args:
            writer: What is written to otherwise; connected.
            commands: As for `Pipe.write_all`.
            on_replies: As for it.

        Returns:
            To be called when what was written has its reply; None: nothing was written.

        Raises:
            LayerUnavailable: As `Pipe.write_all` does; the loan is over then.
        """
        pipe = self._pipe
        if pipe is None or not pipe.connected or not writer.idle:
            return None
        self._pipe = None
        try:
            pipe.write_all(commands, on_replies)
        finally:
            self._read_on(True)
        pipe.flush()
        return writer.hold()
