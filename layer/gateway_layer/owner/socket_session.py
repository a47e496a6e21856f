"""A resumable connection on a socket: read within the application's credit, written within ours.

The socket is not read while events wait for credit or for room on the way to Redis, and what the
application may send grows as the client takes what was sent: whoever is slow stops the other.
"""

import asyncio
import time
from abc import abstractmethod
from typing import Any, Final, NamedTuple

from gateway_layer.codec import Message
from gateway_layer.owner.owner import FOREVER, Owner
from gateway_layer.owner.phase import ABNORMAL, TRY_AGAIN_LATER, Phase
from gateway_layer.owner.resumable import ResumableSession
from gateway_layer.push.frames import GONE, OK
from gateway_layer.session import State, event_cost, split_event
from gateway_layer.wire import CHUNK_BYTES

_HELD_BYTES: Final = 65_536
"""What a client may send before the application has accepted; then its socket is not read."""

_PIECE_BYTES: Final = 16_384
"""So much is parsed before credit is looked at again: parsed, tiny messages take 50 times the
room of their bytes, which wait in `raw_held` instead."""

_CLOSE_TIMEOUT_S: Final = 10.0
"""How long a client may take for its part in the end of the connection."""

_WAITING, _OPEN, _CLOSING, _DENYING, _OVER = Phase
_BOUND, _QUEUED = State.BOUND, State.QUEUED


class About(NamedTuple):
    """What is told of a connection when somebody asks."""

    connected_at_ms: int
    client: tuple[str, int | None] | None
    """(host, port), as in the scope."""
    user_agent: str = ""
    path: str = ""


