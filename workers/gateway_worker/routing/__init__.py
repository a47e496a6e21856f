"""Routers: one ASGI application made of several, by protocol, path or name of a channel."""

from gateway_worker.routing.patterns import Route, path, re_path
from gateway_worker.routing.routers import ChannelNameRouter, ProtocolTypeRouter
from gateway_worker.routing.urls import URLRouter

__all__ = [
    "ChannelNameRouter",
    "ProtocolTypeRouter",
    "Route",
    "URLRouter",
    "path",
    "re_path",
]
