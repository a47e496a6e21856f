"""WSGI applications for the end-to-end tests: plain ones, Flask's and Django's."""

# mypy: disable-error-code="import-untyped"

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import django
import flask
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

NOTES = Path(os.environ["NOTES"])


def note(name: str, text: str) -> None:
    """Append a line to a file that the test reads."""
    with (NOTES / f"note-{name}").open("a") as file:
        file.write(f"{text}\n")


def wait_at_gate(name: str) -> None:
    """Go on when the test opens the gate."""
    deadline = time.monotonic() + 30
    while not (NOTES / f"gate-{name}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


PLAIN = [("Content-Type", "text/plain")]


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def hashed(environ: Any, start_response: Any) -> Iterable[bytes]:
    digest = hashlib.sha256()
    while data := environ["wsgi.input"].read(100_000):
        digest.update(data)
    start_response("200 OK", PLAIN)
    return [digest.hexdigest().encode()]


def echo(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", PLAIN)
    yield from environ["wsgi.input"]


def zeros(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", PLAIN)
    for _ in range(int(environ["QUERY_STRING"]) // 65_536):
        yield bytes(65_536)


class Endless:
    """A result without end; notes how it ended."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    def close(self) -> None:
        note("endless", f"closed in {threading.current_thread().name}")


def endless(environ: Any, start_response: Any) -> Endless:
    start_response("200 OK", PLAIN)
    return Endless()


def blocked(environ: Any, start_response: Any) -> Iterable[bytes]:
    note("blocked", "waits")
    wait_at_gate("blocked")
    return hello(environ, start_response)


def fails(environ: Any, start_response: Any) -> Iterable[bytes]:
    raise ZeroDivisionError


def file(environ: Any, start_response: Any) -> Iterable[bytes]:
    content = (NOTES / "content").open("rb")
    start_response("200 OK", PLAIN)
    result: Iterable[bytes] = environ["wsgi.file_wrapper"](content, 4096)
    return result


def where(environ: Any, start_response: Any) -> Iterable[bytes]:
    keys = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "HTTP_X")
    start_response("200 OK", PLAIN)
    return [repr([environ.get(key) for key in keys]).encode()]


ROUTES = {
    "/hello": hello,
    "/hashed": hashed,
    "/echo": echo,
    "/zeros": zeros,
    "/endless": endless,
    "/blocked": blocked,
    "/fails": fails,
    "/file": file,
}


@validator
def site(environ: Any, start_response: Any) -> Any:
    return ROUTES.get(environ["PATH_INFO"], where)(environ, start_response)


flask_site = flask.Flask(__name__)


@flask_site.route("/flask/upload", methods=["POST"])
def upload() -> Any:
    upload = flask.request.files["file"]
    return {"name": upload.filename, "size": len(upload.read()), "text": flask.request.form["text"]}


@flask_site.route("/flask/stream")
def stream() -> flask.Response:
    return flask.Response((f"{number}\n" for number in range(100)), mimetype="text/plain")


@flask_site.route("/flask/file")
def send() -> flask.Response:
    return flask.send_file(NOTES / "content")


@flask_site.route("/flask/raw", methods=["POST"])
def raw() -> Any:
    return {"size": len(flask.request.get_data())}


def view(request: HttpRequest, name: str) -> HttpResponse:
    thread = threading.current_thread().name
    return HttpResponse(f"{request.method} {name} {len(request.body)} {thread}")


def streaming(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(f"{number}\n" for number in range(100))


urlpatterns = [path("django/stream", streaming), path("django/<str:name>", view)]

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for tests", DEBUG=False)
django.setup()
django_wsgi = get_wsgi_application()
django_asgi = get_asgi_application()


def every_wsgi(environ: Any, start_response: Any) -> Any:
    """One worker for the tests: Flask's and Django's under their prefixes."""
    found: Any = site
    if environ["PATH_INFO"].startswith("/flask/"):
        found = flask_site
    elif environ["PATH_INFO"].startswith("/django/"):
        found = django_wsgi
    return found(environ, start_response)
