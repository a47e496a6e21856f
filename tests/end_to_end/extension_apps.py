"""Applications that use ASGI's extensions."""

import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route


async def site(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    await ROUTES[scope["path"]](scope, send)


async def extensions(scope: Any, send: Any) -> None:
    await _start(send)
    await _body(send, " ".join(sorted(scope["extensions"])).encode())


async def trailers(scope: Any, send: Any) -> None:
    length = b"%d" % len(b"some content")
    await _start(send, (b"trailer", b"x-sum"), (b"content-length", length), trailers=True)
    await _body(send, b"some ", more_body=True)
    await _body(send, b"content")
    first, last = [(b"x-sum", b"12")], [(b"x-more", b"yes")]
    await send({"type": "http.response.trailers", "headers": first, "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": last})


async def no_trailers(scope: Any, send: Any) -> None:
    """Breaks its word: the response never ends."""
    await _start(send, trailers=True)
    await _body(send, b"content")


async def hints(scope: Any, send: Any) -> None:
    links = [b"</style.css>; rel=preload; as=style", b"</app.js>; rel=preload"]
    await send({"type": "http.response.early_hint", "links": links})
    await _start(send)
    await _body(send, b"page")


async def path(scope: Any, send: Any) -> None:
    name = scope["query_string"].decode()
    file = os.path.join(os.environ["NOTES"], name)
    await _start(send)
    try:
        await send({"type": "http.response.pathsend", "path": file})
    except RuntimeError as error:
        await _body(send, str(error).encode())


async def part(scope: Any, send: Any) -> None:
    """Promises six bytes of a file."""
    file = os.path.join(os.environ["NOTES"], scope["query_string"].decode())
    await _start(send, (b"content-length", b"6"))
    await send({"type": "http.response.pathsend", "path": file})


async def _start(send: Any, *headers: Any, **keys: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers, **keys})


async def _body(send: Any, body: bytes, **keys: Any) -> None:
    await send({"type": "http.response.body", "body": body, **keys})


async def file_response(request: Request) -> FileResponse:
    return FileResponse(os.path.join(os.environ["NOTES"], request.path_params["name"]))


ROUTES = {
    "/extensions": extensions,
    "/trailers": trailers,
    "/no-trailers": no_trailers,
    "/hints": hints,
    "/path": path,
    "/part": part,
}

starlette_site = Starlette(routes=[Route("/file/{name}", file_response)])


async def both(scope: Any, receive: Any, send: Any) -> None:
    """Ours, and Starlette's under /file."""
    app = starlette_site if scope.get("path", "").startswith("/file/") else site
    await app(scope, receive, send)
