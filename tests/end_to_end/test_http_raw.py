"""HTTP/1.1 byte by byte: framing, connections, refusals."""

import pytest
from tests.end_to_end.processes import Gateway, request


def test_connection_is_kept_for_the_next_request(gateway: Gateway) -> None:
    with gateway.connect() as client:
        for number in range(3):
            client.send(request(f"/hello?{number}"))
            assert client.answer().body == f"hello {number}".encode()


def test_connection_is_closed_when_the_client_asks_for_it(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/hello", "connection: close"))
        assert client.answer().headers["connection"] == "close"
        assert client.rest() == b""


def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/slow?pipeline") + request("/hello?2") + request("/hello?3"))
        gateway.launcher.wait_for_note("pipeline")
        gateway.launcher.open_gate("pipeline")
        bodies = [client.answer().body for _ in range(3)]
        assert bodies == [b"done", b"hello 2", b"hello 3"]


def test_bodies_between_pipelined_requests_are_not_mixed_up(gateway: Gateway) -> None:
    first = request("/echo", "content-length: 5", method="POST") + b"first"
    second = request("/echo", "transfer-encoding: chunked", method="POST")
    with gateway.connect() as client:
        client.send(first + second + b"6\r\nsecond\r\n0\r\n\r\n" + request("/hello?third"))
        assert [client.answer().body for _ in range(3)] == [b"first", b"second", b"hello third"]


def test_http_1_0_gets_a_response_that_ends_with_the_connection(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/echo", "content-length: 3", method="POST", version="1.0") + b"old")
        answer = client.answer()
        assert "transfer-encoding" not in answer.headers
        assert answer.body == b"old"


def test_http_1_0_may_ask_to_keep_the_connection(gateway: Gateway) -> None:
    with gateway.connect() as client:
        for number in range(2):
            client.send(request(f"/hello?{number}", "connection: keep-alive", version="1.0"))
            answer = client.answer()
            assert answer.headers["connection"] == "keep-alive"
            assert answer.body == f"hello {number}".encode()


def test_continue_comes_when_the_application_asks_for_the_body(gateway: Gateway) -> None:
    fields = ("content-length: 4", "expect: 100-continue")
    with gateway.connect() as client:
        client.send(request("/late-reader?expect", *fields, method="POST"))
        gateway.launcher.wait_for_note("expect")
        client.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.sock.recv(1)
        client.sock.settimeout(30)
        gateway.launcher.open_gate("expect")
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert client.answer().status == 200


def test_no_continue_where_the_application_answers_without_the_body(gateway: Gateway) -> None:
    fields = ("content-length: 4", "expect: 100-continue")
    with gateway.connect() as client:
        client.send(request("/hello?expect", *fields, method="POST"))
        assert client.answer().body == b"hello expect"
        assert client.rest() == b""


def test_trailers_are_read_and_dropped(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/echo", "transfer-encoding: chunked", method="POST"))
        client.send(b"4\r\nbody\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n" + request("/hello?next"))
        assert client.answer().body == b"body"
        assert client.answer().body == b"hello next"


def test_early_answer_reaches_a_client_that_is_still_sending(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/hello?early", f"content-length: {10**6}", method="POST"))
        client.send(b"x" * 200_000)
        answer = client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"hello early", "close")
        assert client.rest() == b""


def test_malformed_request_is_400_and_a_close(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nhost: here\r\nbroken line\r\n\r\n")
        assert client.answer().status == 400
        assert client.rest() == b""


def test_malformed_request_harms_no_other_connection(gateway: Gateway) -> None:
    with gateway.connect() as good, gateway.connect() as bad:
        good.send(request("/slow?unharmed"))
        gateway.launcher.wait_for_note("unharmed")
        bad.send(b"\x16\x03\x01 not HTTP at all\r\n\r\n")
        assert bad.answer().status == 400
        gateway.launcher.open_gate("unharmed")
        assert good.answer().body == b"done"


def test_malformed_chunk_is_400(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/hash", "transfer-encoding: chunked", method="POST") + b"xyz\r\n")
        assert client.answer().status == 400


def test_both_lengths_are_400(gateway: Gateway) -> None:
    fields = ("content-length: 4", "transfer-encoding: chunked")
    assert gateway.request("/hash", *fields, method="POST").status == 400


def test_request_without_host_is_400(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.answer().status == 400


@pytest.mark.parametrize("fields", [["x-long: " + "x" * 70_000], ["x: y"] * 200])
def test_head_over_the_limits_is_431(gateway: Gateway, fields: list[str]) -> None:
    with gateway.connect() as client:
        client.send(request("/hello", *fields))
        assert client.answer().status == 431


def test_unknown_version_is_505(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/hello", version="3.0"))
        assert client.answer().status == 505
