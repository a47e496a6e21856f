"""CONFIG of CHANNEL_LAYERS."""

import json
import subprocess
import sys
from typing import Any

import pytest

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.channels.options import read_hosts
from gateway_layer.errors import ConfigError


def test_defaults_are_those_of_channels_redis() -> None:
    layer = RedisChannelLayer()
    assert (layer.prefix, layer.expiry, layer.group_expiry) == ("asgi", 60, 86400)
    assert (layer.capacity, layer.channel_capacity) == (100, [])
    assert layer.extensions == ["groups", "flush"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("redis://user:secret@h:1/2", "redis://user:***@h:1/2"),
        (("h", 1), "redis://h:1/0"),
        ({"address": "redis://h:1", "db": 3, "socket_timeout": 5}, "redis://h:1/3"),
        ({"host": "h", "port": 1, "password": "p#/ss"}, "redis://:***@h:1/0"),
        ({"host": "h", "port": 1, "ssl": True, "ssl_cert_reqs": "none"}, "rediss://h:1/0"),
        ({"path": "/run/a.sock"}, "unix:///run/a.sock"),
    ],
)
def test_host_in_each_form(host: Any, url: str) -> None:
    assert [one.address.url_for_logs for one in read_hosts([host])] == [url]


def test_password_of_a_dict_arrives_unquoted() -> None:
    (host,) = read_hosts([{"host": "h", "password": "p#/s&s ü"}])
    assert host.address.password == "p#/s&s ü"


def test_sentinels() -> None:
    (host,) = read_hosts([{"sentinels": [("a", 1), ("b", 2)], "master_name": "m", "db": 4}])
    assert (host.sentinels, host.master_name, host.address.db) == ((("a", 1), ("b", 2)), "m", 4)


def test_no_hosts_mean_localhost() -> None:
    assert [one.address.url_for_logs for one in read_hosts(None)] == ["redis://localhost:6379/0"]


@pytest.mark.parametrize("hosts", ["redis://h", b"redis://h"])
def test_bare_string_is_a_value_error(hosts: Any) -> None:
    with pytest.raises(ValueError, match="list"):
        RedisChannelLayer(hosts=hosts)


@pytest.mark.parametrize(
    "config",
    [
        {"hosts": [7]},
        {"hosts": ["http://h"]},
        {"hosts": [{"address": "redis://h", "unheard": 1}]},
        {"hosts": [{"sentinels": [("a", 1)]}]},
        {"hosts": [{"sentinels": "a:1", "master_name": "m"}]},
        {"capacity": 0},
        {"expiry": 0},
        {"prefix": 3},
        {"channel_capacity": {"a*": "many"}},
        {"serializer_format": "json"},
    ],
)
def test_what_cannot_work_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RedisChannelLayer(**config)


def test_keys_as_a_bare_string_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="list of keys"):
        RedisChannelLayer(symmetric_encryption_keys="secret")


def test_import_needs_neither_django_nor_channels() -> None:
    code = (
        "import gateway_layer.channels, json, sys;"
        "print(json.dumps([n for n in ('django', 'channels', 'asgiref') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == []
