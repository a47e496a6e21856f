"""Starlette."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.differential.apps.raw import CHUNK, chunks
from tests.differential.apps.recorder import Recorder, digest

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def plain(_request: Request) -> Response:
    return PlainTextResponse("Hello, world!")


async def echo(request: Request) -> Response:
    size, crc = 0, "0"
    async for piece in request.stream():
        size += len(piece)
        crc = digest(piece, int(crc, 16))
    query = request.query_params.multi_items()
    body = {"size": size, "crc": crc}
    return JSONResponse(
        {"method": request.method, "path": request.url.path, "query": query, "body": body}
    )


async def status(request: Request) -> Response:
    return Response(status_code=request.path_params["number"])


async def stream(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        for number in range(5):
            yield f"piece {number}\n"

    return StreamingResponse(pieces(), media_type="text/plain")


async def endless(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield CHUNK[:1024]
            await asyncio.sleep(0.005)

    return StreamingResponse(pieces(), media_type="text/plain")


async def download(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks(request.path_params["size"]):
            yield chunk

    return StreamingResponse(pieces(), media_type="text/plain")


async def cookies(request: Request) -> Response:
    response = JSONResponse(request.cookies)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return response


async def duplicates(_request: Request) -> Response:
    response = Response()
    response.headers.append("x-twice", "1")
    response.headers.append("x-twice", "2")
    response.headers.append("x-latin", "café")
    return response


async def error(_request: Request) -> Response:
    raise RuntimeError("before the head")


async def error_midway(_request: Request) -> Response:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("after the head")

    async def asynchronous() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    return StreamingResponse(asynchronous(), media_type="text/plain")


async def ignore(_request: Request) -> Response:
    return PlainTextResponse("not read")


async def redirect(_request: Request) -> Response:
    return Response(status_code=302, headers={"location": "/plain"})


async def form(request: Request) -> Response:
    async with request.form() as fields:
        text = {name: value for name, value in fields.items() if isinstance(value, str)}
        files = {
            name: len(await value.read())
            for name, value in fields.items()
            if not isinstance(value, str)
        }
    return JSONResponse({"fields": text, "files": files})


async def ws_echo(socket: WebSocket) -> None:
    await socket.accept()
    await _echo(socket)


async def _echo(socket: WebSocket) -> None:
    while (event := await socket.receive())["type"] == "websocket.receive":
        if event.get("text") is not None:
            await socket.send_text(event["text"])
        else:
            await socket.send_bytes(event["bytes"])


async def ws_greet(socket: WebSocket) -> None:
    subprotocol = next(iter(socket.scope["subprotocols"]), None)
    await socket.accept(subprotocol, headers=[(b"x-greeting", b"hello")])
    await socket.send_text("welcome")
    await _echo(socket)


async def ws_close(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(socket.path_params["code"], "enough")


async def ws_refuse(socket: WebSocket) -> None:
    await socket.close(4003)


async def ws_deny(socket: WebSocket) -> None:
    await socket.send_denial_response(
        PlainTextResponse("who are you?", 401, headers={"x-why": "password"})
    )


async def ws_error(socket: WebSocket) -> None:
    await socket.accept()
    raise RuntimeError("after accept")


async def ws_error_early(socket: WebSocket) -> None:
    raise RuntimeError("before accept")


async def ws_leave(socket: WebSocket) -> None:
    await socket.accept()


async def ws_count(socket: WebSocket) -> None:
    await socket.accept()
    for number in range(socket.path_params["total"]):
        await socket.send_text(str(number))
    await socket.close()


HTTP = {
    "/plain": plain,
    "/status/{number:int}": status,
    "/stream": stream,
    "/endless": endless,
    "/download/{size:int}": download,
    "/cookies": cookies,
    "/duplicates": duplicates,
    "/error": error,
    "/error-midway": error_midway,
    "/redirect": redirect,
}
WEBSOCKET = {
    "/ws/echo": ws_echo,
    "/ws/greet": ws_greet,
    "/ws/close/{code:int}": ws_close,
    "/ws/refuse": ws_refuse,
    "/ws/deny": ws_deny,
    "/ws/error": ws_error,
    "/ws/error-early": ws_error_early,
    "/ws/leave": ws_leave,
    "/ws/count/{total:int}": ws_count,
}
site = Starlette(
    routes=[
        *(Route(path, endpoint) for path, endpoint in HTTP.items()),
        Route("/echo", echo, methods=METHODS),
        Route("/echo/{rest:path}", echo, methods=METHODS),
        Route("/ignore", ignore, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        *(WebSocketRoute(path, endpoint) for path, endpoint in WEBSOCKET.items()),
    ]
)
app = Recorder(site)
