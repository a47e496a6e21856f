"""HTTP through real processes: what applications and ordinary clients see."""

import ast
import hashlib
from typing import Any

import httpx
import pytest
from tests.end_to_end.apps import pattern
from tests.end_to_end.processes import Gateway, RawClient, request, wait_until

MIB = 2**20


def scope_of(answer_body: bytes) -> dict[str, Any]:
    scope: dict[str, Any] = ast.literal_eval(answer_body.decode())
    return scope


def test_get_is_answered(gateway: Gateway) -> None:
    response = httpx.get(f"{gateway.url}/hello?world")
    assert (response.status_code, response.text) == (200, "hello world")
    assert response.headers["date"].endswith("GMT")


def test_post_reaches_the_application_with_its_body(gateway: Gateway) -> None:
    assert httpx.post(f"{gateway.url}/echo", content=b"to and fro").content == b"to and fro"


def test_chunked_body_reaches_the_application(gateway: Gateway) -> None:
    parts = (b"one ", b"two ", b"three")
    response = httpx.post(f"{gateway.url}/echo", content=iter(parts))
    assert response.content == b"one two three"


def test_head_has_the_headers_and_no_body(gateway: Gateway) -> None:
    answer = gateway.request("/hello?x", method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "7")


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body_ends_with_its_head(gateway: Gateway, status: int) -> None:
    with gateway.connect() as client:
        client.send(request(f"/status?{status}") + request("/hello?next"))
        answer = client.answer()
        assert (answer.status, "transfer-encoding" in answer.headers) == (status, False)
        assert client.answer().body == b"hello next"


def test_large_body_comes_to_the_application_unchanged(gateway: Gateway) -> None:
    body = pattern(3 * MIB)
    response = httpx.post(f"{gateway.url}/hash", content=body, timeout=30)
    assert response.text == hashlib.sha256(body).hexdigest()


def test_large_response_comes_to_the_client_unchanged(gateway: Gateway) -> None:
    response = httpx.get(f"{gateway.url}/big?{3 * MIB}", timeout=30)
    assert response.content == pattern(3 * MIB)


