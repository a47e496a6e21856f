"""FastAPI, written as its users do: parameters by annotation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Cookie, FastAPI, Form, Request, Response, UploadFile, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.routing import WebSocketRoute
from tests.differential.apps import starlette_site
from tests.differential.apps.raw import CHUNK, chunks
from tests.differential.apps.recorder import Recorder, digest

site = FastAPI()


@site.get("/plain", response_class=PlainTextResponse)
async def plain() -> str:
    return "Hello, world!"


@site.api_route("/echo", methods=starlette_site.METHODS)
@site.api_route("/echo/{rest:path}", methods=starlette_site.METHODS)
async def echo(request: Request) -> dict[str, Any]:
    body = await request.body()
    return {
        "method": request.method,
        "path": request.url.path,
        "query": request.query_params.multi_items(),
        "body": {"size": len(body), "crc": digest(body)},
    }


@site.get("/status/{number}")
async def status(number: int) -> Response:
    return Response(status_code=number)


@site.get("/stream")
async def stream() -> StreamingResponse:
    # A synchronous generator, which is run in threads.
    return StreamingResponse((f"piece {number}\n" for number in range(5)), media_type="text/plain")


@site.get("/endless")
async def endless() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield CHUNK[:1024]
            await asyncio.sleep(0.005)

    return StreamingResponse(pieces(), media_type="text/plain")


@site.get("/download/{size}")
async def download(size: int) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks(size):
            yield chunk

    return StreamingResponse(pieces(), media_type="text/plain")


@site.get("/cookies")
def cookies(
    response: Response,
    first: Annotated[str | None, Cookie()] = None,
    second: Annotated[str | None, Cookie()] = None,
) -> dict[str, str | None]:
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return {"first": first, "second": second}


@site.get("/duplicates")
async def duplicates(response: Response) -> None:
    for name, value in (("x-twice", "1"), ("x-twice", "2"), ("x-latin", "café")):
        response.headers.append(name, value)


@site.get("/error")
def error() -> None:
    raise RuntimeError("before the head")


@site.get("/error-midway")
async def error_midway() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(2):
            if number:
                raise RuntimeError("after the head")
            yield b"some"

    return StreamingResponse(pieces(), media_type="text/plain")


@site.post("/ignore")
async def ignore() -> str:
    return "not read"


@site.get("/redirect")
async def redirect() -> Response:
    return Response(status_code=302, headers={"location": "/plain"})


@site.post("/form")
async def form(
    text: Annotated[str, Form()], file: UploadFile | None = None
) -> dict[str, dict[str, Any]]:
    files = {"file": len(await file.read())} if file else {}
    return {"fields": {"text": text}, "files": files}


@site.websocket("/ws/close/{code}")
async def ws_close(socket: WebSocket, code: int) -> None:
    await socket.accept()
    await socket.close(code, "enough")


@site.websocket("/ws/count/{total}")
async def ws_count(socket: WebSocket, total: int) -> None:
    await socket.accept()
    for number in range(total):
        await socket.send_text(str(number))
    await socket.close()


for path, endpoint in starlette_site.WEBSOCKET.items():
    if "{" not in path:
        site.router.routes.append(WebSocketRoute(path, endpoint))

app = Recorder(site)
