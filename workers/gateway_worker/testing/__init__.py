"""Testing without a server: run an ASGI application, be its client, as Django Channels has it."""

from gateway_worker.testing.application import ApplicationCommunicator
from gateway_worker.testing.http import HttpCommunicator
from gateway_worker.testing.layer import InMemoryChannelLayer
from gateway_worker.testing.websocket import WebsocketCommunicator

__all__ = [
    "ApplicationCommunicator",
    "HttpCommunicator",
    "InMemoryChannelLayer",
    "WebsocketCommunicator",
]
