"""Consumers as Django Channels has them: classes whose methods handle what a connection brings.

They need neither Django nor channels. What a Channels project imports from `channels.consumer`,
`channels.generic`, `channels.exceptions`, `channels.layers`, `channels.db` and `channels.utils` is
here under the same name.
"""

from gateway_layer.errors import ChannelFull
from gateway_worker.consumers.consumer import AsyncConsumer, BaseConsumer, SyncConsumer
from gateway_worker.consumers.database import aclose_old_connections, database_sync_to_async
from gateway_worker.consumers.dispatch import await_many_dispatch, get_handler_name
from gateway_worker.consumers.errors import (
    AcceptConnection,
    DenyConnection,
    InvalidChannelLayerError,
    StopConsumer,
)
from gateway_worker.consumers.http import AsyncHttpConsumer, HttpConsumer
from gateway_worker.consumers.layers import DEFAULT_CHANNEL_LAYER, configure, get_channel_layer
from gateway_worker.consumers.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "AcceptConnection",
    "AsyncConsumer",
    "AsyncHttpConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "BaseConsumer",
    "ChannelFull",
    "DenyConnection",
    "HttpConsumer",
    "InvalidChannelLayerError",
    "JsonWebsocketConsumer",
    "StopConsumer",
    "SyncConsumer",
    "WebsocketConsumer",
    "aclose_old_connections",
    "await_many_dispatch",
    "configure",
    "database_sync_to_async",
    "get_channel_layer",
    "get_handler_name",
]
