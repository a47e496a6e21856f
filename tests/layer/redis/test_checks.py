import pytest

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import ConfigError
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.checks import ServerInfo, check_server, parse_info
from gateway_layer.redis.pipe import Pipe


async def ask(url: str) -> ServerInfo:
    pipe = Pipe(parse_address(url), name="test")
    pipe.start()
    try:
        await pipe.wait_connected(5)
        assert pipe.server is not None
        return pipe.server
    finally:
        await pipe.close()


async def test_a_default_server_is_described_and_raises_no_concern(redis_url: str) -> None:
    info = await ask(redis_url)
    assert len(info.run_id) == 40
    assert info.version >= (7,)
    assert (info.mode, info.maxmemory_policy) == ("standalone", "noeviction")
    assert check_server(info) == []


async def test_a_cluster_node_is_refused_in_one_line() -> None:
    with EmbeddedServer(extra=["--cluster-enabled", "yes"]) as server:
        info = await ask(server.url)
    with pytest.raises(ConfigError, match=r"^this Redis runs in cluster mode.*standalone.*$"):
        check_server(info)


async def test_an_evicting_server_earns_one_warning() -> None:
    with EmbeddedServer(extra=["--maxmemory-policy", "allkeys-lru"]) as server:
        info = await ask(server.url)
    (warning,) = check_server(info)
    assert "allkeys-lru" in warning
    assert "noeviction" in warning
    assert "\n" not in warning


def test_a_sentinel_is_refused() -> None:
    with pytest.raises(ConfigError, match="sentinel mode"):
        check_server(ServerInfo(version=(7, 2), mode="sentinel"))


def test_a_server_without_blmpop_is_refused_with_its_version() -> None:
    with pytest.raises(ConfigError, match=r"is 6\.2\.14.*BLMPOP.*>= 7"):
        check_server(ServerInfo(version=(6, 2, 14), mode="standalone"))


def test_a_server_that_does_not_tell_is_let_through_with_a_warning() -> None:
    (warning,) = check_server(ServerInfo())
    assert "INFO" in warning


def test_redis_and_valkey_name_their_fields_differently() -> None:
    redis = parse_info(b"# Server\r\nredis_version:7.4.1\r\nredis_mode:cluster\r\n")
    valkey = parse_info(b"redis_version:7.2.4\r\nvalkey_version:9.1.2\r\nserver_mode:cluster\r\n")
    assert (redis.version, redis.mode) == ((7, 4, 1), "cluster")
    assert (valkey.version, valkey.mode) == ((9, 1, 2), "cluster")


def test_a_value_may_hold_colons_and_a_line_may_hold_none() -> None:
    info = parse_info(b"listener0:name=tcp,bind=::1\r\nnonsense\r\nrun_id:ab\r\n")
    assert info == ServerInfo(run_id="ab")


def test_a_version_with_a_word_in_it_keeps_its_numbers() -> None:
    assert parse_info(b"redis_version:7.9.rc1.226\r\n").version == (7, 9, 226)
