"""Channels of connections at their owner: who gets a message, who is in a group."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.layer.unit.test_owner import Client, connect

from gateway_layer.codec import unpack
from gateway_layer.errors import ProtocolError
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.owner import Bounds, Owner
from gateway_layer.owner.channels import OwnerMailbox
from gateway_layer.session import State
from gateway_layer.wire import CLAIM, EVENTS, HANDLED, LISTEN

WORKER = "w" * 22
LATER_MS = 2**42
"""When messages of these tests expire."""


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    layer = MemoryLayer(MemoryBroker(), "interface")
    owner = Owner(Node(layer), Bounds())
    await layer.start()
    yield owner
    await owner.close()
    await layer.close()


@pytest.fixture
def mailbox(owner: Owner) -> OwnerMailbox:
    return OwnerMailbox(owner.node)


def bound(owner: Owner) -> Client:
    """A connection with an instance."""
    client = connect(owner)
    claim = (client.connection, CLAIM, client.epoch, (), None, None, 10_000)
    assert client.handle(WORKER, claim) is None
    assert client.state is State.BOUND
    return client


def channel(client: Client, number: int = 1) -> str:
    return f"specific.{client.owner.node.layer.pid}!{client.connection}.{number}"


def given(client: Client) -> list[tuple[int, int, list[bytes]]]:
    """What its instance is given: (channel, number of the first, payloads)."""
    frames = [unpack(raw) for raw in client.take_frames()]
    return [
        (frame[3], frame[4], [event["bytes"] for event in frame[5]])
        for frame in frames
        if frame[1] == EVENTS
    ]


async def test_message_is_given_to_the_instance(owner: Owner, mailbox: OwnerMailbox) -> None:
    client = bound(owner)
    assert mailbox.deliver(channel(client, 2), (LATER_MS, b"hello"))
    assert given(client) == [(2, 1, [b"hello"])]


async def test_what_no_instance_has_handled_goes_to_the_next(
    owner: Owner, mailbox: OwnerMailbox
) -> None:
    client = bound(owner)
    for payload in (b"1", b"2", b"3"):
        mailbox.deliver(channel(client), (LATER_MS, payload))
    assert given(client) == [(1, 1, [b"1", b"2", b"3"])]
    client.handle(WORKER, (client.connection, HANDLED, client.epoch, 1, 1))
    client.next_epoch()
    client.handle(WORKER, (client.connection, CLAIM, client.epoch, (), None, None, 10_000))
    assert given(client) == [(1, 1, [b"2", b"3"])]


async def test_channel_that_holds_too_much_drops_and_counts(
    owner: Owner, mailbox: OwnerMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    client = bound(owner)
    taken = [mailbox.deliver(channel(client), (LATER_MS, bytes(100_000))) for _ in range(5)]
    assert taken == [True, True, False, False, False]
    assert mailbox.dropped == 3
    assert len([one for one in caplog.records if "a channel is full" in one.message]) == 1


async def test_message_for_a_client_that_left_is_nobody_s(
    owner: Owner, mailbox: OwnerMailbox
) -> None:
    client = bound(owner)
    client.end_session(1000, "")
    assert mailbox.deliver(channel(client), (LATER_MS, b"late"))
    assert mailbox.dropped == 0


@pytest.mark.parametrize(
    "name", ["", "plain", "a!b", "a!CONNECTION", "a!CONNECTION.x", "a!CONNECTION.²"]
)
async def test_name_of_no_channel_is_passed_over(
    owner: Owner, mailbox: OwnerMailbox, name: str
) -> None:
    client = bound(owner)
    name = name.replace("CONNECTION", client.connection)
    mailbox.join("group", name)
    assert mailbox.deliver(name, (LATER_MS, b"?"))
    assert given(client) == []
    assert mailbox.count("group") == 0


async def test_connection_that_is_over_leaves_its_groups_alone(
    owner: Owner, mailbox: OwnerMailbox
) -> None:
    one, other = bound(owner), bound(owner)
    for client in (one, other):
        mailbox.join("both", channel(client))
    mailbox.join("own", channel(one))
    assert sorted(mailbox.leave_all(one.connection)) == ["both", "own"]
    assert (mailbox.count("both"), mailbox.count("own")) == (1, 0)
    assert mailbox.leave_all(one.connection) == []


async def test_confirmation_of_what_never_came_is_malformed(
    owner: Owner, mailbox: OwnerMailbox
) -> None:
    client = bound(owner)
    mailbox.deliver(channel(client), (LATER_MS, b"1"))
    client.take_frames()
    with pytest.raises(ProtocolError, match="1 were sent"):
        client.handle(WORKER, (client.connection, HANDLED, client.epoch, 1, 2))


@pytest.mark.parametrize("settings", [(1, 1, 1), ("asgi", 0, 1), ("asgi", 1, -1)])
async def test_settings_of_no_layer_are_malformed(owner: Owner, settings: tuple[Any, ...]) -> None:
    client = bound(owner)
    with pytest.raises(ProtocolError, match="settings of a channel layer"):
        client.handle(WORKER, (client.connection, LISTEN, client.epoch, *settings))
