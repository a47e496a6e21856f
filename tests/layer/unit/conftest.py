import pytest
from tests.layer.unit.links import send, talk

from gateway_layer.link import Generations, Link


@pytest.fixture
def ours() -> Link:
    return Link(Generations())


@pytest.fixture
def theirs() -> Link:
    generations = Generations()
    for _ in range(10):
        generations.next()  # so that the two sides' numbers differ
    return Link(generations)


@pytest.fixture
def met(ours: Link, theirs: Link) -> tuple[Link, Link]:
    """Both know each other, and nothing is unacknowledged."""
    for link, peer in ((ours, theirs), (theirs, ours), (ours, theirs)):
        assert send(link, peer) == [True]
    for now_s in (0.0, 1.0):
        for link in (ours, theirs):
            link.tick(now_s)
    talk(ours, theirs)
    assert ours.settled
    assert theirs.settled
    return ours, theirs
