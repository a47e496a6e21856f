"""Channels of a connection, as its instance has them: what comes goes to a layer's mailbox."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway_layer.channels.borrowed import Borrowed, Connection
from gateway_layer.channels.mailbox import Mailbox
from gateway_layer.codec import Message
from gateway_layer.errors import ProtocolError
from gateway_layer.session import WorkerStream

Confirm = Callable[[int, int], None]
"""Called with (number of the channel, number of the last part that is handled)."""


class Channel(Borrowed):
    """One channel, of which the connection's owner keeps what is not handled."""

    __slots__ = ("_all", "_last", "_loop", "connection", "mailbox", "name", "number", "stream")

    def __init__(self, channels: "Channels", number: int, mailbox: Mailbox, name: str) -> None:
        """Begin; its messages come to `mailbox` from now on."""
        self._all = channels
        self._loop = asyncio.get_running_loop()
        self._last: int | None = None  # the last that this instance gets, when it departs
        self.connection = channels.connection
        self.number = number
        self.mailbox = mailbox
        self.name = name
        self.stream = WorkerStream()

    @property
    def stays(self) -> bool:
        """Whether its instance ends by a hand-over."""
        return self._all.staying

    def asked(self) -> None:
        """The application asks for the next message, perhaps in a thread of its own."""
        if asyncio.get_running_loop() is self._loop:
            self.confirm()
        else:
            self._loop.call_soon_threadsafe(self.confirm)

    @property
    def _taken(self) -> int:
        if self._last is not None:
            return self._last
        return self.stream.taken(self.mailbox.unread(self.name))

    @property
    def in_hand(self) -> bool:
        """Whether the application has taken a message, and not asked for the next."""
        return self._taken != self.stream.confirmed

    def confirm(self) -> None:
        """What the application has taken is handled."""
        if self.in_hand:
            seq = self._taken
            self._all.confirm(self.number, seq)
            self.stream.confirm(seq)
            self._all.on_confirmed()

    def depart(self) -> None:
        """Give the application no more: what it has not taken is the next instance's."""
        self._last = self._taken
        self.mailbox.drop_unread(self.name)

    def take_in(self, first: int, messages: tuple[Message, ...]) -> None:
        """Give messages to the layer; one that finds the channel full is dropped, and counted."""
        if self._last is not None:
            return  # the next instance gets them
        for message in self.stream.take_in(first, messages):
            expires, payload = message["expires"], message["bytes"]
            if expires.__class__ is not int or payload.__class__ is not bytes:
                raise ProtocolError("a message to a channel that is none")
            with self.mailbox.lock:
                if not self.mailbox.deliver(self.name, (expires, payload)):
                    self.stream.dropped()


class Channels:
    """The channels of one connection.

    Attributes:
        connection: Whose they are.
        staying: Its instance ends by a hand-over.
    """

    def __init__(
        self, connection: Connection, confirm: Confirm, on_confirmed: Callable[[], None]
    ) -> None:
        """Begin without any.

        Args:
            connection: Whose they are.
            confirm: Tells the owner; may raise for a state that cannot travel.
            on_confirmed: Called when the application has nothing in hand of a channel.
        """
        self.connection: Final = connection
        self.confirm: Final = confirm
        self.on_confirmed: Final = on_confirmed
        self.staying = False
        self._made = 0
        self._channels: dict[int, Channel] = {}
        self._early: dict[int, list[tuple[int, tuple[Message, ...]]]] = {}

    def make(self, mailbox: Mailbox, prefix: str, local: str, *, lasting: bool) -> Channel | None:
        """Return a new channel, unless the connection does not last.

        Each that is asked for has a number, so that the next instance's have the same ones.
        """
        self._made += 1
        number = self._made
        if not lasting:
            return None
        name = f"{prefix}.{self.connection.owner}!{local}.{number}"
        channel = self._channels[number] = Channel(self, number, mailbox, name)
        mailbox.borrowed[name] = channel
        for first, messages in self._early.pop(number, ()):
            channel.take_in(first, messages)
        return channel

    def take_in(self, number: int, first: int, messages: tuple[Message, ...]) -> None:
        """Messages have come; what the application has no channel for yet waits for it."""
        channel = self._channels.get(number)
        if channel is not None:
            channel.take_in(first, messages)
        else:
            self._early.setdefault(number, []).append((first, messages))

    @property
    def in_hand(self) -> bool:
        """Whether the application is at work on a message to any of them."""
        return any(channel.in_hand for channel in self._channels.values())

    def depart(self) -> None:
        """Its instance hears of its end, and the connection goes on elsewhere."""
        self.staying = True
        for channel in self._channels.values():
            channel.depart()

    def end(self) -> None:
        """The instance is over; what it has not handled goes to the next, if there is one."""
        for channel in self._channels.values():
            channel.mailbox.drop_unread(channel.name)
            channel.mailbox.borrowed.pop(channel.name, None)
        self._channels.clear()
