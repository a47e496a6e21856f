"""Which channel layer stands behind an alias, without Django."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.errors import ConfigError
from gateway_worker.consumers import InvalidChannelLayerError, configure, get_channel_layer
from gateway_worker.testing import InMemoryChannelLayer

MEMORY = {"BACKEND": "gateway_worker.testing.InMemoryChannelLayer", "CONFIG": {"capacity": 7}}


@pytest.fixture(autouse=True)
def nothing_configured() -> Iterator[None]:
    yield
    configure({})


def test_outside_a_gateway_there_is_none() -> None:
    assert get_channel_layer() is None


def test_layer_that_was_given_is_returned() -> None:
    layer = InMemoryChannelLayer()
    configure({"default": layer})
    assert get_channel_layer() is layer
    assert get_channel_layer("other") is None


def test_backend_is_made_once() -> None:
    configure({"jobs": MEMORY})
    layer = get_channel_layer("jobs")
    assert isinstance(layer, InMemoryChannelLayer)
    assert layer.capacity == 7
    assert get_channel_layer("jobs") is layer


def test_configuring_replaces_what_was_before() -> None:
    configure({"default": MEMORY})
    first = get_channel_layer()
    configure({"default": {**MEMORY, "CONFIG": {}}})
    assert get_channel_layer() is not first
    configure({})
    assert get_channel_layer() is None


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "channel layer 'default': no BACKEND is given"),
        ({"BACKEND": "nowhere.Layer"}, "BACKEND 'nowhere.Layer' cannot be imported: No module"),
        ({"BACKEND": "json.Layer"}, "BACKEND 'json.Layer' cannot be imported: module 'json' has"),
        ({"BACKEND": "Layer"}, "BACKEND 'Layer' cannot be imported: Empty module name"),
    ],
)
def test_backend_that_cannot_be_found_is_named(config: Any, text: str) -> None:
    configure({"default": config})
    with pytest.raises(InvalidChannelLayerError, match=text):
        get_channel_layer()


def test_gateway_offers_its_own_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REDIS", "redis://127.0.0.1:1/0")
    layer = get_channel_layer()
    assert isinstance(layer, RedisChannelLayer)
    assert layer.prefix == "gw-channels"
    assert get_channel_layer() is layer
    assert get_channel_layer("other") is None
    assert get_channel_layer(None) is None


def test_gateways_with_different_namespaces_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REDIS", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("GATEWAY_NAMESPACE", "blue")
    assert get_channel_layer().prefix == "blue-channels"


def test_what_was_configured_goes_before_the_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REDIS", "redis://127.0.0.1:1/0")
    configure({"default": MEMORY})
    assert isinstance(get_channel_layer(), InMemoryChannelLayer)


def test_url_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REDIS", "localhost")
    with pytest.raises(ConfigError):
        get_channel_layer()
