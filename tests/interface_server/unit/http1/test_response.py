"""Heads, framing and cuts of responses."""

from typing import Any

import pytest

from gateway_interface.core.http1.response import (
    CONTINUE,
    Cut,
    DateCache,
    ResponseWriter,
    early_hints,
    simple_response,
)

DATE = b"Tue, 15 Nov 1994 08:12:31 GMT"
Headers = list[tuple[bytes, bytes]]
LENGTH_5 = [(b"content-length", b"5")]


def writer(
    headers: Headers | None = None,
    *,
    status: int = 200,
    method: str = "GET",
    version: str = "1.1",
    keep_alive: bool = True,
) -> ResponseWriter:
    response = ResponseWriter(method, version, keep_alive)
    assert response.start(status, headers or [], DATE)
    return response


def fields_of(head: bytes) -> list[bytes]:
    """The field lines of a head, Date left out."""
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [line for line in lines if not line.startswith(b"date:")]


# Heads


def test_a_whole_response_leaves_in_one_write() -> None:
    response = writer([(b"Content-Type", b"text/plain"), *LENGTH_5])
    assert response.body(b"hello", more=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n"
        b"date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\nhello"
    )
    assert response.complete
    assert response.keep_alive


def test_the_head_waits_for_the_body() -> None:
    response = writer(LENGTH_5)
    assert (response.started, response.head_sent) == (True, False)
    response.body(b"h", more=True)
    assert response.head_sent


def test_the_head_can_go_alone_once() -> None:
    response = writer(LENGTH_5)
    assert response.flush_head().endswith(b"\r\n\r\n")
    assert response.flush_head() == b""
    assert response.body(b"hello", more=False) == b"hello"


def test_the_date_of_the_application_is_the_only_one() -> None:  # RFC 9110 6.6.1
    head = writer([(b"Date", b"today")]).flush_head()
    assert head.count(b"date:") == 1
    assert b"date: today\r\n" in head


def test_repeated_headers_are_sent_as_given() -> None:
    head = writer([(b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"x", b"\xff\t ")]).flush_head()
    assert fields_of(head)[:3] == [b"set-cookie: a", b"set-cookie: b", b"x: \xff\t "]


@pytest.mark.parametrize(
    ("status", "line"),
    [(404, b"HTTP/1.1 404 Not Found"), (299, b"HTTP/1.1 299 "), (999, b"HTTP/1.1 999 ")],
)
def test_status_lines(status: int, line: bytes) -> None:  # RFC 9112 4
    assert writer(status=status).flush_head().partition(b"\r\n")[0] == line


@pytest.mark.parametrize("status", [99, 1000, -1, True, "200", None, [], 222.5])
def test_what_is_no_status_is_not_taken(status: Any) -> None:
    response = ResponseWriter("GET", "1.1", True)
    assert not response.start(status, [], DATE)
    assert not response.started


@pytest.mark.parametrize(
    "field",
    [(b"a", b"b\r\nc: d"), (b"a", b"b\nc"), (b"a", b"b\rc"), (b"a", b"\0"), (b"a", b"\x7f"),
     (b"a", b"\x0b"), (b"a\r\nb", b"c"), (b"a b", b"c"), (b"a:", b"b"), (b"", b"b"),
     (b"\xe9", b"b"), (b"a\t", b"b"), (b"date", b"x\r\ny: z"), (b"connection", b"x\r\ny: z"),
     (b"content-length", b"5\r\ny: z")],
)  # fmt: skip
def test_response_splitting_is_not_taken(field: tuple[bytes, bytes]) -> None:  # RFC 9110 5.5
    response = ResponseWriter("GET", "1.1", True)
    assert not response.start(200, [(b"x", b"y"), field], DATE)
    assert not response.started
    assert response.flush_head() == b""


