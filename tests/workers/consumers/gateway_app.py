"""Consumers of both kinds in a worker that was told nothing of a channel layer."""

import os
import re
from pathlib import Path
from typing import Any

from gateway_worker.consumers import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)


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


class Ticker(AsyncWebsocketConsumer):
    """Passes on what it hears."""

    groups = ("ticker",)


class SyncTicker(WebsocketConsumer):
    """Passes on what it hears."""

    groups = ("ticker",)


CONSUMERS: dict[str, Any] = {"/sync": SyncEcho, "/ticker": Ticker, "/sync-ticker": SyncTicker}

SHOWN: dict[str, Any] = {}
"""What docs/channels.md shows of clients in groups."""

exec(
    re.findall(
        r"^```python\n(from gateway_worker.*?)^```$",
        (Path(__file__).parents[3] / "docs" / "channels.md").read_text(),
        re.M | re.S,
    )[0],
    SHOWN,
)
CONSUMERS["/shown"] = SHOWN["Ticker"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    consumer = CONSUMERS.get(scope["path"], Chat)
    await consumer.as_asgi()(scope, receive, send)
