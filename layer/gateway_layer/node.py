"""A process among its peers: links, the sessions of its connections, and the turn's output.

One `Node` per process joins a `ChannelLayer` to sessions. What all sessions have to say in one turn
of the event loop leaves as one entry per peer; what arrives is checked against the link, then given
to the session that each frame names. A frame that cannot be read harms its own connection alone.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from gateway_layer.base import ChannelLayer
from gateway_layer.codec import Message
from gateway_layer.errors import LayerUnavailable, ProtocolError
from gateway_layer.link import Generations, Link, Verdict
from gateway_layer.outlet import Outlet
from gateway_layer.wire import (
    DEAD,
    MESSAGE,
    LinkHeader,
    read_entry,
    split_frames,
    write_entry,
)

_log = logging.getLogger("gateway.layer")

_RESET_AGAIN_S: Final = 1.0
"""A peer that could not be told of a lost entry is told so much later."""

_DEATH_SETTLES_S: Final = 0.02
"""A supervisor's word waits so long: what the dead process wrote before may still be on its way."""

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
        """The other end is gone, or something of it may be missing."""

    def on_malformed(self, reason: str) -> None:
        """The other end sent this session something that cannot be read."""


class Node:
    """Links and sessions of this process.

    Attributes:
        sessions: By connection id. Whoever adds one removes it.
        outlet: Where those who produce output look for room.
        channels: By local name, who gets the messages sent to `process!local`.
        dropped: Frames and entries that were not understood, so far.
        on_unknown: Called with (sender, frame) for a connection that has no session here; may
            return a frame to answer with.
        on_dead: Called with the pid of a process that died, after its sessions were told.
        on_lost: Called when entries may have been lost, after the bound sessions were told.
        on_available: Called when the layer can be used again, after `on_lost`.
    """

    def __init__(self, layer: ChannelLayer) -> None:
        """Take over the layer's callbacks."""
        self.layer: Final = layer
        self.sessions: Final[dict[str, Session]] = {}
        self.channels: Final[dict[str, Callable[[Message], None]]] = {}
        self.dropped = 0
        self.on_unknown: Callable[[str, tuple[Any, ...]], bytes | None] = _no_answer
        self.on_dead: Callable[[str], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing
        self.on_available: Callable[[], None] = _nothing
        self.outlet: Final = Outlet(self._flush_soon)
        self._generations = Generations()
        self._links: dict[str, Link] = {}
        self._dirty: list[Session] = []
        self._named: set[str] = set()
        self._flush_due = False
        self._untold: set[str] = set()
        layer.on_inbox = self._on_inbox
        layer.on_pushes = self._on_pushes
        layer.on_peer_dead = self._on_peer_dead
        layer.on_refused = self._on_refused
        layer.on_lost = self._on_lost
        layer.on_available = self._greet
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
        """Send what the marked sessions have to say, one entry per peer, now."""
        self._flush_due = False
        dirty = self._dirty
        if not dirty:
            self._on_room()
            return
        self._dirty = []
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
        for peer, frames in by_peer.items():
            self.send(peer, frames)
        self.layer.flush()
        self._on_room()

    def _on_room(self) -> None:
        self.outlet.flushed(congested=self.layer.congested)

    def send(self, peer: str, frames: list[bytes]) -> None:
        """Send packed frames to a peer over the link; lost visibly if Redis cannot be reached."""
        link = self._links.get(peer)
        if link is None:
            link = self._links[peer] = Link(self._generations)
        try:
            for run in split_frames(frames):
                self.layer.deliver(peer, write_entry(self.layer.head, link.next_header(), run))
        except LayerUnavailable:
            # `on_lost` told those sessions that were bound when Redis went; these came later,
            # or Redis is there and takes no more.
            self._on_refused(peer)

    def _send_reset(self, peer: str, link: Link) -> None:
        try:
            self.layer.deliver(peer, write_entry(self.layer.head, link.reset_header(), []))
        except LayerUnavailable:
            self._reset_later(peer)

    def _on_refused(self, peer: str) -> None:
        """What was sent to a peer has not left: end what it was part of, and tell the peer."""
        link = self._links.get(peer)
        if link is not None:
            link.restart()
            self._end_sessions(peer, "Redis does not take what this process sends")
            self._reset_later(peer)

    def _reset_later(self, peer: str) -> None:
        if peer not in self._untold:
            self._untold.add(peer)
            asyncio.get_running_loop().call_later(_RESET_AGAIN_S, self._reset_now, peer)

    def _reset_now(self, peer: str) -> None:
        self._untold.discard(peer)
        link = self._links.get(peer)
        if link is not None and self.layer.available:  # else `_greet` tells it
            self._send_reset(peer, link)

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
            elif self._admit(sender, header):
                self._handle_frames(sender, frames)

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

    def _admit(self, sender: str, header: LinkHeader) -> bool:
        """Show a header to its link and carry out the verdict; True: deliver the batch."""
        link = self._links.get(sender)
        if link is None:
            link = self._links[sender] = Link(self._generations)
        gen = link.gen
        verdict = link.receive(header)
        if verdict is Verdict.DELIVER:
            return True
        if verdict is Verdict.STALE:
            self._send_reset(sender, link)
        elif verdict is Verdict.GAP:
            self._end_sessions(sender, "an entry of the peer was lost")
            self._send_reset(sender, link)
        elif verdict is Verdict.LOST:
            self._end_sessions(sender, "the peer has started its link anew")
            if link.gen != gen:
                # The peer may have bound sessions to what we sent before: it would wait for ever.
                self._send_reset(sender, link)
            return bool(header.seq == 0 and not header.flags)
        return False

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
        self._end_sessions(pid, "the peer process died")
        self.on_dead(pid)

    def _on_lost(self) -> None:
        peers = list(self._links)
        for link in self._links.values():
            link.restart()
        for peer in peers:
            self._end_sessions(peer, "the connection to Redis was lost")
        self.on_lost()

    def _greet(self) -> None:
        """Tell every peer that its link was started anew; the layer is available again."""
        for peer, link in list(self._links.items()):
            self._send_reset(peer, link)
        self.on_available()

    def _end_sessions(self, peer: str, reason: str) -> None:
        for session in [one for one in self.sessions.values() if one.peer == peer]:
            _end(session.on_lost, reason)


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
