"""WSGI applications through real processes."""

import ast
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from tests.end_to_end.apps import pattern
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.processes import Gateway, Launcher, request, wait_until

from gateway_layer.embedded import EmbeddedServer

MIB = 2**20


@pytest.fixture(scope="module")
def gateway(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    redis_server.start()
    launcher = Launcher(tmp_path_factory.mktemp("gateway"), redis_server.url)
    try:
        worker = launcher.worker("--threads", "3", app="wsgi_apps:every_wsgi", ready=False)
        yield Gateway(launcher, launcher.interface(), worker)
    finally:
        launcher.close()


def test_a_request_is_answered(gateway: Gateway) -> None:
    with gateway.connect() as client:
        for _ in range(3):
            client.send(request("/hello"))
            answer = client.answer()
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer.headers["content-length"] == "5"


def test_head_has_the_headers_and_no_body(gateway: Gateway) -> None:
    answer = gateway.request("/hello", method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "5")


def test_the_environ_names_the_request(gateway: Gateway) -> None:
    answer = gateway.request("/a%20b/%C3%A9%FF?q=%20", "x: 1", "x: 2")
    assert ast.literal_eval(answer.body.decode()) == [
        "", "/a b/Ã©ÿ", "q=%20", "127.0.0.1", "1,2",
    ]  # fmt: skip


def test_clients_that_send_no_body_keep_nobody_out(gateway: Gateway) -> None:
    with ExitStack() as clients:
        for _ in range(3 * 3):  # the worker has 3 threads, and takes twice as many requests
            silent = clients.enter_context(gateway.connect())
            silent.send(request("/hashed", "Content-Length: 1", method="POST"))
        assert gateway.request("/hello").status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_comes_unchanged(gateway: Gateway, chunked: bool) -> None:
    body = pattern(3 * MIB)
    content = iter([body[:100], body[100:]]) if chunked else body
    response = httpx.post(f"{gateway.url}/hashed", content=content, timeout=30)
    assert response.text == hashlib.sha256(body).hexdigest()


def test_a_large_response_arrives_whole(gateway: Gateway) -> None:
    assert len(httpx.get(f"{gateway.url}/zeros?{8 * MIB}", timeout=30).content) == 8 * MIB


def test_a_body_is_answered_while_it_comes(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/echo", "transfer-encoding: chunked", method="POST"))
        for line in (b"first\n", b"second\n"):
            client.send(b"%x\r\n%b\r\n" % (len(line), line))
            if line == b"first\n":
                client.until(b"\r\n\r\n")
            assert client.chunk() == line
        client.send(b"0\r\n\r\n")
        assert client.chunk() == b""


def test_the_first_read_sends_100_continue(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/echo", "content-length: 3", "expect: 100-continue", method="POST"))
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert client.answer().body == b"abc"


def test_a_file_goes_through_the_wrapper(gateway: Gateway) -> None:
    (gateway.launcher.folder / "content").write_bytes(pattern(300_000))
    assert gateway.request("/file").body == pattern(300_000)
    assert gateway.request("/flask/file").body == pattern(300_000)


def test_a_fault_is_a_500_with_its_traceback_in_the_log(gateway: Gateway) -> None:
    assert gateway.request("/fails").status == 500
    wait_until(lambda: "ZeroDivisionError" in gateway.worker.stderr)
    assert "in fails" in gateway.worker.stderr


def test_the_result_is_closed_when_the_client_leaves(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/endless"))
        client.until(b"\r\n\r\n")
    (line,) = gateway.launcher.wait_for_note("endless")
    assert line.startswith("closed in wsgi-")


def test_a_blocked_request_holds_up_no_other(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/blocked"))
        gateway.launcher.wait_for_note("blocked")
        assert gateway.request("/hello").body == b"hello"
        gateway.launcher.open_gate("blocked")
        assert client.answer().body == b"hello"


def test_a_websocket_is_refused(gateway: Gateway) -> None:
    fields = (
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert gateway.request("/hello", *fields).status == 403


def test_a_flask_site_runs_as_it_is(gateway: Gateway) -> None:
    url = f"{gateway.url}/flask"
    files, data = {"file": ("a.bin", pattern(MIB))}, {"text": "é"}
    uploaded = httpx.post(f"{url}/upload", files=files, data=data, timeout=30)
    assert uploaded.json() == {"name": "a.bin", "size": MIB, "text": "é"}
    assert httpx.get(f"{url}/stream").text.splitlines() == [str(number) for number in range(100)]
    chunked = httpx.post(f"{url}/raw", content=iter([b"abc", b"def"]))
    assert chunked.json() == {"size": 6}
    assert httpx.get(f"{url}/missing").status_code == 404


def test_a_django_site_runs_as_it_is(gateway: Gateway) -> None:
    answered = httpx.post(f"{gateway.url}/django/é", content=b"abc").text
    assert answered.rpartition(" ")[0] == "POST é 3"
    assert answered.rpartition(" ")[2].startswith("wsgi-")
    lines = httpx.get(f"{gateway.url}/django/stream").text.splitlines()
    assert lines == [str(number) for number in range(100)]


def test_djangos_own_asgi_application_runs_as_it_is(start: StartGateway) -> None:
    gateway = start(app="wsgi_apps:django_asgi")
    answered = httpx.post(f"{gateway.url}/django/é", content=b"abc").text
    assert answered.startswith("POST é 3 ThreadPoolExecutor-")


def test_an_application_that_cannot_be_told_ends_the_start_with_one_line(
    launch: Launcher,
) -> None:
    worker = launch.worker("--interface", "auto", app="builtins:max", ready=False)
    assert worker.process.wait(30) == 2
    (line,) = worker.stderr.splitlines()
    assert "say --interface asgi3, asgi2 or wsgi" in line
