"""The link between two processes: batches are numbered, so that none is missing unnoticed.

Redis lists deliver at most once. A batch is lost when a process's connection breaks (an RPUSH that
never arrived, a BLMPOP that popped into a dead socket) or when Redis loses its memory. The link
numbers batches in each direction; whoever sees a gap, or has itself reconnected, starts a new
generation, and both sides end what they had under way with each other. A loss is thus always
visible, to the client as a status or a cut, and never a silently shorter answer.

Sans-I/O: the caller sends the headers that this class makes and shows it those that arrive.
"""

from enum import Enum, auto
from itertools import count
from typing import Final

from gateway_layer.wire import FLAG_RESET, LinkHeader


class Verdict(Enum):
    """What to do with a batch."""

    DELIVER = auto()
    DROP = auto()
    """A duplicate, or of a generation that is over."""
    STALE = auto()
    """Written to a generation of ours that is over: drop it and answer with `reset_header`."""
    LOST = auto()
    """The peer has started anew: end all sessions with it, then deliver this batch."""
    GAP = auto()
    """Something is missing: end all sessions with the peer, drop, answer with `reset_header`."""


class Generations:
    """Numbers for the generations of all links of one process: growing, never used twice."""

    def __init__(self) -> None:
        """Start at 1; 0 means unknown on the wire."""
        self._numbers = count(1)

    def next(self) -> int:
        """Return a number higher than all before."""
        return next(self._numbers)


class Link:
    """One process's side of the link to one peer.

    What the numbers count in is the pair of the two generations: it is new whenever either side
    starts anew, and only then. A side that merely hears of that counts from 0 again and keeps its
    own generation; if it drew a new one, two sides that start anew at once (Redis was restarted)
    would answer each other's news with news for ever.
    """

    __slots__ = ("_blind", "_generations", "_peer_gen", "_received", "_sent", "gen")

    def __init__(self, generations: Generations) -> None:
        """Start with a new generation; nothing is known of the peer's."""
        self._generations: Final = generations
        self.gen = generations.next()
        self._peer_gen = 0
        self._sent = 0
        self._received = 0
        self._blind = False

    def next_header(self) -> LinkHeader:
        """Return the header of the next batch to the peer."""
        seq = self._sent
        self._sent = seq + 1
        if not self._peer_gen:
            self._blind = True
        return LinkHeader(self.gen, self._peer_gen, seq, self._received, 0)

    def reset_header(self) -> LinkHeader:
        """Return the header of an empty batch which says that this side has started anew."""
        return LinkHeader(self.gen, self._peer_gen, 0, 0, FLAG_RESET)

    def restart(self) -> None:
        """Begin a new generation: what was under way is lost, and the peer has to hear of it."""
        self.gen = self._generations.next()
        self._sent = 0
        self._received = 0
        self._blind = False

    def receive(self, header: LinkHeader) -> Verdict:
        """Take in the header of a batch that arrived, and say what to do with the batch."""
        their_gen, our_gen, seq, _ack, flags = header
        if their_gen != self._peer_gen:
            return self._meet_generation(header)
        if flags & FLAG_RESET:
            return Verdict.DROP
        if our_gen != self.gen and our_gen != 0:
            return Verdict.STALE
        if seq == self._received:
            self._received = seq + 1
            return Verdict.DELIVER
        if seq < self._received:
            return Verdict.DROP
        self.restart()
        return Verdict.GAP

    def _meet_generation(self, header: LinkHeader) -> Verdict:
        """Judge a batch of a generation that is not the one known of the peer."""
        their_gen, our_gen, seq, _ack, flags = header
        if their_gen < self._peer_gen:
            return Verdict.DROP
        first, self._peer_gen = not self._peer_gen, their_gen
        reset = bool(flags & FLAG_RESET)
        # At a first meeting, what we have sent is on its way, unless the peer has started anew.
        lost = bool(self._sent or self._received) and (reset or not first)
        if lost and self._blind:
            # Batches that named no generation of the peer pass for any: a new one of ours, which
            # the peer has not taken up yet, tells what follows from them.
            self.restart()
            return Verdict.LOST if reset else Verdict.GAP
        if lost:
            self._sent = self._received = 0
        if reset:
            return Verdict.LOST if lost else Verdict.DROP
        if our_gen not in (0, self.gen):
            return Verdict.GAP if lost else Verdict.STALE
        if seq != 0:
            self.restart()
            return Verdict.GAP
        self._received = 1
        return Verdict.LOST if lost else Verdict.DELIVER
