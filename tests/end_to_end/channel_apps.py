"""Consumers whose channels outlive their instances."""

import asyncio
import os
from typing import TYPE_CHECKING, Any

from gateway_worker.consumers import AsyncJsonWebsocketConsumer

if TYPE_CHECKING:
    from tests.end_to_end.apps import gate, note
else:  # this folder is the worker's --app-dir
    from apps import gate, note


class Listener(AsyncJsonWebsocketConsumer):
    """Says what its groups hear, and how often it has heard anything in its connection's life."""

    resumable = True
    groups = ("everybody",)

    async def connect(self) -> None:
        await self.accept()
        resumed = self.scope["extensions"]["gateway"]["resumed"]
        note(dict(self.scope), f"connected {resumed} {os.getpid()} {self.channel_name}")

    async def disconnect(self, code: int) -> None:
        note(dict(self.scope), f"disconnected {code}")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Join a group, which only this instance asks for."""
        await self.channel_layer.group_add(content["join"], self.channel_name)
        await self.send_json({"joined": content["join"]})

    async def told(self, event: dict[str, Any]) -> None:
        if event.get("wait"):
            note(dict(self.scope), "waiting")
            await gate(dict(self.scope))
        state = self.scope["extensions"]["gateway"]["state"]
        state["heard"] = state.get("heard", 0) + 1
        await self.send_json([event["n"], state["heard"]])
        if event.get("slow"):
            await asyncio.sleep(0.02)


application = Listener.as_asgi()
