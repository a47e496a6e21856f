"""Litestar."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import HttpMethod, Litestar, MediaType, Request, Response, WebSocket, get, post, route
from litestar.datastructures import Cookie, UploadFile
from litestar.handlers import websocket
from litestar.response import Stream
from tests.differential.apps.raw import CHUNK, chunks
from tests.differential.apps.recorder import Recorder, digest

METHODS = [
    HttpMethod.GET,
    HttpMethod.POST,
    HttpMethod.PUT,
    HttpMethod.PATCH,
    HttpMethod.DELETE,
    HttpMethod.OPTIONS,
]
Ask = Request[Any, Any, Any]
Socket = WebSocket[Any, Any, Any]


@get("/plain", media_type=MediaType.TEXT)
async def plain() -> str:
    return "Hello, world!"


@route(["/echo", "/echo/{rest:path}"], http_method=METHODS, status_code=200)
async def echo(request: Ask) -> dict[str, Any]:
    size, crc = 0, "0"
    async for piece in request.stream():
        size += len(piece)
        crc = digest(piece, int(crc, 16))
    query = list(request.query_params.multi_items())
    body = {"size": size, "crc": crc}
    return {"method": request.method, "path": request.url.path, "query": query, "body": body}


@get("/status/{number:int}")
async def status(number: int) -> Response[None]:
    return Response(None, status_code=number)


@get("/stream", media_type=MediaType.TEXT)
async def stream() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"piece %d\n" % number

    return Stream(pieces)


@get("/endless", media_type=MediaType.TEXT)
async def endless() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield CHUNK[:1024]
            await asyncio.sleep(0.005)

    return Stream(pieces)


@get("/download/{size:int}", media_type=MediaType.TEXT)
async def download(size: int) -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks(size):
            yield chunk

    return Stream(pieces)


@get("/cookies")
async def cookies(request: Ask) -> Response[dict[str, str]]:
    both = [Cookie("a", value="1"), Cookie("b", value="2", httponly=True)]
    return Response(dict(request.cookies), cookies=both)


@get("/duplicates")
async def duplicates() -> Response[str]:
    return Response("", headers={"x-latin": "café"})


@get("/error")
async def error() -> None:
    raise RuntimeError("before the head")


@get("/error-midway", media_type=MediaType.TEXT)
async def error_midway() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(2):
            if number:
                raise RuntimeError("after the head")
            yield b"some"

    return Stream(pieces)


@post("/ignore", status_code=200)
async def ignore() -> str:
    return "not read"


@get("/redirect")
async def redirect() -> Response[None]:
    return Response(None, status_code=302, headers={"location": "/plain"})


@post("/form", status_code=200)
async def form(request: Ask) -> dict[str, Any]:
    fields = await request.form()
    text = {name: value for name, value in fields.items() if isinstance(value, str)}
    files = {
        name: len(await value.read())
        for name, value in fields.items()
        if isinstance(value, UploadFile)
    }
    return {"fields": text, "files": files}


async def _echo(socket: Socket) -> None:
    while (event := await socket.receive())["type"] == "websocket.receive":
        text, data = event.get("text"), event.get("bytes")
        await (socket.send_text(text) if text is not None else socket.send_bytes(data or b""))


@websocket("/ws/echo")
async def ws_echo(socket: Socket) -> None:
    await socket.accept()
    await _echo(socket)


@websocket("/ws/greet")
async def ws_greet(socket: Socket) -> None:
    subprotocol = next(iter(socket.scope["subprotocols"]), None)
    await socket.accept(subprotocols=subprotocol, headers={"x-greeting": "hello"})
    await socket.send_text("welcome")
    await _echo(socket)


@websocket("/ws/close/{code:int}")
async def ws_close(socket: Socket, code: int) -> None:
    await socket.accept()
    await socket.close(code, "enough")


@websocket("/ws/refuse")
async def ws_refuse(socket: Socket) -> None:
    await socket.close(4003)


@websocket("/ws/error")
async def ws_error(socket: Socket) -> None:
    await socket.accept()
    raise RuntimeError("after accept")


@websocket("/ws/error-early")
async def ws_error_early(socket: Socket) -> None:
    raise RuntimeError("before accept")


@websocket("/ws/leave")
async def ws_leave(socket: Socket) -> None:
    await socket.accept()


@websocket("/ws/count/{total:int}")
async def ws_count(socket: Socket, total: int) -> None:
    await socket.accept()
    for number in range(total):
        await socket.send_text(str(number))
    await socket.close()


site = Litestar(
    route_handlers=[
        plain,
        echo,
        status,
        stream,
        endless,
        download,
        cookies,
        duplicates,
        error,
        error_midway,
        ignore,
        redirect,
        form,
        ws_echo,
        ws_greet,
        ws_close,
        ws_refuse,
        ws_error,
        ws_error_early,
        ws_leave,
        ws_count,
    ],
    openapi_config=None,
    request_max_body_size=None,
)
app = Recorder(site)
