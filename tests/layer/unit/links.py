"""Two links, and what passes between them."""

from gateway_layer.link import Link
from gateway_layer.wire import LinkHeader

Output = list[tuple[LinkHeader, list[bytes]]]


def number(link: Link, size: int = 1) -> LinkHeader:
    header = link.number([b"frame"], size)
    assert header is not None
    return header


def send(link: Link, peer: Link, count: int = 1, size: int = 1) -> list[bool]:
    """Let batches arrive; whether each was delivered."""
    return [peer.receive(number(link, size), size) for _ in range(count)]


def flags(output: Output) -> list[int]:
    return [header.flags for header, _frames in output]


def seqs(output: Output) -> list[int]:
    """Numbers of the batches that were sent again."""
    return [header.seq for header, _frames in output if not header.flags]


def pass_on(link: Link, peer: Link) -> Output:
    """Let arrive what the link itself has to say."""
    output = link.take_output()
    for header, frames in output:
        peer.receive(header, len(b"".join(frames)))
    return output


def talk(ours: Link, theirs: Link) -> None:
    """Until neither has anything more to say."""
    for _ in range(30):
        if not (ours.due or theirs.due):
            return
        pass_on(ours, theirs)
        pass_on(theirs, ours)
    raise AssertionError("the two never fall silent")


def lose(link: Link, count: int = 1, size: int = 1) -> None:
    for _ in range(count):
        number(link, size)
