"""A process among its peers: links, the sessions of its connections, and the turn's output.

One `Node` per process joins a `ChannelLayer` to sessions. What all sessions have to say in one turn
of the event loop leaves as one entry per peer; what arrives is checked against the link, then given
to the session that each frame names. A frame that cannot be read harms its own connection alone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from gateway_layer.base import ChannelLayer
from gateway_layer.codec import Message, pack
from gateway_layer.errors import LayerUnavailable, ProtocolError
from gateway_layer.link import Generations, Link
from gateway_layer.outlet import Outlet
from gateway_layer.wire import DEAD, FLAG_BYE, LOST, MESSAGE, read_entry, split_frames, write_entry

_log = logging.getLogger("gateway.layer")

_TICK_S: Final = 0.5

_SETTLE_LOOK_S: Final = 0.01

STUCK_S: Final = 40.0
"""A peer that is alive and has taken nothing for so long is given up: longer than an event loop may
stand still before its process is ended."""

_DEATH_SETTLES_S: Final = 0.02
"""A supervisor's word waits so long: what the dead process wrote before may still be on its way."""

_GONE: Final = 10_000
"""So many of the dead are known by name: one that was merely held for dead may come back."""

# What reading a hostile frame can raise anywhere below `Session.handle`.
MALFORMED: Final = (
    ProtocolError,
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
)


class Session(Protocol):
    """What the node needs of a session, on either side."""

    dirty: bool
    connection: str

    @property
    def peer(self) -> str | None:
        """Pid of the process at the other end, None while there is none."""

    def handle(self, sender: str, frame: tuple[Any, ...]) -> bytes | None:
        """Take in a frame; may return a frame to answer with."""

    def take_frames(self) -> list[bytes]:
        """Return what to send, packed."""

    def on_lost(self, reason: str) -> None:
        """The other end is gone, or has forgotten this session."""

    def on_room(self) -> None:
        """The link to the other end is not full any more."""

    def on_malformed(self, reason: str) -> None:
        """The other end sent this session something that cannot be read."""


