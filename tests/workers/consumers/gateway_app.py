"""Consumers of both kinds in a worker that was told nothing of a channel layer."""

import os
from typing import Any

from gateway_worker.consumers import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    """What one says, all hear."""

    groups = ("room",)

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"worker": os.getpid(), "redis": os.environ["GATEWAY_REDIS"]})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("room", {"type": "room.said", "said": content})

    async def room_said(self, event: dict[str, Any]) -> None:
        await self.send_json(event["said"])


class SyncEcho(JsonWebsocketConsumer):
    """Hears the room, and answers its client."""

    groups = ("room",)

    def connect(self) -> None:
        self.accept()
        self.send_json({"worker": os.getpid(), "redis": os.environ["GATEWAY_REDIS"]})

    def room_said(self, event: dict[str, Any]) -> None:
        self.send_json(event["said"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    consumer = SyncEcho if scope["path"] == "/sync" else Chat
    await consumer.as_asgi()(scope, receive, send)
