"""Flask, which is WSGI."""

import time
from collections.abc import Iterator

from flask import Flask, Response, jsonify, redirect, request
from tests.differential.apps.raw import CHUNK, chunks
from tests.differential.apps.recorder import WsgiRecorder, digest

site = Flask(__name__)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@site.route("/plain")
def plain() -> str:
    return "Hello, world!"


@site.route("/echo", defaults={"rest": ""}, methods=METHODS)
@site.route("/echo/<path:rest>", methods=METHODS)
def echo(rest: str) -> Response:
    size, crc = 0, "0"
    while piece := request.stream.read(65536):
        size += len(piece)
        crc = digest(piece, int(crc, 16))
    return jsonify(
        method=request.method,
        path=request.path,
        query=list(request.args.items(multi=True)),
        body={"size": size, "crc": crc},
    )


@site.route("/status/<int:number>")
def status(number: int) -> Response:
    return Response(status=number)


@site.route("/stream")
def stream() -> Response:
    return Response((f"piece {number}\n" for number in range(5)), mimetype="text/plain")


@site.route("/endless")
def endless() -> Response:
    def pieces() -> Iterator[bytes]:
        # A WSGI server can tell the application only by not asking for more.
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            yield CHUNK[:1024]
            time.sleep(0.005)

    return Response(pieces(), mimetype="text/plain")


@site.route("/download/<int:size>")
def download(size: int) -> Response:
    return Response(chunks(size), mimetype="text/plain")


@site.route("/cookies")
def cookies() -> Response:
    response = jsonify(dict(request.cookies))
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return response


@site.route("/duplicates")
def duplicates() -> Response:
    headers = [("x-twice", "1"), ("x-twice", "2"), ("x-latin", "café")]
    return Response("", headers=headers)


@site.route("/error")
def error() -> str:
    raise RuntimeError("before the head")


@site.route("/error-midway")
def error_midway() -> Response:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("after the head")

    return Response(pieces(), mimetype="text/plain")


@site.route("/ignore", methods=["POST"])
def ignore() -> str:
    return "not read"


@site.route("/redirect")
def to_plain() -> Response:
    return Response(status=302, headers={"location": redirect("/plain").location})


@site.route("/form", methods=["POST"])
def form() -> Response:
    files = {name: len(file.read()) for name, file in request.files.items()}
    return jsonify(fields=request.form.to_dict(), files=files)


app = WsgiRecorder(site.wsgi_app)
