"""A connection with channels of its own: what comes to them waits for an instance, too.

Each channel is a stream of the session, numbered beside the client's events: what no instance has
handled goes to the next one. Streams have no credit; what one may hold is bounded.
"""

from collections.abc import ValuesView
from typing import Any, Final

from gateway_layer.codec import Message, pack
from gateway_layer.errors import ProtocolError
from gateway_layer.owner.openings import OpeningSession
from gateway_layer.session import OwnerStream, State
from gateway_layer.wire import EVENTS, HANDLED, LISTEN

MAX_CHANNELS: Final = 64
"""Channels of one connection to which something has come."""

_NONE: Final[dict[int, OwnerStream]] = {}


class ChannelledSession(OpeningSession):
    """A session whose application may have channels in channel layers."""

    __slots__ = ("_streams",)

    def __init__(self, connection: str, window: int) -> None:
        """Begin without channels."""
        super().__init__(connection, window)
        self._streams: dict[int, OwnerStream] | None = None

    def on_listen(self, prefix: str, expiry_ms: int, group_expiry_ms: int) -> None:
        """The application has channels in a channel layer: be there for them."""
        raise ProtocolError("channels of a connection that may not have any")

    def emit_message(self, channel: int, parts: list[Message], cost: int) -> bool:
        """Send a message to a channel, as soon as an instance is ready for it.

        Args:
            channel: Its number, from 1.
            parts: What `split_event` returned, or the message alone.
            cost: As `event_cost` counts it.

        Returns:
            Whether it found room; else it is dropped.
        """
        if self.state is State.CLOSED:
            return False
        if self._streams is None:
            self._streams = {}
        stream = self._streams.get(channel)
        if stream is None:
            if len(self._streams) >= MAX_CHANNELS:
                return False
            stream = self._streams[channel] = OwnerStream()
        if not stream.put(parts, cost):
            return False
        self.release_messages()
        return True

    def release_messages(self) -> None:
        """Send what waited for an instance, if there is one and it may have it."""
        if self._streams and self.state is State.BOUND and not self.gated and not self.blocked:
            for stream in self._streams.values():
                stream.release()
            self.mark()

    def drop_messages(self) -> None:
        """The connection is over: nobody needs what has come."""
        self._streams = None

    def _all(self) -> ValuesView[OwnerStream]:
        return (self._streams or _NONE).values()

    # What of a session concerns them.

    def next_epoch(self) -> int:
        """Begin a new opening; what the last instance has not handled goes to the next."""
        for stream in self._all():
            stream.begin_epoch()
        return super().next_epoch()

    @property
    def unconfirmed(self) -> bool:
        """Whether the instance was given something that it has not confirmed."""
        return super().unconfirmed or any(stream.unconfirmed for stream in self._all())

    @property
    def waiting(self) -> bool:
        """Whether a next instance would have something to do at once."""
        return super().waiting or any(stream.cost for stream in self._all())

    def release_held(self) -> None:
        """Send what waited for credit, or for room on the link."""
        super().release_held()
        self.release_messages()

    def handle_more(self, frame: tuple[Any, ...]) -> None:
        """Take in what the instance says of its channels."""
        if frame[1] == HANDLED:
            stream = (self._streams or _NONE).get(frame[3])
            if stream is not None:  # else the client has left
                stream.confirm(frame[4])
                self.on_confirmed(frame[4])
        elif frame[1] == LISTEN:
            self.on_listen(*frame[3:6])
        else:
            super().handle_more(frame)

    def take_frames(self) -> list[bytes]:
        """Return the packed frames of this turn for the bound worker, and forget them."""
        frames = super().take_frames()
        if self._streams:
            for channel, stream in self._streams.items():
                for first, run in stream.take_turn():
                    frames.append(pack((self.connection, EVENTS, self.epoch, channel, first, run)))
        return frames
