"""Encryption with keys that rotate."""

import sys

import pytest
from tests.layer.channels.conftest import MakeLayer

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.errors import ConfigError
from gateway_layer.redis.address import sync_client


async def test_keys_rotate(make: MakeLayer) -> None:
    old, both, new = (make(symmetric_encryption_keys=keys) for keys in (["a"], ["b", "a"], ["b"]))
    await old.send("plain", {"n": 1})
    assert await both.receive("plain") == {"n": 1}
    await both.send("plain", {"n": 2})
    assert await new.receive("plain") == {"n": 2}


async def test_members_of_groups_read_what_is_encrypted(make: MakeLayer) -> None:
    layer = make(symmetric_encryption_keys=["a"])
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 1})
    for channel in channels:
        message = await layer.receive(channel)
        assert message == {"n": 1}
        message["n"] = 2  # nobody else's


async def test_message_under_an_unknown_key_is_dropped_and_counted(make: MakeLayer) -> None:
    layer, stranger = make(symmetric_encryption_keys=["a"]), make(symmetric_encryption_keys=["c"])
    await stranger.send("plain", {"n": 1})
    await layer.send("plain", {"n": 2})
    assert await layer.receive("plain") == {"n": 2}
    assert layer.statistics["dropped"] == 1


async def test_redis_does_not_see_the_message(make: MakeLayer, redis_url: str) -> None:
    await make(symmetric_encryption_keys=["a"]).send("plain", {"text": "a secret word"})
    with sync_client(redis_url) as client:
        (raw,) = client.lrange("asgi:{q:plain}", 0, -1)
    assert b"a secret word" not in raw


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ConfigError, match="pip install cryptography"):
        RedisChannelLayer(symmetric_encryption_keys=["a"])
