"""`Push` against a real interface server and worker."""

import asyncio
import time
from statistics import median

import pytest
from tests.layer.push.conftest import Open
from websockets.exceptions import ConnectionClosed

from gateway_layer.names import new_pid
from gateway_layer.push import (
    ConfigError,
    ConnectionGone,
    LayerUnavailable,
    Push,
)


def nobody(reply_channel: str) -> str:
    """An address of the same interface server at which nobody is."""
    return f"{reply_channel.partition('!')[0]}!{new_pid()}"


async def test_text_arrives(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.send(address, text="hello")
    assert await client.recv() == "hello"


async def test_bytes_arrive(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.send(address, bytes=b"\x00\xff")
    assert await client.recv() == b"\x00\xff"


async def test_json_arrives_as_text(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.send(address, json={"price": [1, 2.5, None]})
    assert await client.recv() == '{"price":[1,2.5,null]}'


async def test_messages_arrive_in_order(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await asyncio.gather(*(push.send(address, text=str(number)) for number in range(50)))
    assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]


async def test_confirmed_message_arrives(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.send(address, text="x" * 200_000, confirm=True)
    assert await client.recv() == "x" * 200_000


async def test_key_that_was_used_is_sent_once(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    for _ in range(3):
        await push.send(address, text="once", idempotency_key="k")
    await push.send(address, text="next")
    assert [await client.recv(), await client.recv()] == ["once", "next"]


async def test_key_counts_for_its_connection_alone(push: Push, open_client: Open) -> None:
    (one, first), (two, second) = await open_client(), await open_client()
    await push.send(first, text="to one", idempotency_key="k")
    await push.send(second, text="to two", idempotency_key="k")
    assert [await one.recv(), await two.recv()] == ["to one", "to two"]


async def test_close_has_code_and_reason(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.close(address, 4001, "enough")
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert (client.close_code, client.close_reason) == (4001, "enough")


async def test_connection_that_never_was_is_gone(push: Push, open_client: Open) -> None:
    _client, address = await open_client()
    with pytest.raises(ConnectionGone):
        await push.send(nobody(address), text="anybody?")


async def test_connection_of_a_process_that_never_was_is_gone(push: Push) -> None:
    with pytest.raises(ConnectionGone):
        await push.send(f"{new_pid()}!{new_pid()}", text="anybody?")


async def test_gone_is_known_after_a_round_trip(push: Push, open_client: Open) -> None:
    _client, address = await open_client()
    dead = [nobody(address), f"{new_pid()}!{new_pid()}"]
    taken = []
    for number in range(100):
        started = time.perf_counter()
        with pytest.raises(ConnectionGone):
            await push.send(dead[number % 2], text="anybody?")
        taken.append(time.perf_counter() - started)
    assert median(taken) < 0.05  # ten times what is promised: the machine is shared


async def test_many_are_answered_each(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    event = {"type": "websocket.send", "text": "one of many"}
    pushes = [(address, event), (nobody(address), event), (address, event)]
    errors = await push.send_many(pushes)
    assert [type(error) for error in errors] == [type(None), ConnectionGone, type(None)]
    assert [await client.recv(), await client.recv()] == ["one of many"] * 2


async def test_more_than_the_list_holds_arrives_in_order(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    sent = [f"{number} " + "x" * 2000 for number in range(3000)]
    events = [(address, {"type": "websocket.send", "text": text}) for text in sent]
    sending = asyncio.create_task(push.send_many(events))
    assert [await client.recv() for _ in sent] == sent
    assert await sending == [None] * len(sent)


async def test_many_with_one_that_is_none_sends_nothing(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    good = (address, {"type": "websocket.send", "text": "good"})
    with pytest.raises(TypeError, match=r"websocket\.accept"):
        await push.send_many([good, (address, {"type": "websocket.accept"})])
    await push.send(address, text="alone")
    assert await client.recv() == "alone"


async def test_info_tells_who_it_is(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.group_add("readers", address)
    info = await push.info(address)
    now_ms = time.time() * 1000
    assert (info.reply_channel, info.path, info.groups) == (address, "/address", ("readers",))
    assert info.client == client.local_address[:2]
    assert info.user_agent.startswith("Python/")
    assert now_ms - 60_000 < info.connected_at_ms <= info.last_active_ms + 1 <= now_ms + 1000
    assert info.worker is not None
    assert info.epoch == 1


async def test_group_send_reaches_members_alone(push: Push, open_client: Open) -> None:
    (one, first), (two, second) = await open_client(), await open_client()
    await push.group_add("alone", first)
    assert await push.group_send("alone", text="members") == 1
    await push.send(first, text="after")
    await push.send(second, text="after")
    assert [await one.recv(), await one.recv(), await two.recv()] == ["members", "after", "after"]


async def test_group_send_leaves_out_who_is_excluded(push: Push, open_client: Open) -> None:
    (one, first), (two, second) = await open_client(), await open_client()
    await push.group_add("most", first)
    await push.group_add("most", second)
    assert await push.group_send("most", text="not for one", exclude=[first]) == 1
    await push.send(first, text="one alone")
    assert [await one.recv(), await two.recv()] == ["one alone", "not for one"]


async def test_group_send_with_a_key_is_sent_once(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.group_add("keyed", address)
    counts = [await push.group_send("keyed", text="x", idempotency_key="k") for _ in range(2)]
    await push.send(address, text="next")
    assert counts == [1, 1]
    assert [await client.recv(), await client.recv()] == ["x", "next"]


async def test_discarded_member_gets_no_more(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.group_add("left", address)
    await push.group_discard("left", address)
    assert await push.group_send("left", text="missed") == 0
    await push.send(address, text="next")
    assert await client.recv() == "next"


async def test_member_that_disconnects_leaves(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    await push.group_add("short", address)
    await client.close()
    assert await push.connections("short") == []


async def test_members_are_listed_and_counted(push: Push, open_client: Open) -> None:
    addresses = [(await open_client())[1] for _ in range(3)]
    for address in addresses:
        await push.group_add("listed", address)
        await push.group_add("listed", address)
    assert sorted(await push.connections("listed")) == sorted(addresses)
    assert await push.count("listed") == 3


async def test_unknown_group_has_nobody(push: Push) -> None:
    assert await push.group_send("unknown", text="hello?") == 0
    assert await push.connections("unknown") == []


async def test_adding_who_is_gone_raises(push: Push, open_client: Open) -> None:
    _client, address = await open_client()
    with pytest.raises(ConnectionGone):
        await push.group_add("g", nobody(address))


async def test_discarding_who_is_gone_is_nothing(push: Push, open_client: Open) -> None:
    _client, address = await open_client()
    await push.group_discard("g", nobody(address))


@pytest.mark.parametrize("group", ["", "a b", "x" * 100, "ü", "a!b"])
async def test_bad_group_names_are_refused(push: Push, open_client: Open, group: str) -> None:
    _client, address = await open_client()
    with pytest.raises(TypeError, match="group name"):
        await push.group_add(group, address)
    with pytest.raises(TypeError, match="group name"):
        await push.group_send(group, text="x")


async def test_what_no_owner_would_take_is_refused_at_once(push: Push, open_client: Open) -> None:
    _client, address = await open_client()
    with pytest.raises(ValueError, match="1015"):
        await push.close(address, 1015)
    with pytest.raises(TypeError, match="idempotency key"):
        await push.send(address, text="x", idempotency_key="k" * 129)


async def test_cancelled_call_does_not_disturb_the_next(push: Push, open_client: Open) -> None:
    client, address = await open_client()
    cancelled = asyncio.create_task(push.send(address, text="perhaps"))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await push.send(address, text="surely")
    while await client.recv() != "surely":
        pass


async def test_without_redis_there_is_no_push() -> None:
    with pytest.raises(LayerUnavailable, match=r"127\.0\.0\.1:1"):
        async with Push("redis://127.0.0.1:1/0", timeout_s=0.2):
            pass


async def test_closed_client_ends_calls_under_way(url: str) -> None:
    push = await Push(url).__aenter__()
    waiting = asyncio.create_task(push.send(f"{new_pid()}!{new_pid()}", text="x"))
    await asyncio.sleep(0)
    await push.aclose()
    with pytest.raises((LayerUnavailable, ConnectionGone)):
        await waiting


def test_bad_url_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="--redis"):
        Push("http://here")