class SocketSession(ResumableSession, asyncio.Protocol):
    """One client's socket and its session, in one object: there may be many thousands.

    Attributes:
        about: What is told of it.
        transport: The socket.
        heard: When the client last said something, by the loop's clock; 0.0: not since `opened`.
        read_paused: The socket is not read.
        write_paused: The client takes less than it is given.
        raw_held: What was read and may not be parsed yet.
    """

    __slots__ = (
        "_unsent",
        "_waiting_to_write",
        "about",
        "heard",
        "raw_held",
        "read_paused",
        "transport",
        "write_paused",
    )

    about: About
    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        """Begin without a socket; `take_socket` gives it."""
        super().__init__(owner)
        self._unsent = 0
        self._waiting_to_write = 0
        self.heard = 0.0
        self.raw_held = b""
        self.read_paused = False
        self.write_paused = False

    def take_socket(self, transport: asyncio.Transport, about: About) -> None:
        """Be the protocol of a socket from now on; `start` follows."""
        self.transport = transport
        self.about = about
        self.owner.clients.add(self)

    # What a protocol does with it.

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take in at most 16 KiB of what the client sent; `say` what is complete.

        A client that is at fault is closed with `close_client`; after the end of its protocol
        `close_transport` drops what it still sends.
        """

    def silent_until(self) -> float:
        """Return until when an open client may be silent; then `on_silence` is called."""
        return FOREVER

    def on_silence(self, now: float) -> None:
        """See after an open client that has not been heard; sets a new deadline."""
        self.set_deadline()

    def say(self, event: Message, key: str) -> None:
        """Send the application an event of the client; nothing after the connection's end.

        Args:
            event: Of ASGI's types.
            key: Which of its values is the payload, str (`text`) or bytes (`bytes`).
        """
        if self.left:
            return
        cost = event_cost(event)
        self.owner.node.outlet.room -= cost
        self.emit([event] if cost < CHUNK_BYTES // 4 else split_event(event, key), cost)

    # asyncio's side.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self.phase is _OPEN or self.phase is _CLOSING:
            self.heard = self.owner.loop.time()
            if self.raw_held:  # the transport had read already when it was told to pause
                self.raw_held += data
            else:
                self._feed(data)
        elif self.phase is _WAITING:
            self.hold(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self.owner.clients.discard(self)
        self.end_session(ABNORMAL, "")
        self.phase = _OVER

    def pause_writing(self) -> None:
        """The client takes less than the application gives: grant it no more credit."""
        self.write_paused = True
        self._waiting_to_write = self.transport.get_write_buffer_size()
        self.deadline = self.owner.loop.time() + self.owner.bounds.send_timeout_s

    def resume_writing(self) -> None:
        """The client has taken what waited."""
        self.write_paused = False
        unsent, self._unsent = self._unsent, 0
        if unsent and self.state is _BOUND:
            self.drained(unsent)
        self.set_deadline()
        self.read_on()

    # From the client.

    @property
    def congested(self) -> bool:
        """Whether the socket should not be read: no credit, or no room on the way to Redis."""
        return bool(self._held) or self.owner.node.outlet.room <= 0

    def claim_room(self, cost: int) -> bool:
        """Many clients may get credit in one turn; what they hold leaves in several."""
        return self.owner.node.outlet.claim(cost, self.release_held)

    def hold(self, data: bytes) -> None:
        """Keep what comes before the answer; the protocol must not see it yet."""
        self.raw_held += data
        if len(self.raw_held) > _HELD_BYTES:
            self.pause_reading()

    def _feed(self, data: bytes) -> None:
        """Take in what the client sent, as long as the socket would be read at all."""
        while len(data) > _PIECE_BYTES:
            self.receive(data[:_PIECE_BYTES])
            data = data[_PIECE_BYTES:]
            if self.congested:
                self._read_later()
            if self.phase is _OVER:
                return
            if self.read_paused:
                self.raw_held = data
                return
        self.receive(data)
        if self.congested:
            self._read_later()

    def _read_later(self) -> None:
        """Read nothing more before what there is has found its way."""
        if self.phase is _OVER:
            return
        self.pause_reading()
        outlet = self.owner.node.outlet
        if outlet.room <= 0:
            outlet.when_room(self.read_on)

    def pause_reading(self) -> None:
        """Read the socket no more, until there is no reason left to wait."""
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Take in what is held and read the socket again, unless there is a reason to wait."""
        if not self.read_paused or self._held or self.write_paused:
            return
        if self.phase is not _OPEN and self.phase is not _CLOSING:
            return
        outlet = self.owner.node.outlet
        if outlet.room <= 0:
            outlet.when_room(self.read_on)
            return
        self._read_held()

    def _read_held(self) -> None:
        held, self.raw_held = self.raw_held, b""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()
        if held:
            self._feed(held)

    # To the client.

    def opened(self) -> None:
        """The client has its answer: take in what it said meanwhile."""
        super().opened()
        self.heard = self.owner.loop.time()
        self.set_deadline()
        self._read_held()

    def write(self, data: bytes) -> None:
        """Write to the socket."""
        self.transport.write(data)

    def sent(self, cost: int) -> None:
        """Events of this cost were written; they count when the socket takes more."""
        if self.write_paused:
            self._unsent += cost
            self._waiting_to_write += cost  # more waits; that the client takes some shows
        else:
            self.drained(cost)

    def close_transport(self) -> None:
        """The protocol is over: write what waits, and close the socket."""
        self.phase = _OVER
        self.deadline = self.owner.loop.time() + _CLOSE_TIMEOUT_S
        self.transport.close()

    def await_close(self) -> None:
        """The client was told of the end: give it some time to do its part."""
        self.phase = _CLOSING
        self.deadline = self.owner.loop.time() + _CLOSE_TIMEOUT_S

    def abort(self) -> None:
        """End now."""
        self.transport.abort()

    # From other services.

    def push_frame(self, frame: bytes) -> bool:
        """Write an encoded message; a client that takes too little is closed with 1013."""
        if self.write_paused:
            waiting = self.transport.get_write_buffer_size() + len(frame)
            if waiting > self.owner.bounds.max_send_buffer_bytes:
                self.close_client(TRY_AGAIN_LATER, "too slow")
                return False
            self._waiting_to_write += len(frame)  # more waits; that the client takes some shows
        self.transport.write(frame)
        return True

    def flushed(self) -> str | None:
        """Whether the kernel has taken what was pushed; None: look again."""
        if self.transport.is_closing():
            return GONE
        waits = self.phase is _WAITING or self.transport.get_write_buffer_size()
        return None if waits else OK

    def info(self) -> dict[str, Any]:
        """Return what is known of this connection."""
        heard_before_s = self.owner.loop.time() - self.heard if self.heard else 0.0
        return {
            **self.about._asdict(),
            "last_active_ms": int((time.time() - heard_before_s) * 1000),
            "worker": self.worker,
            "epoch": self.epoch,
        }

    def describe(self) -> str:
        """Return connection and address for a log line."""
        return f"connection={self.connection} client={self.about.client}"

    # Deadlines.

    def set_deadline(self) -> None:
        """Set the deadline of a client for which nothing else is waited."""
        if self.write_paused or (self.resuming and self.state is _BOUND):
            return
        if self.phase is _DENYING:
            self.deadline = FOREVER
        elif self.phase is _OPEN:
            self.deadline = self.silent_until()

    def on_deadline(self, now: float) -> None:
        """Somebody has not done in time what was waited for."""
        if self.write_paused:
            waiting = self.transport.get_write_buffer_size()
            if waiting >= self._waiting_to_write:
                self.transport.abort()
            else:
                self._waiting_to_write = waiting
                self.deadline = now + self.owner.bounds.send_timeout_s
        elif self.resuming and self.state is _BOUND:
            self.deadline = FOREVER
            self.no_accept()
        elif self.phase is _OPEN:
            self.on_silence(now)
        elif self.phase is not _WAITING:
            self.transport.abort()
        elif self.state is _QUEUED:
            self.on_expired()
        else:
            self.refuse(504, "the application took too long")
