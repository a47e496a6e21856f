import ssl
from pathlib import Path

import pytest

from gateway_layer.errors import ConfigError
from gateway_layer.redis.address import RedisAddress, parse_address, sync_client


def test_a_plain_url_has_the_usual_defaults() -> None:
    assert parse_address("redis://") == RedisAddress(url_for_logs="redis://localhost:6379/0")


def test_user_password_port_and_database_are_read_and_decoded() -> None:
    address = parse_address("redis://an%20a:s%2Fec%23ret@[::1]:7000/3?client_name=blue")
    assert (address.host, address.port, address.db) == ("::1", 7000, 3)
    assert (address.username, address.password) == ("an a", "s/ec#ret")
    assert address.client_name == "blue"
    assert address.ssl is None


def test_a_unix_socket_takes_its_database_from_the_query() -> None:
    address = parse_address("unix:///run/my%20redis.sock?db=2&password=x")
    assert (address.path, address.db, address.password) == ("/run/my redis.sock", 2, "x")
    assert address.url_for_logs == "unix://:***@/run/my redis.sock?db=2"


def test_a_password_is_shown_neither_in_logs_nor_in_repr() -> None:
    address = parse_address("redis://user:hunter2@db.example:7000/1?client_name=a")
    assert address.url_for_logs == "redis://user:***@db.example:7000/1"
    assert "hunter2" not in repr(address)


def test_an_ipv6_host_keeps_its_brackets_in_logs() -> None:
    assert parse_address("redis://[::1]:1/0").url_for_logs == "redis://[::1]:1/0"


def test_rediss_verifies_the_certificate_and_the_name_unless_told_otherwise() -> None:
    context = parse_address("rediss://localhost").ssl
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("query", "mode", "check"),
    [
        ("ssl_cert_reqs=none", ssl.CERT_NONE, False),
        ("ssl_cert_reqs=optional", ssl.CERT_OPTIONAL, True),
        ("ssl_check_hostname=false", ssl.CERT_REQUIRED, False),
    ],
)
def test_verification_can_be_lowered(query: str, mode: ssl.VerifyMode, check: bool) -> None:
    context = parse_address(f"rediss://localhost?{query}").ssl
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (mode, check)


def test_the_lowest_tls_version_can_be_raised() -> None:
    context = parse_address(f"rediss://h?ssl_min_version={int(ssl.TLSVersion.TLSv1_3)}").ssl
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with"),
        ("localhost:6379", "must begin with"),
        ("http://localhost", "must begin with"),
        ("redis://host:port", "cannot be read"),
        ("redis://host:99999", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://host/abc", "number of a database"),
        ("redis://host?db=x", "Invalid value for 'db'"),
        ("redis://host?db=-1", "from 0 up"),
        ("redis://host?socket_timeout=3", "unknown option socket_timeout"),
        ("redis://host?client_name=", "client_name in the URL has no value"),
        ("redis://host#x", "%23"),
        ("redis://host?ssl_ca_certs=/x", "needs rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs maybe"),
        ("rediss://host?ssl_keyfile=/x", "needs ssl_certfile"),
        ("rediss://host?ssl_ca_certs=/no/such.pem", "/no/such.pem"),
        ("rediss://host?ssl_min_version=5", "TLS options"),
        ("unix://", "unix:///path"),
        ("unix://host/path", "unix:///path"),
    ],
)
def test_nonsense_is_refused_in_one_line(url: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(url)
    text = str(caught.value)
    assert text.startswith("--redis: ")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "url", ["redis://:hun/ter2@host", "redis://:hun#ter2@host", "redis://:hun/ter2:1@host/0"]
)
def test_a_password_that_was_not_encoded_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(url)
    assert "hun" not in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        parse_address(f"rediss://host?ssl_ca_certs={path}")


def test_the_blocking_client_talks_to_the_same_server(redis_url: str) -> None:
    with sync_client(redis_url + "?db=1") as client:
        assert client.ping()
        assert client.get_connection_kwargs()["db"] == 1


def test_the_blocking_client_refuses_what_the_pipe_refuses() -> None:
    with pytest.raises(ConfigError):
        sync_client("redis://host?nonsense=1")