@pytest.mark.parametrize(
    "headers",
    [[("a", "b")], [(b"a", "b")], [(b"a", None)], [(b"a", 1)], [b"ab", b"c"], [(b"a",)], [None],
     None, [(b"connection", 1)], [(b"date", "x")], [(b"content-length", 5)],
     [(bytearray(b"a"), b"b")]],
)  # fmt: skip
def test_what_are_no_headers_is_not_taken(headers: Any) -> None:
    assert not ResponseWriter("GET", "1.1", True).start(200, headers, DATE)


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1 ", b"0x1", b"1,1", b"x", b"9" * 20])
def test_malformed_lengths_are_not_taken(value: bytes) -> None:  # RFC 9110 8.6
    assert not ResponseWriter("GET", "1.1", True).start(200, [(b"content-length", value)], DATE)


def test_several_lengths_are_not_taken() -> None:  # RFC 9110 8.6
    response = ResponseWriter("GET", "1.1", True)
    assert not response.start(200, [*LENGTH_5, (b"Content-Length", b"5")], DATE)


def test_a_second_start_is_not_taken() -> None:
    response = writer(LENGTH_5)
    assert not response.start(500, [], DATE)
    assert response.body(b"hello", more=False).startswith(b"HTTP/1.1 200 ")


def test_a_body_before_the_start_is_dropped() -> None:
    assert ResponseWriter("GET", "1.1", True).body(b"x", more=True) == b""


# Framing: RFC 9112 6 and 7


def test_without_length_the_response_is_chunked() -> None:
    response = writer()
    first = response.body(b"hello", more=True)
    assert fields_of(first) == [b"transfer-encoding: chunked"]
    assert first.endswith(b"\r\n\r\n5\r\nhello\r\n")
    assert response.body(b"", more=True) == b""
    assert response.body(b"x" * 16, more=False) == b"10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    assert response.complete


def test_a_chunked_response_can_end_with_an_empty_event() -> None:
    response = writer()
    response.body(b"hello", more=True)
    assert not response.complete
    assert response.body(b"", more=False) == b"0\r\n\r\n"


def test_the_coding_is_ours() -> None:  # RFC 9112 6.1
    headers = [(b"Transfer-Encoding", b"gzip, chunked"), *LENGTH_5]
    assert fields_of(writer(headers).flush_head()) == [b"content-length: 5"]


def test_http_1_0_is_never_chunked() -> None:  # RFC 9112 6.1
    response = writer(version="1.0")
    assert fields_of(response.body(b"a", more=True)) == [b"connection: close"]
    assert response.body(b"b", more=False) == b"b"
    assert (response.complete, response.keep_alive) == (True, False)


def test_more_than_the_length_is_not_sent() -> None:  # RFC 9112 6.3, 6
    response = writer(LENGTH_5)
    assert response.body(b"hello, world", more=True).endswith(b"\r\n\r\nhello")
    assert (response.overflow, response.keep_alive, response.complete) == (True, False, True)


def test_more_after_the_length_is_not_sent() -> None:
    response = writer(LENGTH_5)
    response.body(b"hello", more=True)
    assert response.keep_alive
    assert response.body(b"x", more=False) == b""
    assert (response.overflow, response.keep_alive) == (True, False)


def test_a_length_of_zero_is_complete_with_the_head() -> None:
    response = writer([(b"content-length", b"0")])
    before = response.complete
    response.flush_head()
    assert (before, response.complete) == (False, True)
    assert response.body(b"", more=False) == b""
    assert not response.overflow


# Responses without body: RFC 9112 6.3, 1


@pytest.mark.parametrize(
    ("headers", "field"),
    [([], b"transfer-encoding: chunked"), (LENGTH_5, b"content-length: 5")],
)
def test_head_gets_the_headers_of_get(headers: Headers, field: bytes) -> None:  # RFC 9110 9.3.2
    response = writer(headers, method="HEAD")
    data = response.body(b"hello", more=True)
    assert data.endswith(b"\r\n\r\n")
    assert fields_of(data) == [field]
    assert response.body(b"hello", more=False) == b""
    assert (response.complete, response.overflow, response.keep_alive) == (True, False, True)


