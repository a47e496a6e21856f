"""Starlette and FastAPI applications for the end-to-end tests, as their users write them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from fastapi import FastAPI, UploadFile, WebSocket as FastWebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


class State(TypedDict):
    """What the lifespan keeps for every request."""

    greeting: str


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[State]:
    yield {"greeting": "from the lifespan"}


async def stream(_request: Request) -> Response:
    async def numbers() -> AsyncIterator[str]:
        for number in range(100):
            yield f"{number}\n"

    return StreamingResponse(numbers(), media_type="text/plain")


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file: Any = form["file"]
        content = await file.read()
        return JSONResponse({"name": file.filename, "size": len(content), "text": form["text"]})


async def greeting(request: Request) -> Response:
    return JSONResponse({"greeting": request.state.greeting, "url": str(request.url)})


async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="chat")
    async for text in socket.iter_text():
        await socket.send_text(f"{text} {socket.state.greeting}")


starlette_site = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
        Route("/greeting", greeting),
        WebSocketRoute("/echo", echo),
    ],
)

fastapi_site = FastAPI(lifespan=lifespan)


@fastapi_site.get("/fast/items/{number}")
async def item(number: int, request: Request) -> dict[str, Any]:
    return {"number": number, "greeting": request.state.greeting}


@fastapi_site.post("/fast/upload")
async def receive_file(file: UploadFile) -> dict[str, Any]:
    return {"name": file.filename, "size": len(await file.read())}


@fastapi_site.websocket("/fast/echo")
async def fast_echo(socket: FastWebSocket, name: Annotated[str, "from the query"]) -> None:
    await socket.accept()
    await socket.send_json({"name": name, "said": await socket.receive_text()})
    await socket.close(4000)
