"""The Redis user for pushers that docs/protocol.md gives: it can push, and forge nothing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.layer.push.conftest import Open

from gateway_layer.names import new_pid
from gateway_layer.push import Push, SyncPush
from gateway_layer.redis.address import sync_client

ROOT = Path(__file__).resolve().parents[3]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
SOMEBODY = new_pid()


@pytest.fixture
def pusher_url(url: str) -> str:
    """Address of Redis for the documented user."""
    (line,) = re.findall(r"^```acl\n(.*)\n```$", PROTOCOL, re.MULTILINE)
    with sync_client(url) as admin:
        admin.execute_command(*line.split())
    return url.replace("://", "://pusher:secret@")


@pytest.fixture
def thief(pusher_url: str) -> Iterator[Any]:
    with sync_client(pusher_url) as client:
        yield client


async def test_pusher_can_do_all_that_pushers_do(pusher_url: str, open_client: Open) -> None:
    client, address = await open_client()
    async with Push(pusher_url) as push:
        await push.send(address, text="async", confirm=True)
        await push.group_add("acl", address)
        assert await push.group_send("acl", text="to all") == 1
        assert (await push.info(address)).groups == ("acl",)
    with SyncPush(pusher_url) as sync:
        sync.send(address, text="sync")
        assert sync.connections("acl") == [address]
        sync.group_discard("acl", address)
        sync.close(address)
    assert [message async for message in client] == ["async", "to all", "sync"]


@pytest.mark.parametrize(
    "command",
    [
        ("RPUSH", "gw:{PID}:in", "x"),
        ("RPUSH", "gw:{q:http}:v1", "x"),
        ("RPUSH", "gw:{g:group}", "x"),
        ("BLMPOP", "0.01", "1", "gw:{PID}:push", "LEFT"),
        ("BLMPOP", "0.01", "1", "gw:{PID}:in", "LEFT"),
        ("LRANGE", "gw:{PID}:push", "0", "-1"),
        ("SET", "gw:{PID}:up", "x"),
        ("GET", "gw:{PID}:up"),
        ("EXPIRE", "gw:{PID}:up", "1"),
        ("DEL", "gw:{PID}:push"),
        ("ZADD", "gw:{g:group}", "1", "PID"),
        ("ZADD", "gw:{p}:dead", "1", "PID"),
        ("ZRANGE", "gw:{p}:dead", "0", "-1"),
        ("SET", "gw:{p}:inc", "x"),
        ("EVAL", "return redis.call('SET', KEYS[1], 'x')", "1", "gw:{PID}:up"),
        ("EVAL", "return redis.call('RPUSH', KEYS[1], 'x')", "1", "gw:{PID}:in"),
        ("EVAL", "return redis.call('RPUSH', 'gw:{PID}:in', 'x')", "0"),
        ("EVAL", "return redis.call('LPOP', KEYS[1])", "1", "gw:{PID}:push"),
        ("EVAL", "return redis.call('ZADD', 'gw:{g:group}', 1, 'PID')", "0"),
        ("PUBLISH", "channel", "x"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "WHOAMI"),
        ("CLIENT", "LIST"),
    ],
    ids=" ".join,
)
def test_pusher_can_do_nothing_else(thief: Any, command: tuple[str, ...]) -> None:
    words = [word.replace("PID", SOMEBODY) for word in command]
    with pytest.raises(redis.ResponseError, match=r"NOPERM|permission|ACL failure"):
        thief.execute_command(*words)
