"""A drawing board that everybody shares: consumers and routers of `gateway_worker`."""

import re
from pathlib import Path
from typing import Any

from gateway_worker.consumers import AsyncHttpConsumer, AsyncJsonWebsocketConsumer
from gateway_worker.routing import ProtocolTypeRouter, URLRouter, path

PAGE = (Path(__file__).parent / "index.html").read_bytes()
HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", b"%d" % len(PAGE)),
]
COLOUR = re.compile(r"#[0-9a-f]{6}")


class Page(AsyncHttpConsumer):
    """The page, for every method."""

    async def handle(self, body: bytes) -> None:
        """Answer with it."""
        await self.send_response(200, PAGE, headers=HEADERS)


class Board(AsyncJsonWebsocketConsumer):
    """Somebody at the board."""

    groups = ("board",)
    """Joined when the WebSocket opens, left when it ends."""

    resumable = True
    """Nothing is kept in attributes, so another worker can go on with the open WebSocket."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Give a stroke to everybody, also to who drew it."""
        if not is_stroke(content):
            await self.close(code=1008, reason="that is no stroke")
            return
        await self.channel_layer.group_send("board", {"type": "stroke.drawn", "stroke": content})

    async def stroke_drawn(self, event: dict[str, Any]) -> None:
        """Send a stroke that came to the group: the type `stroke.drawn` names this method."""
        await self.send_json(event["stroke"])


def is_stroke(content: object) -> bool:
    """Tell whether this is `{"colour": "#rrggbb", "line": [x1, y1, x2, y2]}`, each from 0 to 1."""
    match content:
        case {"colour": str(colour), "line": [_, _, _, _] as line, **rest}:
            numbers = all(isinstance(one, int | float) and 0 <= one <= 1 for one in line)
            return numbers and not rest and COLOUR.fullmatch(colour) is not None
    return False


app = ProtocolTypeRouter(
    {
        "http": URLRouter([path("", Page.as_asgi())]),
        "websocket": URLRouter([path("board", Board.as_asgi())]),
    }
)
