"""A page that queues jobs, and the background worker that does them.

Web workers put a job on the channel `thumbnails`. A worker with `--channels thumbnails` takes it,
computes for as long as it takes, and pushes the result to the page's WebSocket, past all others.
"""

import base64
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from examples.background.mandelbrot import thumbnail
from gateway_layer.push import ConnectionGone, SyncPush
from gateway_worker.consumers import AsyncHttpConsumer, AsyncJsonWebsocketConsumer, SyncConsumer
from gateway_worker.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter, path

PAGE = (Path(__file__).parent / "index.html").read_bytes()
HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", b"%d" % len(PAGE)),
]
# For all threads of the process; it connects when it is first used.
PUSH = SyncPush(
    os.environ.get("GATEWAY_REDIS", "redis://127.0.0.1:6379/0"),
    namespace=os.environ.get("GATEWAY_NAMESPACE", "gw"),
)


class Page(AsyncHttpConsumer):
    """The page, for every method."""

    async def handle(self, body: bytes) -> None:
        """Answer with it."""
        await self.send_response(200, PAGE, headers=HEADERS)


class Desk(AsyncJsonWebsocketConsumer):
    """Takes orders of one page; what comes back does not come through here."""

    resumable = True

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Queue a job `{"x": …, "y": …, "width": …}`, with the address of this page."""
        if not is_place(content):
            await self.close(code=1008, reason="that is no place")
            return
        reply_channel = self.scope["extensions"]["gateway"]["reply_channel"]
        job = {"type": "thumbnail.wanted", "place": content, "reply_channel": reply_channel}
        await self.channel_layer.send("thumbnails", job)


class Painter(SyncConsumer):
    """Does the jobs of the channel `thumbnails`, one after the other, in a thread."""

    def thumbnail_wanted(self, job: dict[str, Any]) -> None:
        """Compute a picture and push it to the page that wanted it."""
        place = job["place"]
        png = base64.b64encode(thumbnail(place["x"], place["y"], place["width"])).decode()
        with suppress(ConnectionGone):  # the page was closed in the meantime
            PUSH.send(job["reply_channel"], json={"place": place, "png": png})


def is_place(content: object) -> bool:
    """Tell whether this is the middle and the width of a part of the plane."""
    match content:
        case {"x": int(x) | float(x), "y": int(y) | float(y), "width": int(w) | float(w), **rest}:
            return not rest and abs(x) <= 4 and abs(y) <= 4 and 1e-12 < w <= 4
    return False


app = ProtocolTypeRouter(
    {
        "http": URLRouter([path("", Page.as_asgi())]),
        "websocket": URLRouter([path("desk", Desk.as_asgi())]),
        "channel": ChannelNameRouter({"thumbnails": Painter.as_asgi()}),
    }
)
