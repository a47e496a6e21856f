"""Push to connections and groups from any service: frames, clients, command line."""

from gateway_layer.errors import (
    ChannelFull,
    ConfigError,
    ConnectionGone,
    GatewayError,
    LayerUnavailable,
    MessageTooLarge,
    ProtocolError,
    PushTimeout,
)
from gateway_layer.push.client import Push
from gateway_layer.push.requests import ConnectionInfo
from gateway_layer.push.sync import SyncPush

__all__ = [
    "ChannelFull",
    "ConfigError",
    "ConnectionGone",
    "ConnectionInfo",
    "GatewayError",
    "LayerUnavailable",
    "MessageTooLarge",
    "ProtocolError",
    "Push",
    "PushTimeout",
    "SyncPush",
]
