"""The WebSocket of a room: a consumer of Django Channels, as it runs under any ASGI server."""

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from examples.django_chat.models import Message

SHOWN_LINES = 50


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """Somebody in a room: gets its last lines, then every line that is said in it."""

    async def connect(self) -> None:
        """Join, if the session has a name, and send the history."""
        name = self.scope["session"].get("name")
        if name is None:
            await self.close()  # before accept: the handshake is refused
            return
        self.name = name
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.group = f"django-chat.{self.room}"
        # First the group, then the history: a line said in between comes twice, never not at all.
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send_json({"history": await self.last_lines()})

    async def disconnect(self, code: int) -> None:
        """Leave the room."""
        if hasattr(self, "group"):
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: Any) -> None:
        """Remember a line, and give it to the room."""
        text = content.get("text") if isinstance(content, dict) else None
        if not isinstance(text, str) or not 1 <= len(text.strip()) <= 500:
            await self.send_json({"error": "A line has from 1 to 500 characters."})
            return
        line = await self.keep(text.strip())
        await self.channel_layer.group_send(self.group, {"type": "line.said", "line": line})

    async def line_said(self, event: dict[str, Any]) -> None:
        """Pass on what somebody said."""
        await self.send_json({"line": event["line"]})

    @database_sync_to_async
    def keep(self, text: str) -> dict[str, Any]:
        """Write a line into the database, in a thread."""
        return Message.objects.create(room=self.room, name=self.name, text=text).as_json()

    @database_sync_to_async
    def last_lines(self) -> list[dict[str, Any]]:
        """Read the newest lines of the room, the oldest of them first."""
        newest = Message.objects.filter(room=self.room).order_by("-id")[:SHOWN_LINES]
        return [line.as_json() for line in reversed(newest)]
