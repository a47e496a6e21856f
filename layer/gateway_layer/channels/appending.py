"""Entries on their way to one list: whole with their expiry, and no more than there is room for."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gateway_layer.channels.loan import Loan
from gateway_layer.channels.routes import Route
from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.redis.pipe import OnReply, Pipe
from gateway_layer.redis.protocol import Reply
from gateway_layer.redis.resp import RedisReplyError, pack_command

Send = tuple[bytes, "asyncio.Future[Any]"]
"""An entry, and whether there was room for it, or why nobody knows."""

OnBack = Callable[[Reply | LayerUnavailable], None]
"""Gets how many entries were taken back, or why nobody knows."""

Withdraw = Callable[[Pipe, bytes, int, list[bytes], OnBack], None]
"""Called with connection, list, capacity, entries, and who is told."""

_MULTI: Final = pack_command("MULTI")
_EXEC: Final = pack_command("EXEC")

_ONE_PIECE: Final = 1000
"""Bytes: what one TCP segment holds everywhere (IPv6's least: 1,220), with a BLMPOP behind it."""


class Append:
    """One command for the entries of a turn; those beyond the capacity are taken back.

    Mostly there is room, and a script that looks first takes Redis longer. So does a transaction;
    what leaves in one piece, behind nothing that is under way, needs none.
    """

    __slots__ = ("_capacity", "_pipe", "_pushed", "_release", "_route", "_sends", "_withdraw")

    def __init__(self, route: Route, capacity: int, sends: list[Send], withdraw: Withdraw) -> None:
        """Keep what is to be appended."""
        self._route = route
        self._capacity = capacity
        self._sends = sends
        self._withdraw = withdraw
        self._pushed: Reply = None
        self._release: Callable[[], None] | None = None

    def write(self, pipe: Pipe, loan: Loan | None) -> None:
        """Write it now, to the connection that is lent if there is one; never raises."""
        self._pipe = pipe
        route = self._route
        if len(self._sends) == 1:
            entry = self._sends[0][0]
            push = route.push + b"$%d\r\n%b\r\n" % (len(entry), entry)
        else:
            push = pack_command("RPUSH", route.key, *[entry for entry, _ in self._sends])
        commands = push + route.expire
        on_replies: tuple[OnReply | None, ...] = self._on_pushed, self._on_expires
        try:
            check_process()
            if len(commands) > _ONE_PIECE or not pipe.idle:
                commands = _MULTI + commands + _EXEC
                on_replies = None, self._on_queued, self._on_queued, self._on_done
            if loan is not None:
                self._release = loan.write_all(pipe, commands, on_replies)
            if self._release is None:
                pipe.write_all(commands, on_replies)
                pipe.flush()
        except LayerUnavailable as error:
            settle(self._sends, error)

    def _on_pushed(self, reply: Reply) -> None:
        self._pushed = reply

    def _on_expires(self, reply: Reply) -> None:
        self._on_done([self._pushed, reply])

    def _on_queued(self, reply: Reply) -> None:
        if isinstance(reply, Exception):
            settle(self._sends, reply)  # EXEC would only say that something was refused

    def _on_done(self, reply: Reply) -> None:
        """Take in the replies to both commands, or why there are none."""
        if self._release is not None:
            self._release()
        length, expires = reply if isinstance(reply, list) else (reply, None)
        if isinstance(length, Exception):
            settle(self._sends, length)
        elif isinstance(expires, RedisReplyError):
            self._take_back(0, lambda _back: settle(self._sends, expires))  # not without an end
        elif isinstance(expires, Exception):
            settle(self._sends, expires)
        elif isinstance(length, int) and length > self._capacity:
            self._take_back(self._capacity, self._on_back)
        else:
            settle(self._sends, len(self._sends))

    def _take_back(self, capacity: int, on_back: OnBack) -> None:
        entries = [entry for entry, _answer in self._sends]
        self._withdraw(self._pipe, self._route.key, capacity, entries, on_back)

    def _on_back(self, back: Reply | LayerUnavailable) -> None:
        settle(self._sends, len(self._sends) - back if isinstance(back, int) else back)


def settle(sends: list[Send], taken: Any) -> None:
    """Tell each of some sends whether it was among those that were taken, or the error."""
    for index, (_entry, answer) in enumerate(sends):
        if not answer.done():
            answer.set_result(taken if isinstance(taken, Exception) else index < taken)