class Node:
    """Links and sessions of this process.

    Attributes:
        sessions: By connection id. Whoever adds one removes it.
        outlet: Where those who produce output look for room.
        full: Peers whose links are full.
        channels: By local name, who gets the messages sent to `process!local`.
        dropped: Frames and entries that were not understood, so far.
        on_unknown: Called with (sender, frame) for a connection that has no session here; may
            return a frame to answer with.
        on_dead: Called with the pid of a process that died, after its sessions were told.
        on_lost: Called when Redis went away, or lost what it held; sessions outlive that.
        on_available: Called when the layer can be used again, after `on_lost`.
        on_pull_lost: Called when a process may have taken openings that never came there.
        on_fenced: Called when this process was held for dead, after its sessions were told.
    """

    def __init__(self, layer: ChannelLayer) -> None:
        """Take over the layer's callbacks."""
        self.layer: Final = layer
        self.sessions: Final[dict[str, Session]] = {}
        self.full: Final[set[str | None]] = set()
        self.channels: Final[dict[str, Callable[[Message], None]]] = {}
        self.dropped = 0
        self.on_unknown: Callable[[str, tuple[Any, ...]], bytes | None] = _no_answer
        self.on_dead: Callable[[str], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing
        self.on_available: Callable[[], None] = _nothing
        self.on_fenced: Callable[[], None] = _nothing
        self.on_pull_lost: Callable[[], None] = _nothing
        self.outlet: Final = Outlet(self._flush_soon)
        self._generations = Generations()
        self._links: dict[str, Link] = {}
        self._gone: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._tick_timer: asyncio.TimerHandle | None = None
        self._dirty: list[Session] = []
        self._named: set[str] = set()
        self._flush_due = False
        self._pull_lost = False  # and not everybody has heard of it
        layer.on_inbox = self._on_inbox
        layer.on_pushes = self._on_pushes
        layer.on_peer_dead = self._on_peer_dead
        layer.on_peer_back = self._on_peer_back
        layer.on_lost = lambda: self.on_lost()
        layer.on_available = self._on_available
        layer.on_fenced = self._on_fenced
        layer.on_pull_lost = self._tell_of_pull
        layer.on_room = self._on_room

    # Output.

    def mark(self, session: Session) -> None:
        """Have `session.take_frames` called at the end of this turn."""
        if not session.dirty:
            session.dirty = True
            self._dirty.append(session)
            if not self._flush_due:
                self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what the marked sessions and the links have to say, one entry per peer, now."""
        self._flush_due = False
        if self._dirty:
            for peer, frames in self._take_frames().items():
                self.send(peer, frames)
        if self._due:
            self._send_due()
        self.layer.flush()
        self._on_room()

    def _take_frames(self) -> dict[str, list[bytes]]:
        """Return what the marked sessions have to say, by peer."""
        dirty, self._dirty = self._dirty, []
        by_peer: dict[str, list[bytes]] = {}
        for session in dirty:
            session.dirty = False
            peer = session.peer
            try:
                frames = session.take_frames()
            except Exception:  # a fault of ours, which harms no other connection of this turn
                _log.exception("output of connection %s failed", session.connection)
                _end(session.on_malformed, "the gateway could not pack an event")
                continue
            if frames and peer is not None:
                if peer in by_peer:
                    by_peer[peer] += frames
                else:
                    by_peer[peer] = frames
        return by_peer

    def _on_room(self) -> None:
        self.outlet.flushed(congested=self.layer.congested)

    def link(self, peer: str) -> Link:
        """Return the link to a peer; it begins with the first call."""
        link = self._links.get(peer)
        if link is None:
            link = self._links[peer] = Link(self._generations)
            if peer in self._gone:
                link.restart()  # it may know one that was forgotten here
            if self._tick_timer is None:
                self._tick_timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        return link

    def send(self, peer: str, frames: list[bytes]) -> None:
        """Send packed frames to a peer, for certain and in order, as long as it lives."""
        link = self.link(peer)
        layer = self.layer
        for run, size in split_frames(frames):
            header = link.number(run, size)
            if header is not None:
                try:
                    layer.deliver(peer, write_entry(layer.head, header, run))
                except LayerUnavailable:
                    link.not_sent()
        if link.full:
            self.full.add(peer)

    def _send_due(self) -> None:
        """Send what links have to say of themselves: questions, answers, batches again."""
        due, self._due = self._due, {}
        layer = self.layer
        if not layer.available:
            return  # `_on_available` asks everybody
        for peer in due:
            link = self._links.get(peer)
            if link is None:
                continue
            try:
                for header, frames in link.take_output():
                    layer.deliver(peer, write_entry(layer.head, header, frames))
            except LayerUnavailable:
                link.suspect()  # the next tick tries again
                continue
            if link.due:
                self._link_due(peer)

    def _link_due(self, peer: str) -> None:
        self._due[peer] = None
        self._flush_soon()

    def _tick(self) -> None:
        """Look at all links; runs for as long as there are any."""
        self._tick_timer = None
        if not self._links:
            return
        loop = asyncio.get_running_loop()
        self._tick_timer = loop.call_later(_TICK_S, self._tick)
        if not self.layer.available:
            return
        now_s = loop.time()
        for peer, link in list(self._links.items()):
            link.tick(now_s)
            if link.stuck_s > STUCK_S:
                _log.error("process %s is alive and takes nothing: its sessions end", peer)
                link.restart()
                self.full.discard(peer)
                self._end_sessions(peer, "the peer process takes nothing")
            if link.due:
                self._link_due(peer)

    @property
    def resent(self) -> int:
        """Batches that were sent again, to the peers of now."""
        return sum(link.resent for link in self._links.values())

    async def settle(self, timeout_s: float) -> bool:
        """Wait until every living peer has all that was sent to it; before this process ends.

        Returns:
            Whether that was so within `timeout_s`.
        """
        self.flush()
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        asked: dict[str, None] = {}
        while waiting := [peer for peer, link in self._links.items() if not link.settled]:
            if loop.time() >= until:
                return False
            for peer in waiting:
                if peer not in asked:
                    asked[peer] = None
                    self._links[peer].suspect()
                    self._link_due(peer)
            await asyncio.sleep(_SETTLE_LOOK_S)
        return True

    def close(self) -> None:
        """Say farewell to all peers, and look at the links no more."""
        with contextlib.suppress(LayerUnavailable):
            for peer, link in self._links.items():
                self.layer.deliver(peer, write_entry(self.layer.head, link.bye(), []))
        if self._tick_timer is not None:
            self._tick_timer.cancel()
            self._tick_timer = None

    # Input.

    def _on_inbox(self, entries: Any) -> None:
        for raw in entries:
            try:
                _version, sender, header, frames = read_entry(raw)
            except ProtocolError as error:
                self.drop(str(error), error.sender)
                continue
            if header is None:
                self._handle_words(sender, frames)
            else:
                if header.flags & FLAG_BYE:
                    self.layer.found_dead(sender)
                    continue
                link = self.link(sender)
                deliver = link.receive(header, len(raw))
                if link.lost:
                    link.lost = False
                    self._end_sessions(sender, "the peer process has forgotten this connection")
                if deliver:
                    self._handle_frames(sender, frames)
                if link.freed:
                    self._wake(sender, link)
                if link.due:
                    self._link_due(sender)

    def _on_pushes(self, entries: Any) -> None:
        """Take messages of other services, who have no say in links, sessions and deaths."""
        for raw in entries:
            try:
                _version, sender, header, frames = read_entry(raw)
                mere_messages = header is None and all(frame[1] == MESSAGE for frame in frames)
            except ProtocolError as error:
                self.drop(str(error), error.sender)
            except MALFORMED as error:
                self.drop(f"a push: {type(error).__name__}: {error}", "push")
            else:
                if mere_messages:
                    self._handle_words(sender, frames)
                else:
                    self.drop(f"more than messages pushed by {sender!r}", sender)

    def _handle_frames(self, sender: str, frames: tuple[tuple[Any, ...], ...]) -> None:
        sessions = self.sessions
        answers: list[bytes] | None = None
        for frame in frames:
            session = None
            try:
                session = sessions.get(frame[0])
                if session is not None:
                    answer = session.handle(sender, frame)
                else:
                    answer = self.on_unknown(sender, frame)
            except MALFORMED as error:
                self.drop(f"a frame of {sender!r}: {type(error).__name__}: {error}", sender)
                # Not for a frame of a third process: it has no say in this connection.
                if session is not None and session.peer in (sender, None):
                    _end(session.on_malformed, "the gateway could not read an event of its peer")
                continue
            except Exception:  # a fault of ours, which harms no other connection of this batch
                _log.exception("a frame of %r failed", sender)
                if session is not None:
                    _end(session.on_malformed, "the gateway could not carry out an event")
                continue
            if answer is not None:
                answers = [*(answers or ()), answer]
        if answers:
            self.send(sender, answers)

    def _handle_words(self, sender: str, frames: tuple[tuple[Any, ...], ...]) -> None:
        """Handle frames that belong to no link: messages, and the word of a supervisor."""
        for frame in frames:
            try:
                if frame[1] == DEAD and frame[3].__class__ is str:
                    asyncio.get_running_loop().call_later(
                        _DEATH_SETTLES_S, self.layer.found_dead, frame[3]
                    )
                elif frame[1] == LOST:
                    self.on_pull_lost()
                elif (
                    frame[1] == MESSAGE and frame[0] in self.channels and frame[3].__class__ is dict
                ):
                    self.channels[frame[0]](frame[3])
                else:
                    self.drop(f"op {frame[1]!r} for {frame[0]!r} outside of a link", sender)
            except MALFORMED as error:
                self.drop(f"a frame of {sender!r}: {type(error).__name__}: {error}", sender)

    def drop(self, reason: str, source: str) -> None:
        """Count what was not understood, and log the first of each source."""
        self.dropped += 1
        source = source[:64]
        if source not in self._named and len(self._named) < 1000:
            self._named.add(source)
            _log.warning("dropped from Redis, logged once for its sender: %s", reason[:300])

    # Deaths and losses.

    def _on_peer_dead(self, pid: str) -> None:
        self._links.pop(pid, None)
        self._gone[pid] = None
        if len(self._gone) > _GONE:
            del self._gone[next(iter(self._gone))]
        self.full.discard(pid)
        self._end_sessions(pid, "the peer process died")
        self.on_dead(pid)

    def _on_peer_back(self, pid: str) -> None:
        """Tell a process that was held for dead; it may not know, and keep what is over."""
        if pid in self._gone:
            self.link(pid)
            self._link_due(pid)

    def _on_available(self) -> None:
        """Redis is back: whatever was under way in either direction may be lost."""
        for peer, link in self._links.items():
            link.suspect(inbox=True)
            self._link_due(peer)
        if self._pull_lost:
            self._tell_of_pull()
        self.on_available()

    def _on_fenced(self) -> None:
        """This process was held for dead: its peers have ended everything with it."""
        for peer, link in self._links.items():
            link.restart()
            self._link_due(peer)
        self.full.clear()
        for session in [one for one in self.sessions.values() if one.peer is not None]:
            _end(session.on_lost, "this process stood still and was held for dead")
        self.on_fenced()

    def _tell_of_pull(self) -> None:
        """Tell everybody that openings of theirs may be lost on their way out of a queue.

        Also who has no link to this process: its first opening may be among them.
        """
        layer = self.layer
        entry = write_entry(layer.head, None, [pack(("", LOST, 0))])
        try:
            for peer in {*self._links, *layer.living} - {layer.pid}:
                layer.deliver(peer, entry)
        except LayerUnavailable:
            self._pull_lost = True  # only this process has lost Redis, perhaps: nobody else looks
        else:
            self._pull_lost = False

    def _of_peer(self, peer: str) -> list[Session]:
        return [one for one in self.sessions.values() if one.peer == peer]

    def _end_sessions(self, peer: str, reason: str) -> None:
        for session in self._of_peer(peer):
            _end(session.on_lost, reason)

    def _wake(self, peer: str, link: Link) -> None:
        link.freed = False
        self.full.discard(peer)
        for session in self._of_peer(peer):
            session.on_room()


def _end(end: Callable[[str], None], reason: str) -> None:
    """Tell a session of its end; a fault in it must not keep others from theirs."""
    try:
        end(reason)
    except Exception:
        _log.exception("ending a connection failed")


def _no_answer(_sender: str, _frame: tuple[Any, ...]) -> bytes | None:
    return None


def _nothing(*_arguments: object) -> None:
    return None
