"""Quart."""

import asyncio
from collections.abc import AsyncIterator

from quart import Quart, Response, jsonify, request, websocket
from tests.differential.apps.raw import CHUNK, chunks
from tests.differential.apps.recorder import Recorder, digest

site = Quart(__name__)
site.config["MAX_CONTENT_LENGTH"] = None
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@site.route("/plain")
async def plain() -> str:
    return "Hello, world!"


@site.route("/echo", defaults={"rest": ""}, methods=METHODS)
@site.route("/echo/<path:rest>", methods=METHODS)
async def echo(rest: str) -> Response:
    size, crc = 0, "0"
    async for piece in request.body:
        size += len(piece)
        crc = digest(piece, int(crc, 16))
    return jsonify(
        method=request.method,
        path=request.path,
        query=list(request.args.items(multi=True)),
        body={"size": size, "crc": crc},
    )


@site.route("/status/<int:number>")
async def status(number: int) -> Response:
    return Response("", status=number)


@site.route("/stream")
async def stream() -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"piece %d\n" % number

    return Response(pieces(), mimetype="text/plain")


@site.route("/endless")
async def endless() -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield CHUNK[:1024]
            await asyncio.sleep(0.005)

    return Response(pieces(), mimetype="text/plain")


@site.route("/download/<int:size>")
async def download(size: int) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks(size):
            yield chunk

    return Response(pieces(), mimetype="text/plain")


@site.route("/cookies")
async def cookies() -> Response:
    response = jsonify(dict(request.cookies))
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return response


@site.route("/duplicates")
async def duplicates() -> Response:
    response = Response("")
    response.headers.add("x-twice", "1")
    response.headers.add("x-twice", "2")
    return response


@site.route("/error")
async def error() -> str:
    raise RuntimeError("before the head")


@site.route("/error-midway")
async def error_midway() -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(2):
            if number:
                raise RuntimeError("after the head")
            yield b"some"

    return Response(pieces(), mimetype="text/plain")


@site.route("/ignore", methods=["POST"])
async def ignore() -> str:
    return "not read"


@site.route("/redirect")
async def redirect() -> Response:
    return Response("", status=302, headers={"location": "/plain"})


@site.route("/form", methods=["POST"])
async def form() -> Response:
    files = {name: len(file.read()) for name, file in (await request.files).items()}
    return jsonify(fields=(await request.form).to_dict(), files=files)


@site.websocket("/ws/echo")
async def ws_echo() -> None:
    await websocket.accept()
    while True:
        await websocket.send(await websocket.receive())


@site.websocket("/ws/greet")
async def ws_greet() -> None:
    subprotocol = next(iter(websocket.requested_subprotocols), None)
    await websocket.accept({"x-greeting": "hello"}, subprotocol)
    await websocket.send("welcome")
    while True:
        await websocket.send(await websocket.receive())


@site.websocket("/ws/close/<int:code>")
async def ws_close(code: int) -> None:
    await websocket.accept()
    await websocket.close(code, "enough")


@site.websocket("/ws/refuse")
async def ws_refuse() -> None:
    await websocket.close(4003)


@site.websocket("/ws/deny")
async def ws_deny() -> tuple[str, int, dict[str, str]]:
    return "who are you?", 401, {"x-why": "password"}


@site.websocket("/ws/error")
async def ws_error() -> None:
    await websocket.accept()
    raise RuntimeError("after accept")


@site.websocket("/ws/error-early")
async def ws_error_early() -> None:
    raise RuntimeError("before accept")


@site.websocket("/ws/leave")
async def ws_leave() -> None:
    await websocket.accept()


@site.websocket("/ws/count/<int:total>")
async def ws_count(total: int) -> None:
    await websocket.accept()
    for number in range(total):
        await websocket.send(str(number))
    await websocket.close(1000)


app = Recorder(site)
