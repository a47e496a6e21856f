"""ASGI without a framework: version 3 as `app`, version 2 as `Classic`.

Besides what the sites of all frameworks have (see `exchanges`), it misbehaves on request.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from tests.differential.apps.recorder import Message, Receive, Recorder, Send, digest

CHUNK = bytes(range(256)) * 256
TEXT = (b"content-type", b"text/plain; charset=utf-8")


def chunks(total: int) -> Iterator[bytes]:
    """Yield `total` bytes of content in pieces of 64 KiB."""
    for start in range(0, total, len(CHUNK)):
        yield CHUNK[: total - start]


class Site:
    """Serves one connection; a handler is named after the first part of the path."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        first, _, self.rest = scope["path"].removeprefix("/").partition("/")
        self.name = first.replace("-", "_")
        self.query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)

    async def serve(self) -> None:
        if self.scope["type"] == "websocket":
            from tests.differential.apps.raw_websocket import WebSocketSite

            await getattr(WebSocketSite, self.rest.partition("/")[0].replace("-", "_"))(self)
        else:
            await getattr(self, f"serve_{self.name}", self.unknown)()

    async def start(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(self, body: bytes = b"", more: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, *(headers or (TEXT,)), length)
        await self.body(body)

    async def as_json(self, value: Any) -> None:
        await self.answer(json.dumps(value).encode(), (b"content-type", b"application/json"))

    async def read(self) -> dict[str, Any]:
        size, crc, more = 0, "0", True
        while more:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                raise ConnectionError("the client has left")
            size += len(event.get("body", b""))
            crc = digest(event.get("body", b""), int(crc, 16))
            more = event.get("more_body", False)
        return {"size": size, "crc": crc}

    # What every site has.

    async def unknown(self) -> None:
        await self.answer(b"not found", status=404)

    async def serve_plain(self) -> None:
        await self.answer(b"Hello, world!")

    async def serve_echo(self) -> None:
        body = await self.read()
        method, path = self.scope["method"], self.scope["path"]
        await self.as_json({"method": method, "path": path, "query": self.query, "body": body})

    async def serve_status(self) -> None:
        await self.start(int(self.rest))
        await self.body()

    async def serve_stream(self) -> None:
        await self.start(200, TEXT)
        for number in range(5):
            await self.body(b"piece %d\n" % number, more=True)
        await self.body()

    async def serve_endless(self) -> None:
        await self.start(200, TEXT)
        listening = asyncio.ensure_future(self.until_disconnect())
        with suppress(OSError):  # ASGI 2.4: `send` may hear of it first
            while not listening.done():
                await self.body(CHUNK[:1024], more=True)
                await asyncio.sleep(0.005)
        await listening

    async def until_disconnect(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def serve_download(self) -> None:
        await self.start(200, TEXT)
        for chunk in chunks(int(self.rest)):
            await self.body(chunk, more=True)
        await self.body()

    async def serve_cookies(self) -> None:
        sent = dict(self.scope["headers"]).get(b"cookie", b"").decode()
        cookies = {name: morsel.value for name, morsel in SimpleCookie(sent).items()}
        answer = json.dumps(cookies).encode()
        set_cookies = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; HttpOnly; Path=/")]
        await self.answer(answer, (b"content-type", b"application/json"), *set_cookies)

    async def serve_duplicates(self) -> None:
        await self.answer(b"", (b"x-twice", b"1"), (b"x-twice", b"2"), (b"x-latin", b"caf\xe9"))

    async def serve_error(self) -> None:
        raise RuntimeError("before the head")

    async def serve_error_midway(self) -> None:
        await self.start(200, TEXT)
        await self.body(b"some", more=True)
        raise RuntimeError("after the head")

    async def serve_ignore(self) -> None:
        await self.answer(b"not read")

    async def serve_redirect(self) -> None:
        await self.answer(b"", (b"location", b"/plain"), status=302)

    # What only plain ASGI can do.

    async def serve_after(self) -> None:
        """Ask for events after the answer."""
        await self.read()
        await self.answer(b"done")
        await self.receive()

    async def serve_state(self) -> None:
        await self.as_json(self.scope.get("state"))

    async def serve_duplex(self) -> None:
        """Answer each piece of the body with its length before the next is read."""
        await self.start(200, TEXT)
        while True:
            event = await self.receive()
            if event.get("body"):
                await self.body(b"%d\n" % len(event["body"]), more=True)
            if not event.get("more_body"):
                break
        await self.body()

    async def serve_head(self) -> None:
        """Answer with the head that the query asks for, and the body `body=…`."""
        status, body, headers = 200, b"Hello, world!", []
        for name, value in self.query:
            if name == "status":
                status = int(value)
            elif name == "body":
                body = value.encode()
            else:
                headers.append((name.encode(), value.encode("latin-1")))
        await self.start(status, *headers)
        await self.body(body)

    async def serve_sends(self) -> None:
        """Send what the query says in order; the last part of the answer says what was raised.

        `s`: the head, `h`: a head with Content-Length 4, `B`: "12" and more, `b`: "34" and the end.
        """
        for step in self.rest:
            if step == "s":
                await self.start(200, TEXT)
            elif step == "h":
                await self.start(200, TEXT, (b"content-length", b"4"))
            else:
                await self.body(b"12" if step == "B" else b"34", more=step == "B")

    async def serve_wait(self) -> None:
        """Wait for the client to leave; it sees the head meanwhile."""
        await self.start(200, TEXT)
        await self.body(b"some", more=True)
        await self.until_disconnect()


async def _site(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["from"] = "lifespan"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await Site(scope, receive, send).serve()


app = Recorder(_site)


class Classic:
    """The same as ASGI 2: an instance for each connection."""

    def __init__(self, scope: Message) -> None:
        self._scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        await app(self._scope, receive, send)
