import re

import pytest

from gateway_layer.errors import ConfigError
from gateway_layer.names import ConnectionIds, new_pid, queue_name, split_channel

ID = re.compile(r"[A-Za-z0-9_-]{22}")


def test_a_pid_is_22_characters_of_base64url() -> None:
    assert all(ID.fullmatch(new_pid()) for _ in range(200))


def test_pids_differ() -> None:
    assert len({new_pid() for _ in range(1000)}) == 1000


def test_connection_ids_differ_beyond_one_stock() -> None:
    ids = ConnectionIds()
    drawn = [ids.new() for _ in range(1000)]
    assert len(set(drawn)) == 1000
    assert all(ID.fullmatch(one) for one in drawn)


def test_a_reply_channel_of_our_own_ids_is_a_channel() -> None:
    pid, connection = new_pid(), ConnectionIds().new()
    assert split_channel(f"{pid}!{connection}") == (pid, connection)


def test_the_default_pools_queues_are_named_after_their_kind() -> None:
    assert queue_name("default", "websocket") == "websocket"


def test_other_pools_queues_bear_both_names() -> None:
    assert queue_name("slow-1", "http") == "slow-1.http"


@pytest.mark.parametrize("pool", ["a b", "a!b", "a}b", "ü", "a" * 99, "a\n"])
def test_a_pool_that_no_key_may_hold_is_refused(pool: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        queue_name(pool, "http")


def test_a_shared_queue_has_no_process() -> None:
    assert split_channel("jobs") == (None, "jobs")


@pytest.mark.parametrize(
    "channel",
    ["", "!", "a!", "!b", "a!b!c", "a b", "é", "a" * 65, "a!" + "b" * 65, "a\n", 5, None, b"a"],
)
def test_other_names_are_type_errors(channel: str) -> None:
    with pytest.raises(TypeError, match="channel name"):
        split_channel(channel)
