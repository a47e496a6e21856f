"""HTTP as every site has it."""

import time
from typing import Any

from tests.differential.apps.raw import CHUNK
from tests.differential.client import Visit
from tests.differential.exchanges.registry import ALL, Exchanges

MIB = 2**20
EXCHANGES = Exchanges(*ALL)


def chunked(*pieces: bytes) -> bytes:
    """Pieces in chunked coding, with the last chunk and no trailers."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# Methods and bodies.


@EXCHANGES.add
def get(visit: Visit) -> Any:
    return visit.ask("/plain")


@EXCHANGES.add
def head(visit: Visit) -> Any:
    return visit.ask("/plain", method="HEAD")


@EXCHANGES.add
def head_of_stream(visit: Visit) -> Any:
    return visit.ask("/stream", method="HEAD")


@EXCHANGES.add
def get_without_body(visit: Visit) -> Any:
    return visit.ask("/echo")


@EXCHANGES.add
def get_with_body(visit: Visit) -> Any:
    return visit.ask("/echo", body=b"unusual")


@EXCHANGES.add
def post(visit: Visit) -> Any:
    return visit.ask("/echo", method="POST", body=b"some bytes")


@EXCHANGES.add
def post_empty(visit: Visit) -> Any:
    return visit.ask("/echo", method="POST", body=b"")


@EXCHANGES.add
def post_without_length(visit: Visit) -> Any:
    return visit.ask("/echo", method="POST")


@EXCHANGES.add
def post_100_kb(visit: Visit) -> Any:
    return visit.ask("/echo", method="POST", body=CHUNK + CHUNK[:34_464])


@EXCHANGES.add
def put(visit: Visit) -> Any:
    return visit.ask("/echo", method="PUT", body=b"put")


@EXCHANGES.add
def patch(visit: Visit) -> Any:
    return visit.ask("/echo", method="PATCH", body=b"patch")


@EXCHANGES.add
def delete(visit: Visit) -> Any:
    return visit.ask("/echo", method="DELETE")


@EXCHANGES.add
def options(visit: Visit) -> Any:
    return visit.ask("/echo", method="OPTIONS")


@EXCHANGES.add
def post_chunked(visit: Visit) -> Any:
    data = visit.head("/echo", "transfer-encoding: chunked", method="POST")
    return visit.send(data + chunked(b"one", b"two", CHUNK))


@EXCHANGES.add
def post_chunked_empty(visit: Visit) -> Any:
    data = visit.head("/echo", "transfer-encoding: chunked", method="POST")
    return visit.send(data + chunked())


@EXCHANGES.add
def post_chunked_with_extension_and_trailers(visit: Visit) -> Any:
    data = visit.head("/echo", "transfer-encoding: chunked", "trailer: x-sum", method="POST")
    return visit.send(data + b"3;ext=1\r\none\r\n0\r\nx-sum: 42\r\n\r\n")


@EXCHANGES.add
def expect_continue(visit: Visit) -> Any:
    """The body is sent when 100 has come, as curl does."""
    with visit.connect() as client:
        fields = ("expect: 100-continue", "content-length: 10")
        client.send(visit.head("/echo", *fields, method="POST"))
        interim = client.head()
        client.send(b"some bytes")
        answer = client.answer()
        return {"interim": interim, **answer, "connection": client.after(answer)}


@EXCHANGES.add
def expect_continue_sent_at_once(visit: Visit) -> Any:
    return visit.ask("/echo", "expect: 100-continue", method="POST", body=b"impatient")


@EXCHANGES.add
def body_not_read(visit: Visit) -> Any:
    return visit.ask("/ignore", method="POST", body=b"x" * 1000)


@EXCHANGES.add
def slow_upload(visit: Visit) -> Any:
    with visit.connect() as client:
        client.send(visit.head("/echo", "content-length: 1000", method="POST"))
        for _ in range(10):
            client.send(b"x" * 100)
            time.sleep(0.02)
        return client.answer()


@EXCHANGES.add
def slow_head(visit: Visit) -> Any:
    with visit.connect() as client:
        data = visit.head("/echo", "content-length: 4", method="POST") + b"body"
        for at in range(0, len(data), 20):
            client.send(data[at : at + 20])
            time.sleep(0.005)
        return client.answer()


@EXCHANGES.add
def upload_50_mb(visit: Visit) -> Any:
    return visit.ask("/echo", method="POST", body=CHUNK * (50 * MIB // len(CHUNK)))


@EXCHANGES.add
def upload_chunked_5_mb(visit: Visit) -> Any:
    data = visit.head("/echo", "transfer-encoding: chunked", method="POST")
    return visit.send(data + chunked(*[CHUNK] * 80))


@EXCHANGES.add
def download_50_mb(visit: Visit) -> Any:
    return visit.ask(f"/download/{50 * MIB}")


@EXCHANGES.add
def form_urlencoded(visit: Visit) -> Any:
    kind = "content-type: application/x-www-form-urlencoded"
    return visit.ask("/form", kind, method="POST", body=b"text=caf%C3%A9+au+lait")


@EXCHANGES.add
def form_multipart(visit: Visit) -> Any:
    field = b'--cut\r\ncontent-disposition: form-data; name="text"\r\n\r\nwords\r\n'
    name = b'--cut\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n'
    file = name + b"content-type: application/octet-stream\r\n\r\n" + CHUNK + b"\r\n"
    kind = "content-type: multipart/form-data; boundary=cut"
    return visit.ask("/form", kind, method="POST", body=field + file + b"--cut--\r\n")


# Answers.


@EXCHANGES.add
def no_content(visit: Visit) -> Any:
    return visit.ask("/status/204")


@EXCHANGES.add
def not_modified(visit: Visit) -> Any:
    return visit.ask("/status/304", 'if-none-match: "1"')


@EXCHANGES.add
def teapot(visit: Visit) -> Any:
    return visit.ask("/status/418")


@EXCHANGES.add
def unknown_path(visit: Visit) -> Any:
    return visit.ask("/nowhere")


@EXCHANGES.add
def method_not_allowed(visit: Visit) -> Any:
    return visit.ask("/form", method="PUT", body=b"")


@EXCHANGES.add
def redirect(visit: Visit) -> Any:
    return visit.ask("/redirect")


@EXCHANGES.add
def stream(visit: Visit) -> Any:
    return visit.ask("/stream")


@EXCHANGES.add
def error_before_the_head(visit: Visit) -> Any:
    return visit.ask("/error")


@EXCHANGES.add
def error_after_the_head(visit: Visit) -> Any:
    return visit.ask("/error-midway")


@EXCHANGES.add
def repeated_and_latin_1_fields_of_answer(visit: Visit) -> Any:
    return visit.ask("/duplicates")


@EXCHANGES.add
def cookies(visit: Visit) -> Any:
    return visit.ask("/cookies", "cookie: first=1; second=two")


@EXCHANGES.add
def cookies_in_two_fields(visit: Visit) -> Any:
    return visit.ask("/cookies", "cookie: first=1", "cookie: second=2")


# The client's leaving.


@EXCHANGES.add
def leaves_within_the_answer(visit: Visit) -> Any:
    client = visit.connect()
    client.send(visit.head("/endless"))
    status = client.head()["status"]
    client.chunk()
    client.leave()
    return status


@EXCHANGES.add
def leaves_within_its_body(visit: Visit) -> Any:
    client = visit.connect()
    fields = ("content-length: 1000", "expect: 100-continue")
    client.send(visit.head("/echo", *fields, method="POST"))
    interim = client.head()["status"]
    client.send(b"x" * 10)
    client.leave()
    return interim


# The life of a connection.


@EXCHANGES.add
def keep_alive(visit: Visit) -> Any:
    with visit.connect() as client:
        seen = []
        for path in ("/plain", "/echo?a=1", "/stream", "/status/204", "/plain"):
            client.send(visit.head(path))
            seen.append(client.answer())
        return seen


@EXCHANGES.add
def pipelined(visit: Visit) -> Any:
    with visit.connect() as client:
        bodies = visit.head("/echo", "content-length: 3", method="POST") + b"abc"
        client.send(visit.head("/echo?a=1") + bodies + visit.head("/plain"))
        return [client.answer() for _ in range(3)]


@EXCHANGES.add
def pipelined_behind_head(visit: Visit) -> Any:
    with visit.connect() as client:
        client.send(visit.head("/plain", method="HEAD") + visit.head("/status/204"))
        return [client.answer("HEAD"), client.answer()]


@EXCHANGES.add
def connection_close(visit: Visit) -> Any:
    return visit.ask("/plain", "connection: close")


@EXCHANGES.add
def connection_close_pipelined(visit: Visit) -> Any:
    """RFC 9112 9.6: what comes behind a request with close is ignored."""
    return visit.send(visit.head("/plain", "connection: close") + visit.head("/plain"))


@EXCHANGES.add
def http_1_0(visit: Visit) -> Any:
    return visit.ask("/plain", version="1.0")


@EXCHANGES.add
def http_1_0_keep_alive(visit: Visit) -> Any:
    return visit.ask("/plain", "connection: keep-alive", version="1.0")


@EXCHANGES.add
def http_1_0_stream(visit: Visit) -> Any:
    return visit.ask("/stream", version="1.0")


@EXCHANGES.add
def http_1_0_post(visit: Visit) -> Any:
    return visit.ask("/echo", method="POST", body=b"old", version="1.0")


@EXCHANGES.add
def upgrade_that_is_not_known(visit: Visit) -> Any:
    return visit.ask("/plain", "connection: upgrade", "upgrade: h2c")


@EXCHANGES.add
def upgrade_that_is_not_known_with_body(visit: Visit) -> Any:
    fields = ("connection: upgrade", "upgrade: h2c")
    return visit.ask("/echo", *fields, method="POST", body=b"with a body")
