"""ASGI's extensions of HTTP responses, on the wire to the client."""

from collections.abc import Iterator

import httpx
import pytest
from tests.end_to_end.apps import pattern
from tests.end_to_end.processes import Gateway, Launcher, request

from gateway_layer.embedded import EmbeddedServer

TE = ("te: trailers", "connection: te")


@pytest.fixture(scope="module")
def gateway(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    redis_server.start()
    launcher = Launcher(tmp_path_factory.mktemp("gateway"), redis_server.url)
    try:
        worker = launcher.worker(app="extension_apps:both", ready=False)
        yield Gateway(launcher, launcher.interface(), worker)
    finally:
        launcher.close()


@pytest.mark.parametrize(
    ("version", "fields", "extensions"),
    [
        ("1.1", (), "gateway http.response.early_hint http.response.pathsend"),
        (
            "1.1",
            TE,
            "gateway http.response.early_hint http.response.pathsend http.response.trailers",
        ),
        ("1.0", TE, "gateway http.response.pathsend"),
    ],
)
def test_the_scope_names_what_works_for_this_client(
    gateway: Gateway, version: str, fields: tuple[str, ...], extensions: str
) -> None:
    with gateway.connect() as client:
        client.send(request("/extensions", *fields, version=version))
        assert client.answer().body.decode() == extensions


def test_trailers_follow_the_last_chunk(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/trailers", *TE))
        assert b"content-length" not in client.until(b"\r\n\r\n")
        content = b""
        while (size := int(client.until(b"\r\n"), 16)) > 0:
            content += client.exactly(size + 2)[:-2]
        assert content == b"some content"
        assert client.until(b"\r\n\r\n") == b"x-sum: 12\r\nx-more: yes\r\n\r\n"
        client.send(request("/extensions"))
        assert client.answer().status == 200


def test_a_client_that_did_not_ask_for_trailers_gets_none(gateway: Gateway) -> None:
    answer = gateway.request("/trailers")
    assert (answer.whole, answer.body) == (True, b"some content")
    assert answer.headers["content-length"] == "12"


def test_trailers_that_never_come_cut_the_response(gateway: Gateway) -> None:
    for fields in ((), TE):
        answer = gateway.request("/no-trailers", *fields)
        assert (answer.whole, answer.body) == (False, b"content")


def test_early_hints_are_an_interim_response(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/hints"))
        interim = client.until(b"\r\n\r\n")
        assert interim == (
            b"HTTP/1.1 103 Early Hints\r\n"
            b"link: </style.css>; rel=preload; as=style\r\n"
            b"link: </app.js>; rel=preload\r\n\r\n"
        )
        assert client.answer().body == b"page"


def test_a_client_of_http_1_0_gets_no_interim_response(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/hints", version="1.0"))
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"page")


@pytest.mark.parametrize("size", [0, 10, 2**18, 2**18 + 1, 3 * 2**20])
def test_a_path_is_sent_as_the_body(gateway: Gateway, size: int) -> None:
    (gateway.launcher.folder / "file").write_bytes(pattern(size))
    assert httpx.get(f"{gateway.url}/path?file", timeout=30).content == pattern(size)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file"), ("", "not a regular file")]
)
def test_a_path_that_cannot_be_sent_is_told_to_the_application(
    gateway: Gateway, name: str, reason: str
) -> None:
    assert reason in gateway.request(f"/path?{name}").body.decode()


def test_starlettes_files_go_by_their_path(gateway: Gateway) -> None:
    (gateway.launcher.folder / "page.txt").write_bytes(pattern(300_000))
    response = httpx.get(f"{gateway.url}/file/page.txt", timeout=30)
    assert response.content == pattern(300_000)
    assert response.headers["content-length"] == "300000"
    assert httpx.head(f"{gateway.url}/file/page.txt").headers["content-length"] == "300000"
    part = httpx.get(f"{gateway.url}/file/page.txt", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, pattern(300_000)[10:20])


def test_a_file_that_has_grown_is_sent_up_to_its_content_length(gateway: Gateway) -> None:
    (gateway.launcher.folder / "log").write_bytes(b"first\nsecond\n")
    with gateway.connect() as client:
        client.send(request("/part?log"))
        assert client.answer().body == b"first\n"


def test_a_file_that_has_shrunk_cuts_the_response(gateway: Gateway) -> None:
    (gateway.launcher.folder / "short").write_bytes(b"abc")
    answer = gateway.request("/part?short")
    assert not answer.whole