def test_streamed_response_arrives_piece_by_piece(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/pieces?pieces"))
        client.until(b"\r\n\r\n")
        assert client.chunk() == b"one"
        gateway.launcher.open_gate("pieces")
        assert (client.chunk(), client.chunk()) == (b"two", b"")


def test_body_arrives_piece_by_piece(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/echo", "transfer-encoding: chunked", method="POST"))
        client.until(b"\r\n\r\n")
        for piece in (b"first", b"second"):
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert client.chunk() == piece
        client.send(b"0\r\n\r\n")
        assert client.chunk() == b""


def test_scope_is_what_asgi_says(gateway: Gateway) -> None:
    with gateway.connect() as client:
        raw = request("/a%20b/%C3%A9?q=%20", "X-Twice: 1", "x-twice: 2", method="PUT")
        client.send(raw)
        scope = scope_of(client.answer().body)
        host, port = client.sock.getsockname()[:2]
    extensions = scope.pop("extensions")
    assert extensions.keys() == {"gateway", "http.response.early_hint", "http.response.pathsend"}
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"q=%20",
        "root_path": "",
        "headers": [(b"host", b"here"), (b"x-twice", b"1"), (b"x-twice", b"2")],
        "client": (host, port),
        "server": gateway.interface.address,
        "state": scope["state"],
    }


def test_state_is_a_shallow_copy_for_each_request(gateway: Gateway) -> None:
    first, second = (gateway.request("/state").body.decode().split() for _ in range(2))
    assert int(second[0]) == int(first[0]) + 1
    assert (first[1], second[1]) == ("lifespan", "lifespan")


def test_client_that_leaves_is_a_disconnect_in_the_application(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/leave?left"))
        gateway.launcher.wait_for_note("left")
    notes = gateway.launcher.wait_for_note("left", 4)
    assert notes[:3] == ["http.request", "http.disconnect", "http.disconnect"]


def test_sending_after_the_client_left_raises_an_oserror(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/leave?sent"))
        gateway.launcher.wait_for_note("sent")
    assert gateway.launcher.wait_for_note("sent", 4)[3] == "ClientDisconnected"


def test_application_hears_a_disconnect_after_its_complete_answer(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/after-answer?complete"))
        assert client.answer().body == b"answered"
        assert gateway.launcher.wait_for_note("complete") == ["http.disconnect"]


def test_exception_before_the_answer_is_500(gateway: Gateway) -> None:
    assert gateway.request("/raise-before").status == 500


def test_exception_is_a_traceback_in_the_log_of_the_worker(gateway: Gateway) -> None:
    gateway.request("/raise-before")
    gateway.worker.wait_for("ValueError: raised before the answer")
    assert "application failed http '/raise-before'" in gateway.worker.stderr


def test_exception_within_the_answer_is_a_visible_cut(gateway: Gateway) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{gateway.url}/raise-after")


def test_return_without_an_answer_is_500(gateway: Gateway) -> None:
    assert gateway.request("/return").status == 500
    gateway.worker.wait_for("application returned without an answer http '/return'")


def test_wrong_order_of_messages_is_an_error_in_the_application(gateway: Gateway) -> None:
    assert gateway.request("/wrong-order?order").body == b"in order"
    (error,) = gateway.launcher.notes("order")
    assert "'http.response.body'" in error
    assert "expected 'http.response.start'" in error


def test_header_that_is_no_bytes_is_named_in_the_application(gateway: Gateway) -> None:
    assert b'event["headers"][1][1]' in gateway.request("/bad-header").body


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_both_parsers_serve(gateway: Gateway, parser: str) -> None:
    interface = gateway.launcher.interface("--http", parser)
    response = httpx.post(f"{interface.urls[0]}/echo", content=iter([b"by ", parser.encode()]))
    assert response.text == f"by {parser}"


def test_several_addresses_are_served(gateway: Gateway) -> None:
    path = gateway.launcher.folder / "gw.sock"
    interface = gateway.launcher.interface("--bind", f"unix:{path}")
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://here") as client:
        scope = scope_of(client.get("/").content)
    assert scope["server"] == (str(path), None)
    assert scope["client"] is None
    assert httpx.get(f"{interface.urls[0]}/hello?tcp").text == "hello tcp"


def test_access_lines_name_the_requests(gateway: Gateway) -> None:
    gateway.request("/hello?logged")
    line = '"GET /hello?logged HTTP/1.1" 200'
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        address = client.sock.getsockname()[1]
        client.answer()
    wait_for_stdout(gateway, line)
    wait_for_stdout(gateway, f'127.0.0.1:{address} "GET / HTTP/1.1" 200')


def wait_for_stdout(gateway: Gateway, text: str) -> None:
    wait_until(lambda: text in gateway.interface.stdout, text)


def test_application_of_asgi_2_is_served(gateway: Gateway) -> None:
    gateway.launcher.worker("--queue", "two", app="apps:Site2")
    interface = gateway.launcher.interface("--route", "/=two")
    response = httpx.post(f"{interface.urls[0]}/echo", content=b"twice called")
    assert response.content == b"twice called"


def test_connections_are_spread_over_the_processes_of_both(gateway: Gateway) -> None:
    gateway.launcher.worker("--queue", "pair", "--processes", "2")
    interface = gateway.launcher.interface("--route", "/=pair", "--processes", "2")
    assert len(interface.children) == 2
    seen = set()
    for _ in range(200):
        seen.add(httpx.get(f"{interface.urls[0]}/pid").text)
        if len(seen) == 2:
            break
    assert len(seen) == 2


def test_raw_clients_share_nothing(gateway: Gateway) -> None:
    """Many clients at once each get their own answer."""
    clients: list[RawClient] = [gateway.connect() for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(request(f"/hello?{number}"))
    for number, client in enumerate(clients):
        with client:
            assert client.answer().body == f"hello {number}".encode()
