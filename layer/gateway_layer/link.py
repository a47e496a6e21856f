"""The link between two processes: numbered batches, none of which is lost, doubled or overtaken.

Redis lists deliver at most once. A batch is lost when a process's connection breaks (an RPUSH that
never arrived, a BLMPOP that popped into a dead socket) or when Redis loses its memory. A link keeps
what it sent until the peer has acknowledged it, and after a disturbance sends again exactly what is
missing.

It finds out what is missing by asking, never by waiting: a PROBE travels through the same list as
the batches before it, so its answer says for certain which of them have arrived. A timer only ever
sends a probe. (Were data sent again by a timer, a peer that is merely busy would find everything
twice in its inbox, and be busier.)

A generation is the life of one side's memory of the link. A side that has forgotten (it was held
for dead, or held the peer for dead) begins a new one; the other side hears of it by the number,
ends what it had under way with the peer, and begins a new one, too.

Sans-I/O: the caller sends the headers that this class makes, shows it those that arrive, and calls
`tick` about twice a second.
"""

from collections import deque
from itertools import count
from typing import Final, NamedTuple

from gateway_layer.wire import FLAG_ACK, FLAG_ANSWER, FLAG_BYE, FLAG_PROBE, FLAG_WANT, LinkHeader

CAPACITY_BYTES: Final = 16 * 2**20
"""What one peer may have left unacknowledged; then whoever sends to it has to wait."""

_ACK_BATCHES: Final = 64
_ACK_BYTES: Final = 262_144
_ACK_S: Final = 0.5
"""An acknowledgement rides on the next batch; it goes alone after so much, or so long."""

_PROBE_S, _LONGEST_PROBE_S = 1.5, 8.0
"""What is not acknowledged for so long is asked for; twice as long each time."""

_RESEND_BYTES: Final = 2**20
"""Sent again at once; the rest after another probe, so that others get their turn."""


class Generations:
    """Numbers for the generations of all links of one process: growing, never used twice."""

    def __init__(self) -> None:
        """Start at 1; 0 means unknown on the wire."""
        self._numbers = count(1)

    def next(self) -> int:
        """Return a number higher than all before."""
        return next(self._numbers)


class Batch(NamedTuple):
    """What was sent and is not acknowledged."""

    seq: int
    frames: list[bytes]
    size: int


