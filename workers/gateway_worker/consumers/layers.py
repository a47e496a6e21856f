"""Which channel layer a consumer finds under an alias.

The first of these that knows the alias:

1. What `configure` was told.
2. In a Django project, `CHANNEL_LAYERS` of its settings. The layers are those that
   `channels.layers` has made, if the application has imported that: one of each for all of it.
3. For `default`: a layer on the Redis of `GATEWAY_REDIS`, which a gateway worker sets.

Neither Django nor channels is imported here. Who uses them has.
"""

import importlib
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

from gateway_worker.consumers.errors import InvalidChannelLayerError

DEFAULT_CHANNEL_LAYER: Final = "default"

_lock: Final = threading.RLock()
"""Held while a layer is made; by the same thread again if its module asks for another."""

_configured: Final[dict[str, object]] = {}
_made: Final[dict[tuple[str, str], tuple[object, Any]]] = {}
"""(where it was found, alias) -> what it was made from, and the layer."""


def configure(layers: Mapping[str, object]) -> None:
    """Name the channel layers of this process, in place of those named before.

    Args:
        layers: Alias to a channel layer, or to what stands in Django's CHANNEL_LAYERS:
            `{"BACKEND": "package.module.Class", "CONFIG": {…}}`, made when it is first asked for.
            An alias that is not in it is looked for elsewhere, as if nothing were configured.
    """
    with _lock:
        _configured.clear()
        _configured.update(layers)


def get_channel_layer(alias: str | None = DEFAULT_CHANNEL_LAYER) -> Any:
    """Return the channel layer of an alias, None if there is none; see this module.

    Each is made once for all threads and event loops of the process.

    Raises:
        InvalidChannelLayerError: Its BACKEND is missing or cannot be imported.
        ConfigError: `GATEWAY_REDIS` is no URL of Redis. A BACKEND raises what it likes.
    """
    if alias is None:
        return None
    with _lock:
        if alias in _configured:
            return _from_configured(alias)
        settings = _django_layers()
        if settings is not None:
            return _from_django(alias, settings)
        return _from_environment() if alias == DEFAULT_CHANNEL_LAYER else None


def _from_configured(alias: str) -> Any:
    found = _configured[alias]
    return _make("configured", alias, found) if isinstance(found, Mapping) else found


def _django_layers() -> Mapping[str, Any] | None:
    """Return CHANNEL_LAYERS; None where Django is not in use or has no such setting."""
    conf = sys.modules.get("django.conf")
    if conf is None:
        return None
    # Before these, the settings of a project cannot be read: asking for one would raise.
    if not (conf.settings.configured or "DJANGO_SETTINGS_MODULE" in os.environ):
        return None
    layers: Mapping[str, Any] | None = getattr(conf.settings, "CHANNEL_LAYERS", None)
    return layers


def _from_django(alias: str, settings: Mapping[str, Any]) -> Any:
    if alias not in settings:
        return None
    if "channels.layers" not in sys.modules:
        layer = _make("django", alias, settings[alias])
        # Most backends import it. Then its layer is the one that the rest of the project gets.
        if "channels.layers" not in sys.modules:
            return layer
    return sys.modules["channels.layers"].get_channel_layer(alias)


def _make(where: str, alias: str, config: Mapping[str, Any]) -> Any:
    """Return the layer of a BACKEND and its CONFIG, made at the first time and when they change."""
    made = _made.get((where, alias))
    if made is not None and made[0] == config:
        return made[1]
    backend = config.get("BACKEND")
    if not isinstance(backend, str):
        raise InvalidChannelLayerError(f"channel layer {alias!r}: no BACKEND is given")
    module, _, name = backend.rpartition(".")
    try:
        layer_class = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        text = f"channel layer {alias!r}: BACKEND {backend!r} cannot be imported: {error}"
        raise InvalidChannelLayerError(text) from error
    layer = layer_class(**config.get("CONFIG", {}))
    _made[where, alias] = dict(config), layer
    return layer


def _from_environment() -> Any:
    """Return the layer on the gateway's own Redis, None outside a gateway."""
    url = os.environ.get("GATEWAY_REDIS")
    if not url:
        return None
    # Not the namespace itself: the gateway's own groups and inboxes are under it.
    namespace = os.environ.get("GATEWAY_NAMESPACE") or "gw"
    prefix = f"{namespace}-channels"
    config = {
        "BACKEND": "gateway_layer.channels.RedisChannelLayer",
        "CONFIG": {"hosts": [url], "prefix": prefix, "namespace": namespace},
    }
    return _make("environment", DEFAULT_CHANNEL_LAYER, config)
