"""The WebSockets of the plain ASGI site: `/ws/NAME` is the method NAME."""

from typing import Any

from tests.differential.apps.raw import Site


class WebSocketSite:
    """Handlers of one WebSocket each; they take the site as argument."""

    @staticmethod
    async def _accept(site: Site, **more: Any) -> None:
        await site.receive()
        await site.send({"type": "websocket.accept", **more})

    @staticmethod
    async def _echo(site: Site) -> None:
        while (event := await site.receive())["type"] == "websocket.receive":
            text, data = event.get("text"), event.get("bytes")
            key, value = ("text", text) if text is not None else ("bytes", data)
            await site.send({"type": "websocket.send", key: value})

    @classmethod
    async def echo(cls, site: Site) -> None:
        await cls._accept(site)
        await cls._echo(site)

    @classmethod
    async def greet(cls, site: Site) -> None:
        subprotocol = next(iter(site.scope["subprotocols"]), None)
        await cls._accept(site, subprotocol=subprotocol, headers=[(b"x-greeting", b"hello")])
        await site.send({"type": "websocket.send", "text": "welcome"})
        await cls._echo(site)

    @classmethod
    async def close(cls, site: Site) -> None:
        await cls._accept(site)
        code = int(site.rest.rpartition("/")[2])
        await site.send({"type": "websocket.close", "code": code, "reason": "enough"})

    @classmethod
    async def linger(cls, site: Site) -> None:
        """Close and listen on."""
        await cls.close(site)
        await site.receive()

    @classmethod
    async def refuse(cls, site: Site) -> None:
        await site.receive()
        await site.send({"type": "websocket.close", "code": 4003})

    @classmethod
    async def deny(cls, site: Site) -> None:
        await site.receive()
        headers = [(b"content-type", b"text/plain"), (b"x-why", b"password")]
        await site.send(
            {"type": "websocket.http.response.start", "status": 401, "headers": headers}
        )
        await site.send({"type": "websocket.http.response.body", "body": b"who are you?"})

    @classmethod
    async def error(cls, site: Site) -> None:
        await cls._accept(site)
        raise RuntimeError("after accept")

    @classmethod
    async def error_early(cls, site: Site) -> None:
        await site.receive()
        raise RuntimeError("before accept")

    @classmethod
    async def leave(cls, site: Site) -> None:
        await cls._accept(site)

    @classmethod
    async def leave_early(cls, site: Site) -> None:
        await site.receive()

    @classmethod
    async def count(cls, site: Site) -> None:
        await cls._accept(site)
        for number in range(int(site.rest.rpartition("/")[2])):
            await site.send({"type": "websocket.send", "text": str(number)})
        await site.send({"type": "websocket.close"})

    @classmethod
    async def unasked(cls, site: Site) -> None:
        """Accept and speak without having received `websocket.connect`."""
        await site.send({"type": "websocket.accept"})
        await site.send({"type": "websocket.send", "text": "at once"})
        await cls._echo(site)

    @classmethod
    async def silent_accept(cls, site: Site) -> None:
        """Send before accepting."""
        await site.receive()
        await site.send({"type": "websocket.send", "text": "too early"})

    @classmethod
    async def twice(cls, site: Site) -> None:
        await cls._accept(site)
        await site.send({"type": "websocket.accept"})

    @classmethod
    async def after_close(cls, site: Site) -> None:
        await cls.close(site)
        await site.send({"type": "websocket.send", "text": "too late"})

    @classmethod
    async def after_leave(cls, site: Site) -> None:
        """Send to a client that has left."""
        await cls._accept(site)
        await cls._echo(site)
        await site.send({"type": "websocket.send", "text": "too late"})

    @classmethod
    async def both(cls, site: Site) -> None:
        await cls._accept(site)
        await site.send({"type": "websocket.send", "text": None, "bytes": b"bytes"})
        await site.send({"type": "websocket.send", "text": "text", "bytes": None})
        await site.send({"type": "websocket.close", "code": 1000, "reason": None})