class Link:
    """One process's side of the link to one peer.

    Attributes:
        gen: Generation of this side.
        due: `take_output` has something to send.
        lost: The peer had forgotten this link: end all sessions with it, then clear this. It is
            set before the batch that told so is delivered.
        freed: There is room again after `full`; whoever has been waiting clears this.
        full: More than `CAPACITY_BYTES` are unacknowledged.
        stuck_s: For how long the oldest unacknowledged batch has been so, as of the last `tick`.
        resent: Batches sent again, so far.
    """

    __slots__ = (
        "_acked",
        "_answer",
        "_asked",
        "_echo",
        "_generations",
        "_heard",
        "_heard_bytes",
        "_heard_since",
        "_news_since",
        "_next_probe_s",
        "_peer_gen",
        "_probe",
        "_pushed",
        "_received",
        "_resend",
        "_sent",
        "_stuck_seq",
        "_stuck_since",
        "_unacked",
        "_unacked_bytes",
        "_void",
        "_want",
        "due",
        "freed",
        "full",
        "gen",
        "lost",
        "resent",
        "stuck_s",
    )

    def __init__(self, generations: Generations) -> None:
        """Start with a new generation; nothing is known of the peer's."""
        self._generations: Final = generations
        self._peer_gen = 0
        self._void = False  # we began anew, and the peer may not know of it
        self._news_since: float | None = None  # when it was told last, as of a `tick`
        self.due = False
        self.lost = False
        self.full = False
        self.freed = False
        self.resent = 0
        self._begin()

    def _begin(self) -> None:
        self.gen = self._generations.next()
        self._sent = 0
        self._pushed = 0  # batches below it were written at least once
        self._received = 0
        self._acked = 0
        self._unacked: deque[Batch] = deque()
        self._unacked_bytes = 0
        self._heard = self._heard_bytes = 0
        self._heard_since: float | None = None
        self._probe = False  # one has to go out
        self._asked: int | None = None  # the probe whose answer is awaited
        self._answer: int | None = None
        self._want = False
        self._echo = 0
        self._resend = False
        self._stuck_seq = -1
        self._stuck_since = 0.0
        self._next_probe_s = _PROBE_S
        self.stuck_s = 0.0
        if self.full:
            self.full = False
            self.freed = True

    def restart(self) -> None:
        """Begin a new generation: what was under way is void, and the peer shall hear of it."""
        self._begin()
        self._void = self._want = self.due = True
        self._news_since = None

    # Output.

    def number(self, frames: list[bytes], size: int) -> LinkHeader | None:
        """Take a batch in charge.

        Args:
            frames: Packed; not to be changed afterwards.
            size: Their bytes, together.

        Returns:
            The header to send it with, or None: it has to wait, for others wait before it.
        """
        seq = self._sent
        self._sent = seq + 1
        self._unacked.append(Batch(seq, frames, size))
        self._unacked_bytes += size
        if self._unacked_bytes > CAPACITY_BYTES:
            self.full = True
        if self._pushed != seq:
            return None
        self._pushed = seq + 1
        self._heard = self._heard_bytes = 0
        self._heard_since = None
        return LinkHeader(self.gen, self._peer_gen, seq, self._received, 0)

    def not_sent(self) -> None:
        """The batch that was numbered last could not be written; it waits for `suspect`."""
        self._pushed = self._sent - 1

    def suspect(self, *, inbox: bool = False) -> None:
        """Something of what was sent may be lost: ask.

        Args:
            inbox: Something of what the peer sent may be lost, too: have it ask.
        """
        self._asked = None  # its answer may be lost, or come from before the disturbance
        self._resend = False
        self._stuck_seq = -1
        if self._unacked:
            self._probe = self.due = True
        if inbox:
            self._want = self.due = True

    def take_output(self) -> list[tuple[LinkHeader, list[bytes]]]:
        """Return what the link itself has to send now: batches again, questions, answers."""
        self.due = False
        output: list[tuple[LinkHeader, list[bytes]]] = []
        if self._want:
            self._want = False
            their_gen, self._echo = self._echo or self._peer_gen, 0
            output.append((LinkHeader(self.gen, their_gen, 0, self._received, FLAG_WANT), []))
        if self._answer is not None:
            output.append((self._control(self._answer, FLAG_ANSWER), []))
            self._answer = None
        if self._resend:
            self._resend = False
            output += self._batches_again()
        if self._probe:
            self._probe = False
            self._asked = self._pushed
            output.append((self._control(self._pushed, FLAG_PROBE), []))
        if not output and self._heard_since is not None:
            output.append((self._control(0, FLAG_ACK), []))
        if output:
            self._heard = self._heard_bytes = 0
            self._heard_since = None
        return output

    def _control(self, seq: int, flag: int) -> LinkHeader:
        return LinkHeader(self.gen, self._peer_gen, seq, self._received, flag)

    def _batches_again(self) -> list[tuple[LinkHeader, list[bytes]]]:
        """Return what is not acknowledged, from the oldest on, as far as it may go at once."""
        output: list[tuple[LinkHeader, list[bytes]]] = []
        size = 0
        before = self._pushed
        for batch in self._unacked:
            if size and size + batch.size > _RESEND_BYTES:
                # What lies behind is as good as never written: nothing may overtake it.
                self._pushed = batch.seq
                self._probe = True
                break
            size += batch.size
            self.resent += batch.seq < before
            header = LinkHeader(self.gen, self._peer_gen, batch.seq, self._received, 0)
            output.append((header, batch.frames))
        else:
            self._pushed = self._sent
        return output

    def tick(self, now_s: float) -> None:
        """See whether an acknowledgement is overdue, on either side.

        Args:
            now_s: A clock that does not jump, in seconds.
        """
        if self._heard:
            if self._heard_since is None:
                self._heard_since = now_s
            elif now_s - self._heard_since >= _ACK_S:
                self.due = True
        if self._void:
            self._repeat_news(now_s)
        if not self._unacked:
            self.stuck_s = 0.0
        elif self._unacked[0].seq != self._stuck_seq:
            self._stuck_seq, self._stuck_since = self._unacked[0].seq, now_s
            self._next_probe_s = _PROBE_S
            self.stuck_s = 0.0
        else:
            self.stuck_s = now_s - self._stuck_since
            if self.stuck_s >= self._next_probe_s:
                self._next_probe_s = self.stuck_s + min(self.stuck_s, _LONGEST_PROBE_S)
                self._probe = self.due = True

    def _repeat_news(self, now_s: float) -> None:
        """Say again that we began anew: a peer that never hears of it keeps what is void."""
        if self._news_since is None:
            self._news_since = now_s
        elif now_s - self._news_since >= _PROBE_S:
            self._news_since = now_s
            self._want = self.due = True

    def bye(self) -> LinkHeader:
        """Return the last header to the peer: this process ends."""
        return self._control(0, FLAG_BYE)

    @property
    def settled(self) -> bool:
        """Whether the peer has all that was sent."""
        return not self._unacked

    # Input.

    def receive(self, header: LinkHeader, size: int) -> bool:
        """Take in a header that arrived.

        Args:
            header: Of a batch, or of the link itself (its flags are not 0).
            size: Bytes of the batch.

        Returns:
            Whether to deliver the batch, after `lost` was looked at.
        """
        their_gen, our_gen, seq, ack, flags = header
        if (
            their_gen != self._peer_gen or self._void or (our_gen != self.gen and our_gen)
        ) and not self._meet(their_gen, our_gen):
            return False
        if ack > self._acked and our_gen == self.gen:
            self._acknowledge(ack)
        if flags:
            self._control_received(seq, ack, flags, current=our_gen == self.gen)
            return False
        if seq != self._received:
            if seq > self._received:
                self._want = self.due = True
            else:
                self._heard += 1  # a duplicate: the sender has not had our acknowledgement
            return False
        self._received = seq + 1
        self._heard += 1
        self._heard_bytes += size
        if self._heard >= _ACK_BATCHES or self._heard_bytes >= _ACK_BYTES:
            self._heard_since = 0.0
            self.due = True
        return True

    def _meet(self, their_gen: int, our_gen: int) -> bool:
        """Judge a header that is not of the two generations known; whether to go on with it."""
        if their_gen < self._peer_gen:
            return False
        # What was written before they heard of us may be from before we forgot.
        current = our_gen == self.gen or not (our_gen or self._void)
        if self._peer_gen and their_gen > self._peer_gen and not self._void:
            self.restart()
            self.lost = True
        elif not current:
            # Written to a generation of ours that is over: say which one it is now.
            self._echo = their_gen
            self._want = self.due = True
            return False
        if their_gen > self._peer_gen:
            self._peer_gen = their_gen
            self._received = 0
        self._void = False
        return current

    def _acknowledge(self, ack: int) -> None:
        if ack > self._sent:
            return  # nonsense
        self._acked = ack
        unacked = self._unacked
        while unacked and unacked[0].seq < ack:
            self._unacked_bytes -= unacked.popleft().size
        self._pushed = max(self._pushed, ack)
        if self.full and self._unacked_bytes < CAPACITY_BYTES // 2:
            self.full = False
            self.freed = True

    def _control_received(self, seq: int, ack: int, flags: int, *, current: bool) -> None:
        if flags & FLAG_PROBE:
            self._answer = seq
            self.due = True
        if flags & FLAG_WANT:
            if self._unacked and current:
                self._probe = True
            else:
                self._heard_since = 0.0  # an acknowledgement shows that we know its generation
            self.due = True
        if not current:
            return  # they do not know this generation of ours, so they say nothing of it
        if flags & FLAG_ANSWER and seq == self._asked:
            self._asked = None
            if self._unacked and (ack < seq or self._pushed < self._sent):
                # All behind a gap was dropped when it arrived, also what followed the probe.
                self._resend = self.due = True