@pytest.mark.parametrize(
    ("status", "fields"), [(204, []), (103, [b"connection: close"]), (304, [b"content-length: 5"])]
)
def test_statuses_without_body(status: int, fields: list[bytes]) -> None:  # RFC 9110 8.6, 15.4.5
    response = writer(LENGTH_5, status=status)
    data = response.body(b"hello", more=False)
    assert data.endswith(b"\r\n\r\n")
    assert fields_of(data) == fields
    assert response.complete


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body_have_no_coding(status: int) -> None:  # RFC 9112 6.1
    assert fields_of(writer(status=status).flush_head()) == []


# Connection: RFC 9112 9


@pytest.mark.parametrize(
    ("version", "keep_alive", "headers", "kept", "connection"),
    [
        ("1.1", True, [], True, []),
        ("1.1", False, [], False, [b"connection: close"]),
        ("1.1", True, [(b"connection", b"Close")], False, [b"connection: close"]),
        ("1.1", False, [(b"Connection", b"close")] * 2, False, [b"connection: close"]),
        ("1.1", True, [(b"connection", b"keep-alive"), (b"keep-alive", b"5")], True, []),
        ("1.1", True, [(b"connection", b"upgrade")], True, [b"connection: upgrade"]),
        ("1.1", True, [(b"proxy-connection", b"close")], True, []),
        ("1.0", True, [], True, [b"connection: keep-alive"]),
        ("1.0", False, [], False, [b"connection: close"]),
        ("1.0", False, [(b"connection", b"keep-alive")], False, [b"connection: close"]),
    ],
)
def test_connection(
    version: str, keep_alive: bool, headers: Headers, kept: bool, connection: list[bytes]
) -> None:
    response = writer([*LENGTH_5, *headers], version=version, keep_alive=keep_alive)
    assert fields_of(response.flush_head()) == [b"content-length: 5", *connection]
    assert response.keep_alive is kept


def test_http_1_0_keeps_alive_without_body_too() -> None:
    response = writer(status=304, version="1.0")
    assert fields_of(response.flush_head()) == [b"connection: keep-alive"]


# Cuts: an incomplete response must look incomplete


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_nothing_sent_is_closed(version: str) -> None:
    assert writer(version=version).cut() is Cut.CLOSE
    assert ResponseWriter("GET", version, True).cut() is Cut.CLOSE


def test_a_chunked_response_is_closed() -> None:
    response = writer()
    response.body(b"a", more=True)
    assert response.cut() is Cut.CLOSE
    assert not response.keep_alive


def test_a_short_response_is_closed() -> None:
    response = writer(LENGTH_5)
    response.body(b"hell", more=False)
    assert (response.complete, response.keep_alive) == (False, False)
    assert response.cut() is Cut.CLOSE


def test_a_response_that_ends_with_the_connection_is_reset() -> None:
    response = writer(version="1.0")
    response.body(b"a", more=True)
    assert response.cut() is Cut.RESET


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_complete_response_needs_no_cut(version: str, method: str) -> None:
    response = writer(version=version, method=method)
    response.body(b"a", more=False)
    assert response.cut() is Cut.NONE


def test_a_satisfied_length_needs_no_cut() -> None:
    response = writer(LENGTH_5)
    response.body(b"hello", more=True)
    assert response.cut() is Cut.NONE
    assert response.keep_alive


# Our own responses


def test_a_simple_response() -> None:
    assert simple_response(503, "büsy", date=DATE, headers=[(b"retry-after", b"1")]) == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"retry-after: 1\r\ncontent-length: 5\r\nconnection: close\r\n"
        b"date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\nb\xc3\xbcsy"
    )


def test_a_simple_response_to_head_keeps_the_length() -> None:
    data = simple_response(404, "gone", date=DATE, head_only=True, keep_alive=True)
    assert data.endswith(b"\r\n\r\n")
    assert b"content-length: 4\r\n" in data
    assert b"connection" not in data


def test_continue() -> None:
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("now", "value"),
    [
        (784_887_151.9, b"Tue, 15 Nov 1994 08:12:31 GMT"),  # RFC 9110 5.6.7's form
        (0.0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (1_709_164_800.0, b"Thu, 29 Feb 2024 00:00:00 GMT"),
    ],
)
def test_dates(now: float, value: bytes) -> None:
    assert DateCache().value(now) == value


