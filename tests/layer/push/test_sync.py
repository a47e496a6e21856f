"""`SyncPush` against a real interface server and worker, from threads and forks."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.layer.push.conftest import Open

from gateway_layer.names import new_pid
from gateway_layer.push import ConfigError, ConnectionGone, LayerUnavailable, SyncPush


@pytest.fixture
def sync(url: str) -> SyncPush:
    return SyncPush(url)


async def test_messages_of_all_kinds_arrive(sync: SyncPush, open_client: Open) -> None:
    client, address = await open_client()
    with sync as push:
        push.send(address, text="text")
        push.send(address, bytes=b"bytes", confirm=True)
        push.send(address, json=["json"])
        push.send(address, json=["json"], idempotency_key="k")
        push.send(address, json=["again"], idempotency_key="k")
        push.close(address, 1000, "done")
    got = [message async for message in client]
    assert got == ["text", b"bytes", '["json"]', '["json"]']
    assert (client.close_code, client.close_reason) == (1000, "done")


async def test_groups_are_those_of_push(sync: SyncPush, open_client: Open) -> None:
    (client, address), (_other, second) = await open_client(), await open_client()
    with sync as push:
        push.group_add("sync", address)
        push.group_add("sync", second)
        assert push.count("sync") == 2
        assert push.group_send("sync", text="one", exclude=[second]) == 1
        push.group_discard("sync", second)
        assert push.connections("sync") == [address]
        assert push.info(address).groups == ("sync",)
    assert await client.recv() == "one"


async def test_many_are_answered_each(sync: SyncPush, open_client: Open) -> None:
    client, address = await open_client()
    event = {"type": "websocket.send", "text": "many"}
    with sync as push:
        errors = push.send_many([(address, event), (f"{new_pid()}!{new_pid()}", event)] * 800)
    assert errors[::2] == [None] * 800
    assert {type(error) for error in errors[1::2]} == {ConnectionGone}
    assert [await client.recv() for _ in range(800)] == ["many"] * 800


def test_unknown_connections_are_gone(sync: SyncPush) -> None:
    with sync as push:
        with pytest.raises(ConnectionGone):
            push.send(f"{new_pid()}!{new_pid()}", text="anybody?")
        with pytest.raises(ConnectionGone):
            push.info(f"{new_pid()}!{new_pid()}")
        push.group_discard("g", f"{new_pid()}!{new_pid()}")


async def test_threads_get_their_own_answers(sync: SyncPush, open_client: Open) -> None:
    clients = [await open_client() for _ in range(4)]

    def ask(number: int) -> bool:
        address = clients[number % 4][1]
        return sync.info(address).reply_channel == address

    with sync, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(200)))


FORK = """
import os, sys
from gateway_layer.push import SyncPush
url, address = sys.argv[1:]
with SyncPush(url) as push:
    push.send(address, text="parent")
    child = os.fork()
    push.send(address, text="child" if child == 0 else "parent again")
    if child:
        os.waitpid(child, 0)
"""


async def test_forked_process_pushes_with_what_its_parent_made(url: str, open_client: Open) -> None:
    client, address = await open_client()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORK, url, address)
    assert await process.wait() == 0
    got = [await client.recv() for _ in range(3)]
    assert got[0] == "parent"
    assert sorted(map(str, got[1:])) == ["child", "parent again"]


def test_without_redis_it_is_unavailable() -> None:
    with (
        SyncPush("redis://127.0.0.1:1/0", timeout_s=0.2) as push,
        pytest.raises(LayerUnavailable, match=r"127\.0\.0\.1:1"),
    ):
        push.count("g")


def test_bad_values_are_refused_before_anything_connects() -> None:
    push = SyncPush("redis://127.0.0.1:1/0")
    with pytest.raises(TypeError, match="exactly one"):
        push.send("a!b", text="x", bytes=b"y")
    with pytest.raises(TypeError, match="not a reply channel"):
        push.send("nobody", text="x")
    with pytest.raises(ConfigError, match="--namespace"):
        SyncPush(namespace="a b")
