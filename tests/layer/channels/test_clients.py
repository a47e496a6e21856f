"""Reply channels in the channel layer, on a real interface server and worker."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from tests.end_to_end.conftest import gateway, redis_server  # noqa: F401 (fixtures)
from tests.layer.channels.receiving import nothing_comes
from tests.layer.push.conftest import Open, open_client, push, url  # noqa: F401 (fixtures)
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.channels.entries import channel_full
from gateway_layer.errors import (
    ConfigError,
    ConnectionGone,
    LayerUnavailable,
    MessageTooLarge,
)
from gateway_layer.names import new_pid
from gateway_layer.push import Push

HELLO = {"type": "websocket.send", "text": "hello"}


@pytest.fixture
async def layer(url: str) -> AsyncIterator[RedisChannelLayer]:  # noqa: F811
    layer = RedisChannelLayer([url])
    yield layer
    await layer.close_pools()


async def heard(client: ClientConnection) -> str | bytes:
    async with asyncio.timeout(10):
        return await client.recv()


async def hears_only(client: ClientConnection, address: str, push: Push, text: str) -> None:  # noqa: F811
    """See that what is pushed now is the first that a client hears."""
    await push.send(address, text=text)
    assert await heard(client) == text


async def test_client_gets_what_is_sent_to_it(layer: RedisChannelLayer, open_client: Open) -> None:  # noqa: F811
    client, address = await open_client()
    await layer.send(address, HELLO)
    await layer.send(address, {"type": "websocket.send", "bytes": b"\x00\xff"})
    await layer.send(address, {"type": "websocket.close", "code": 3001, "reason": "over"})
    assert await heard(client) == "hello"
    assert await heard(client) == b"\x00\xff"
    with pytest.raises(ConnectionClosed) as closed:
        await heard(client)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3001, "over")


async def test_group_has_members_of_both_kinds(
    layer: RedisChannelLayer,
    open_client: Open,  # noqa: F811
    push: Push,  # noqa: F811
) -> None:
    (first, address), (second, other) = await open_client(), await open_client()
    own = await layer.new_channel()
    for channel in (address, other, own, "plain"):
        await layer.group_add("both", channel)
    assert await layer.group_channels_count("both") == 4
    await layer.group_send("both", HELLO)
    assert [await heard(first), await heard(second)] == ["hello", "hello"]
    assert [await layer.receive(own), await layer.receive("plain")] == [HELLO, HELLO]

    await layer.group_send("both", {**HELLO, "text": "not all"}, exclude=[other, "plain"])
    assert await heard(first) == "not all"
    assert (await layer.receive(own))["text"] == "not all"
    await nothing_comes(layer, "plain")
    await hears_only(second, other, push, "alone")

    await layer.group_discard("both", address)
    await layer.group_discard("both", address)
    await layer.group_discard("both", own)
    assert await layer.group_channels_count("both") == 2
    await layer.group_send("both", {**HELLO, "text": "the rest"})
    assert await heard(second) == "the rest"
    await hears_only(first, address, push, "left")
    await nothing_comes(layer, own)


async def test_other_messages_are_for_consumers_alone(
    layer: RedisChannelLayer,
    open_client: Open,  # noqa: F811
    push: Push,  # noqa: F811
) -> None:
    client, address = await open_client()
    own = await layer.new_channel()
    for channel in (address, own):
        await layer.group_add("consumers", channel)
    for message in ({"type": "chat.said"}, {}, {"type": "websocket.send"}):
        await layer.group_send("consumers", message)
        assert await layer.receive(own) == message
    await hears_only(client, address, push, "first")


async def test_whole_group_is_closed(layer: RedisChannelLayer, open_client: Open) -> None:  # noqa: F811
    client, address = await open_client()
    await layer.group_add("closed", address)
    await layer.group_send("closed", {"type": "websocket.close", "code": 4000})
    with pytest.raises(ConnectionClosed) as closed:
        await heard(client)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4000


async def test_groups_of_clients_are_those_of_pushers(
    layer: RedisChannelLayer,
    open_client: Open,  # noqa: F811
    push: Push,  # noqa: F811
) -> None:
    (first, address), (second, other) = await open_client(), await open_client()
    await layer.group_add("pushers", address)
    await push.group_add("pushers", other)
    assert await push.group_send("pushers", text="pushed") == 2
    await layer.group_send("pushers", HELLO)
    for client in (first, second):
        assert [await heard(client), await heard(client)] == ["pushed", "hello"]
    assert (await push.info(address)).groups == ("pushers",)


async def test_client_that_has_left_is_told(layer: RedisChannelLayer, open_client: Open) -> None:  # noqa: F811
    _client, address = await open_client()
    gone = f"{address.partition('!')[0]}!{new_pid()}"
    for call in (layer.send(gone, HELLO), layer.group_add("left", gone)):
        with pytest.raises(ConnectionGone):
            await call
    await layer.group_discard("left", gone)


async def test_clients_of_another_namespace_are_not_reached(
    url: str,  # noqa: F811
    open_client: Open,  # noqa: F811
) -> None:
    _client, address = await open_client()
    other = RedisChannelLayer([url], namespace="other")
    with pytest.raises(ConnectionGone):
        await other.send(address, HELLO)
    await other.close_pools()
    with pytest.raises(ConfigError, match="--namespace"):
        RedisChannelLayer([url], namespace="a b")


async def test_client_that_does_not_read_is_a_full_channel(
    layer: RedisChannelLayer,
    open_client: Open,  # noqa: F811
) -> None:
    client, address = await open_client()
    message = {"type": "websocket.send", "bytes": os.urandom(900_000)}

    async def fill() -> None:
        for _ in range(100):
            await layer.send(address, message)

    with pytest.raises(channel_full()):
        await fill()
    client.transport.abort()  # a close would wait for what it does not read


@pytest.mark.parametrize(
    "message", [{}, {"type": "chat.said"}, {"type": "websocket.send", "text": b"x"}]
)
async def test_client_takes_only_what_a_websocket_does(
    layer: RedisChannelLayer, message: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=r"websocket\.send"):
        await layer.send(f"{'p' * 22}!{'c' * 22}", message)


async def test_client_is_not_received_from(layer: RedisChannelLayer) -> None:
    with pytest.raises(ValueError, match="is a client"):
        await layer.receive(f"{'p' * 22}!{'c' * 22}")


async def test_group_is_reached_from_a_thread_without_a_loop(
    layer: RedisChannelLayer,
    open_client: Open,  # noqa: F811
) -> None:
    client, address = await open_client()

    def work() -> int:
        async_to_sync(layer.group_add)("thread", address)
        async_to_sync(layer.group_send)("thread", HELLO)
        return int(async_to_sync(layer.group_channels_count)("thread"))

    assert await asyncio.to_thread(work) == 1
    assert await heard(client) == "hello"


@pytest.mark.parametrize(
    "others",
    [["redis://127.0.0.1:1"], [{"sentinels": [("127.0.0.1", 1)], "master_name": "main"}]],
)
async def test_layer_on_several_servers_reaches_no_clients(url: str, others: list[Any]) -> None:  # noqa: F811
    hosts = [url, *others] if others[0].__class__ is str else others
    layer = RedisChannelLayer(hosts)
    address = f"{'p' * 22}!{'c' * 22}"
    for call in (layer.send(address, HELLO), layer.group_add("several", address)):
        with pytest.raises(ValueError, match="as the only one of `hosts`"):
            await call
    await layer.close_pools()


async def test_redis_that_is_away_is_said(unused_tcp_port: int) -> None:
    layer = RedisChannelLayer([f"redis://127.0.0.1:{unused_tcp_port}"])
    with pytest.raises(LayerUnavailable):
        await layer.send(f"{'p' * 22}!{'c' * 22}", HELLO)
    await layer.close_pools()


async def test_what_cannot_go_to_clients_goes_to_nobody(
    layer: RedisChannelLayer,
    open_client: Open,  # noqa: F811
) -> None:
    _client, address = await open_client()
    own = await layer.new_channel()
    for channel in (own, address):
        await layer.group_add("nobody", channel)
    large = {"type": "websocket.send", "bytes": bytes(17 * 2**20)}
    for call in (
        layer.group_send("nobody", HELLO, exclude=[f"{'p' * 22}!{'c' * 65}"]),
        layer.group_send("nobody", large),
        layer.send(address, large),
    ):
        with pytest.raises((TypeError, MessageTooLarge)):
            await call
    await nothing_comes(layer, own)
