"""Where the WebSockets of the chat are."""

import os

from django.urls import re_path

if os.environ.get("TUTORIAL_PART") == "2":
    from . import consumers_of_part_2 as consumers
else:
    from . import consumers

websocket_urlpatterns = [
    re_path(r"ws/chat/(?P<room_name>\w+)/$", consumers.ChatConsumer.as_asgi()),
]