def test_a_date_is_formatted_once_a_second() -> None:
    cache = DateCache()
    assert cache.value(10.1) is cache.value(10.9)
    assert cache.value(11.0) == b"Thu, 01 Jan 1970 00:00:11 GMT"


# Trailers (RFC 9112 7.1.2) and early hints (RFC 8297)


def trailing(
    headers: Headers | None = None, *, method: str = "GET", status: int = 200, version: str = "1.1"
) -> ResponseWriter:
    response = ResponseWriter(method, version, True)
    assert response.start(status, headers or [], DATE, trailers=True)
    return response


def test_trailers_come_after_the_last_chunk() -> None:
    response = trailing([(b"trailer", b"x-sum")])
    response.body(b"abc", more=True)
    assert response.trailers([(b"x-sum", b"1")], more=True) == b"0\r\nx-sum: 1\r\n"
    assert response.cut() is Cut.CLOSE
    assert response.trailers([(b"y", b"2"), (b"y", b"3")], more=False) == b"y: 2\r\ny: 3\r\n\r\n"
    assert response.complete


def test_trailers_alone_end_an_empty_body() -> None:
    response = trailing()
    sent = response.trailers([], more=False)
    assert sent.endswith(b"\r\n\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in sent
    assert (response.complete, response.keep_alive) == (True, True)


def test_trailers_replace_a_content_length_by_chunks() -> None:
    response = trailing(LENGTH_5)
    assert fields_of(response.flush_head()) == [b"transfer-encoding: chunked"]
    assert response.body(b"hello", more=True) == b"5\r\nhello\r\n"
    assert not response.complete


def test_a_client_that_takes_no_trailers_gets_the_same_body() -> None:
    response = writer()
    head = response.body(b"abc", more=True)
    assert head.endswith(b"3\r\nabc\r\n")
    assert response.trailers([(b"x", b"1")], more=True) == b""
    assert response.trailers([(b"y", b"1")], more=False) == b"0\r\n\r\n"
    assert response.complete


def test_a_length_that_is_reached_needs_no_trailers() -> None:
    response = writer(LENGTH_5)
    response.body(b"hello", more=True)
    assert response.trailers([(b"x", b"1")], more=False) == b""
    assert response.complete


def test_a_length_that_is_not_reached_is_cut_in_spite_of_trailers() -> None:
    response = writer(LENGTH_5)
    response.body(b"hell", more=True)
    assert response.trailers([], more=False) == b""
    assert response.cut() is Cut.CLOSE


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_body_has_no_trailers(method: str, status: int) -> None:
    response = trailing(LENGTH_5, method=method, status=status)
    head = response.body(b"", more=True)
    assert head.endswith(b"\r\n\r\n")
    assert (b"content-length: 5" in head) is (status != 204)
    assert response.trailers([(b"x", b"1")], more=False) == b""
    assert response.complete


def test_http_1_0_gets_no_trailers() -> None:
    response = trailing(version="1.0")
    response.body(b"abc", more=True)
    assert response.trailers([(b"x", b"1")], more=False) == b""
    assert response.complete


@pytest.mark.parametrize(
    "field", [(b"a", b"b\r\nc: d"), (b"a", b"\0"), (b"a b", b"c"), (b"", b"c"), (b"a\n", b"c")]
)
def test_malformed_trailers_are_refused(field: tuple[bytes, bytes]) -> None:
    response = trailing()
    response.body(b"abc", more=True)
    with pytest.raises(ValueError, match="field"):
        response.trailers([(b"x", b"y"), field], more=False)
    assert not response.complete


def test_early_hints_are_an_interim_response() -> None:
    assert early_hints([b"</a>; rel=preload", b"</b>"]) == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>\r\n\r\n"
    )


def test_without_links_there_are_no_hints() -> None:
    assert early_hints([]) == b""


def test_malformed_links_are_refused() -> None:
    with pytest.raises(ValueError, match="control character"):
        early_hints([b"</a>\r\nset-cookie: b"])
