"""A chat of Django Channels as its users write it; `CHANNEL_LAYERS` names this project's layer."""

# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

import os
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "gateway_layer.channels.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["CHAT_REDIS"]]},
        }
    },
)
django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Chat(AsyncJsonWebsocketConsumer):
    """A room: what one says, all hear."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send_json({"worker": os.getpid()})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content: Any) -> None:
        await self.channel_layer.group_send(self.room, {"type": "chat.said", "said": content})

    async def chat_said(self, event: dict[str, Any]) -> None:
        await self.send_json(event["said"])


def announce(request: HttpRequest, room: str) -> HttpResponse:
    """A synchronous view that speaks to the room."""
    layer: Any = get_channel_layer()
    async_to_sync(layer.group_send)(room, {"type": "chat.said", "said": "announcement"})
    return HttpResponse("said")


def members(request: HttpRequest, room: str) -> HttpResponse:
    layer: Any = get_channel_layer()
    return HttpResponse(str(async_to_sync(layer.group_channels_count)(room)))


urlpatterns = [path("announce/<room>", announce), path("members/<room>", members)]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("chat/<room>", Chat.as_asgi())]),
    }
)
