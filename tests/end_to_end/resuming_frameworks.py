"""One WebSocket application in several frameworks: its first instance dies over a message."""
# mypy: disable-error-code="import-untyped"

import asyncio
import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from fastapi import FastAPI, WebSocket as FastAPIWebSocket
from litestar import Litestar, WebSocket as LitestarWebSocket, websocket as litestar_websocket
from quart import Quart, websocket as quart_websocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from gateway_worker.consumers import AsyncWebsocketConsumer as OurConsumer

settings.configure()
django.setup()


def answer(scope: Any, text: str) -> str:
    """Handle a message: the first instance of a connection does not survive it."""
    resumed = scope["extensions"]["gateway"]["resumed"]
    if not resumed:
        os._exit(9)
    return f"{text} {resumed}"


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(answer(websocket.scope, text))


starlette = Starlette(routes=[WebSocketRoute("/", talk)])

fastapi = FastAPI()


@fastapi.websocket("/")
async def fastapi_talk(websocket: FastAPIWebSocket) -> None:
    await talk(websocket)


@litestar_websocket("/")
async def litestar_talk(socket: LitestarWebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    async for text in socket.iter_data("text"):
        await socket.send_text(answer(socket.scope, text))


litestar = Litestar(route_handlers=[litestar_talk])


class Talk(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=answer(self.scope, text_data or ""))


channels = Talk.as_asgi()


class OurTalk(OurConsumer):
    resumable = True

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=answer(self.scope, text_data or ""))


consumer = OurTalk.as_asgi()

quart = Quart(__name__)


@quart.websocket("/")
async def quart_talk() -> None:
    """Take messages that Quart has asked for ahead, which confirms them before this sees them."""
    while True:
        text = str(await quart_websocket.receive())
        await asyncio.sleep(0.2)  # it has asked for the next by now
        await quart_websocket.send(answer(quart_websocket.scope, text))


confirming_quart = Quart(__name__)


@confirming_quart.websocket("/")
async def confirming_quart_talk() -> None:
    """Confirm each message when it was handled, as an application on Quart has to."""
    confirm = quart_websocket.scope["extensions"]["gateway"]["confirm"]
    confirm()
    while True:
        text = str(await quart_websocket.receive())
        await asyncio.sleep(0.2)  # it has asked for the next by now
        await quart_websocket.send(answer(quart_websocket.scope, text))
        confirm()
