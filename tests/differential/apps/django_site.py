"""Django with Channels: synchronous and asynchronous views, consumers of both kinds."""

# mypy: disable-error-code="import-untyped, misc, no-untyped-call"

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    LOGGING_CONFIG=None,
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import (  # noqa: E402
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path, re_path  # noqa: E402
from tests.differential.apps.raw import CHUNK, chunks  # noqa: E402
from tests.differential.apps.recorder import Recorder, digest  # noqa: E402


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, world!", content_type="text/plain")


def echo(request: HttpRequest, rest: str = "") -> HttpResponse:
    size, crc = 0, "0"
    while piece := request.read(65536):
        size += len(piece)
        crc = digest(piece, int(crc, 16))
    query = [(name, value) for name in request.GET for value in request.GET.getlist(name)]
    body = {"size": size, "crc": crc}
    return JsonResponse(
        {"method": request.method, "path": request.path, "query": query, "body": body}
    )


async def status(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(status=number)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"piece %d\n" % number

    return StreamingHttpResponse(pieces(), content_type="text/plain")


async def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield CHUNK[:1024]
            await asyncio.sleep(0.005)

    return StreamingHttpResponse(pieces(), content_type="text/plain")


async def download(request: HttpRequest, size: int) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks(size):
            yield chunk

    return StreamingHttpResponse(pieces(), content_type="text/plain")


def cookies(request: HttpRequest) -> HttpResponse:
    response = JsonResponse(request.COOKIES)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return response


def duplicates(request: HttpRequest) -> HttpResponse:
    return HttpResponse("", headers={"x-latin": "caf\xe9"})


def error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("before the head")


async def error_midway(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(2):
            if number:
                raise RuntimeError("after the head")
            yield b"some"

    return StreamingHttpResponse(pieces(), content_type="text/plain")


def ignore(request: HttpRequest) -> HttpResponse:
    return HttpResponse("not read", content_type="text/plain")


def redirect(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/plain")


def form(request: HttpRequest) -> HttpResponse:
    files = {name: file.size for name, file in request.FILES.items()}
    return JsonResponse({"fields": request.POST.dict(), "files": files})


class Echo(AsyncWebsocketConsumer):
    """Asynchronous, as most are."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Greet(WebsocketConsumer):
    """Synchronous: its methods run in a thread."""

    def connect(self) -> None:
        self.accept(next(iter(self.scope["subprotocols"]), None), [(b"x-greeting", b"hello")])
        self.send("welcome")

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data, bytes_data)


class Close(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.close(self.scope["url_route"]["kwargs"]["code"], "enough")


class Refuse(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close(4003)


class Error(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        raise RuntimeError("after accept")


class ErrorEarly(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise RuntimeError("before accept")


class Count(WebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        for number in range(self.scope["url_route"]["kwargs"]["total"]):
            self.send(str(number))
        self.close()


urlpatterns = [
    path("plain", plain),
    path("echo", echo),
    re_path("^echo/(?P<rest>.*)$", echo),
    path("status/<int:number>", status),
    path("stream", stream),
    path("endless", endless),
    path("download/<int:size>", download),
    path("cookies", cookies),
    path("duplicates", duplicates),
    path("error", error),
    path("error-midway", error_midway),
    path("ignore", ignore),
    path("redirect", redirect),
    path("form", form),
]
consumers: dict[str, Any] = {
    "ws/echo": Echo,
    "ws/greet": Greet,
    "ws/close/<int:code>": Close,
    "ws/refuse": Refuse,
    "ws/error": Error,
    "ws/error-early": ErrorEarly,
    "ws/count/<int:total>": Count,
}
site = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path(at, one.as_asgi()) for at, one in consumers.items()]),
    }
)
app = Recorder(site)
