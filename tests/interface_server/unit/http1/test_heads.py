"""What is read of a head, and what is refused; the same for both parsers."""

from collections.abc import Callable
from typing import Literal

import pytest

from gateway_interface.core.http1.parsers import HeadParser, head_parser
from gateway_interface.core.http1.request import (
    CHUNKED,
    CLOSED,
    Event,
    Refusal,
    RequestHead,
    RequestReader,
)

Read = Callable[[bytes], Event]
HOST = b"Host: example.org\r\n"


@pytest.fixture(params=["h11", "httptools"])
def parse(request: pytest.FixtureRequest) -> HeadParser:
    kind: Literal["h11", "httptools"] = request.param
    return head_parser(kind)


@pytest.fixture
def read(parse: HeadParser) -> Read:
    def first_event(data: bytes) -> Event:
        reader = RequestReader(parse, max_head_bytes=1000, max_headers=8)
        reader.receive_data(data)
        return reader.next_event()

    return first_event


def accepted(event: Event) -> RequestHead:
    assert isinstance(event, RequestHead), event
    return event


def refused(event: Event) -> int:
    assert isinstance(event, Refusal), event
    return event.status


def get(fields: bytes = b"", *, line: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


# Request line: RFC 9112 3


def test_an_ordinary_request(read: Read) -> None:
    head = accepted(read(b"GET /a/b?c=d&e HTTP/1.1\r\nHost: example.org\r\nX-A:  b \t\r\n\r\n"))
    assert (head.method, head.path, head.raw_path) == ("GET", "/a/b", b"/a/b")
    assert (head.query_string, head.http_version) == (b"c=d&e", "1.1")
    assert head.headers == [(b"host", b"example.org"), (b"x-a", b"b")]
    assert (head.keep_alive, head.content_length) == (True, 0)
    assert (head.expect_continue, head.upgrade) == (False, False)


def test_repeated_headers_stay_apart_and_in_order(read: Read) -> None:
    head = accepted(read(get(b"Cookie: a\r\nX: 1\r\nCOOKIE: b\r\nEmpty:\r\n")))
    assert head.headers[1:] == [(b"cookie", b"a"), (b"x", b"1"), (b"cookie", b"b"), (b"empty", b"")]


def test_a_path_is_percent_decoded_as_utf_8(read: Read) -> None:
    head = accepted(read(get(line=b"GET /caf%C3%A9%2Fx?%C3%A9 HTTP/1.1")))
    assert (head.path, head.raw_path) == ("/café/x", b"/caf%C3%A9%2Fx")
    assert head.query_string == b"%C3%A9"


def test_octets_that_are_no_utf_8_become_replacement_characters(read: Read) -> None:
    assert accepted(read(get(line=b"GET /%ff%zz HTTP/1.1"))).path == "/\ufffd%zz"


def test_absolute_form_gives_path_and_replaces_host(read: Read) -> None:  # RFC 9112 3.2.2
    head = accepted(read(get(b"X: y\r\n", line=b"GET HTTP://other:81/p?q=? HTTP/1.1")))
    assert (head.path, head.raw_path, head.query_string) == ("/p", b"/p", b"q=?")
    assert head.headers == [(b"host", b"other:81"), (b"x", b"y")]


def test_absolute_form_without_path_is_the_root(read: Read) -> None:  # RFC 9110 4.2.3
    head = accepted(read(get(line=b"GET http://other?q HTTP/1.1")))
    assert (head.path, head.raw_path, head.query_string) == ("/", b"/", b"q")


def test_absolute_form_gives_http_1_0_a_host(read: Read) -> None:
    head = accepted(read(b"GET http://other/ HTTP/1.0\r\n\r\n"))
    assert head.headers == [(b"host", b"other")]


def test_asterisk_form(read: Read) -> None:  # RFC 9112 3.2.4
    head = accepted(read(get(line=b"OPTIONS * HTTP/1.1")))
    assert (head.path, head.raw_path, head.query_string) == ("*", b"*", b"")


@pytest.mark.parametrize(
    "target",
    [b"*", b"x", b"http:/x/", b"ftp://x/", b"http://", b"http:///x", b"http://u@x/", b"/#x",
     b"/\xe9", b"/\t", b"http://[::/", b"example.org:80"],
)  # fmt: skip
def test_malformed_targets_are_refused(read: Read, target: bytes) -> None:  # RFC 9112 3.2
    assert refused(read(get(line=b"GET " + target + b" HTTP/1.1"))) == 400


@pytest.mark.parametrize("target", [b"example.org:443", b"/x"])
def test_connect_is_not_implemented(read: Read, target: bytes) -> None:  # RFC 9110 9.3.6
    assert refused(read(get(line=b"CONNECT " + target + b" HTTP/1.1"))) == 501


@pytest.mark.parametrize("target", [b"/[x]|^{}\"'<>\\`", b"//x", b"/?", b"/?a?b", b"/;p=1"])
def test_targets_that_browsers_send_are_taken(read: Read, target: bytes) -> None:
    assert accepted(read(get(line=b"GET " + target + b" HTTP/1.1"))).raw_path


@pytest.mark.parametrize("method", [b"PROPFIND", b"get", b"X-!#$%&'*+.^_`|~9", b"PRI", b"SETUP"])
def test_any_token_is_a_method(read: Read, method: bytes) -> None:  # RFC 9110 9.1
    # ASGI www 2.5: "uppercased".
    assert accepted(read(get(line=method + b" / HTTP/1.1"))).method == method.decode().upper()


@pytest.mark.parametrize("method", [b"", b"G(T", b"GET:", b"G\xc9T", b"G\tT", b"\x16\x03\x01"])
def test_a_method_is_a_token(read: Read, method: bytes) -> None:  # RFC 9112 3.1
    assert refused(read(get(line=method + b" / HTTP/1.1"))) == 400


@pytest.mark.parametrize(
    "line",
    [b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ",
     b" GET / HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET / x HTTP/1.1", b"GET / http/1.1",
     b"GET / HTTP/11", b"GET / HTTP/1.1x", b"GET / HTTP/1.10", b"GET / HTTP/1,1",
     b"GET / HTTP/x.1", b"GET / "],
)  # fmt: skip
def test_malformed_request_lines_are_refused(read: Read, line: bytes) -> None:  # RFC 9112 3
    assert refused(read(get(line=line))) == 400


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/3.1"])
def test_other_versions_are_not_supported(read: Read, version: bytes) -> None:  # RFC 9110 15.6.6
    assert refused(read(get(line=b"GET / " + version))) == 505


def test_the_preface_of_http_2_is_answered_505(read: Read) -> None:  # RFC 9113 3.4
    assert refused(read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == 505


# Host: RFC 9112 3.2


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"GET http://x/ HTTP/1.1"])
def test_http_1_1_without_host_is_refused(read: Read, line: bytes) -> None:
    assert refused(read(get(line=line, host=b""))) == 400


def test_http_1_0_needs_no_host(read: Read) -> None:
    assert accepted(read(b"GET / HTTP/1.0\r\n\r\n")).headers == []


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("second", [b"Host: example.org\r\n", b"host: x\r\n", b"Host:\r\n"])
def test_two_hosts_are_refused(read: Read, version: bytes, second: bytes) -> None:
    assert refused(read(get(second, line=b"GET / HTTP/" + version))) == 400


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a/b", b"a:b", b"a:1:2", b":80", b"u@a", b"a:123456", b"a:65536", b"a?b",
     b"[::1", b"[::1]x", b"[::1]:x", b"[]", b"[1.2.3.4]", b"[fe80::1%25en0]", b"::1", b"a%2",
     b"a%zz", b"a\xe9", b"<a>", b"a" * 600],
)  # fmt: skip
def test_malformed_hosts_are_refused(read: Read, host: bytes) -> None:  # RFC 9110 7.2
    assert refused(read(get(host=b"Host: " + host + b"\r\n"))) == 400


@pytest.mark.parametrize(
    "host",
    [b"a", b"A-b_c.example:80", b"127.0.0.1:8000", b"[::1]", b"[2001:db8::1]:80", b"a:",
     b"a%41"],
)  # fmt: skip
def test_well_formed_hosts_are_taken(read: Read, host: bytes) -> None:  # RFC 3986 3.2.2
    assert accepted(read(get(host=b"Host: " + host + b"\r\n"))).headers == [(b"host", host)]


# Field lines: RFC 9112 5, RFC 9110 5.5 and 5.6.2


@pytest.mark.parametrize(
    "field",
    [b"A : b\r\n", b": b\r\n", b"A\r\n", b"A b: c\r\n", b"\xe9: b\r\n", b"A(): b\r\n",
     b"A: b\x01\r\n", b"A: \x7f\r\n", b"A: b\0c\r\n", b"A\0: b\r\n", b"A: \x0b\r\n",
     b"A: \x0c\r\n"],
)  # fmt: skip
def test_malformed_fields_are_refused(read: Read, field: bytes) -> None:
    assert refused(read(get(field))) == 400


@pytest.mark.parametrize("field", [b"A: b\r\n c\r\n", b"A: b\r\n\tc: d\r\n", b"A: b\r\n \r\n"])
def test_folding_is_refused(read: Read, field: bytes) -> None:  # RFC 9112 5.2
    assert refused(read(get(field))) == 400


def test_space_before_the_first_field_is_refused(read: Read) -> None:  # RFC 9112 2.2
    assert refused(read(get(host=b" Host: a\r\n"))) == 400


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\n\r\n",
     b"GET / HTTP/1.1\rHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\rb: c\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\rb: c\nd: e\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\rb: c\nd: e\r\n\r\n", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
)  # fmt: skip
def test_bare_cr_and_lf_are_refused(read: Read, data: bytes) -> None:  # RFC 9112 2.2
    event = read(data + b"\r\n\r\n")
    assert refused(event) == 400


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\nHost: a\n\n", b"\x16\x03\x01\x02\0", b"GET /\0"]
)
def test_what_can_become_no_head_is_refused_at_once(read: Read, data: bytes) -> None:
    assert refused(read(data)) == 400


def test_values_may_hold_tabs_and_octets_above_ascii(read: Read) -> None:  # RFC 9110 5.5
    assert accepted(read(get(b"A: \tb\tc\xff\xa0 \r\n"))).headers[1] == (b"a", b"b\tc\xff\xa0")


# Sizes: RFC 6585 5


def test_a_head_of_the_largest_size_is_taken(read: Read) -> None:
    short = len(get(b"A: \r\n"))
    head = accepted(read(get(b"A: " + b"a" * (1000 - short) + b"\r\n")))
    assert len(head.headers) == 2


@pytest.mark.parametrize("missing", [0, 4])
def test_a_larger_head_is_refused(read: Read, missing: int) -> None:
    short = len(get(b"A: \r\n")) - missing
    data = get(b"A: " + b"a" * (1001 - short) + b"\r\n")
    assert refused(read(data[:1001])) == 431


def test_too_many_headers_are_refused(read: Read) -> None:
    assert len(accepted(read(get(b"a: b\r\n" * 7))).headers) == 8
    assert refused(read(get(b"a: b\r\n" * 8))) == 431


# Body length: RFC 9112 6


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"5", 5), (b"007", 7), (b"9" * 18, 10**18 - 1)]
)
def test_content_length(read: Read, value: bytes, length: int) -> None:
    assert accepted(read(get(b"Content-Length: " + value + b"\r\n"))).content_length == length


@pytest.mark.parametrize(
    "value",
    [b"", b"+1", b"-1", b"1 2", b"1,1", b"1, 1", b"0x1", b"1_0", b"1.0", b"\xb2",
     b"9223372036854775808", b"9" * 400],
)  # fmt: skip
def test_malformed_content_lengths_are_refused(read: Read, value: bytes) -> None:  # RFC 9110 8.6
    assert refused(read(get(b"Content-Length: " + value + b"\r\n"))) == 400


@pytest.mark.parametrize("second", [b"1", b"2"])
def test_repeated_content_lengths_are_refused(read: Read, second: bytes) -> None:  # RFC 9110 8.6
    fields = b"Content-Length: 1\r\ncontent-length: " + second + b"\r\n"
    assert refused(read(get(fields))) == 400


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"gzip"])
def test_both_framings_are_refused(read: Read, coding: bytes) -> None:  # RFC 9112 6.1
    fields = b"Transfer-Encoding: " + coding + b"\r\nContent-Length: 1\r\n"
    assert refused(read(get(fields))) == 400


@pytest.mark.parametrize("value", [b"chunked", b"CHUNKED", b"\tchunked "])
def test_chunked(read: Read, value: bytes) -> None:  # RFC 9112 7: codings are case-insensitive
    head = accepted(read(get(b"Transfer-Encoding: " + value + b"\r\n")))
    assert head.content_length == CHUNKED


@pytest.mark.parametrize(
    "value",
    [b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked, gzip", b"", b"identity",
     b"xchunked", b"chunked;a=b", b"chunked,", b"\x85chunked",
     b"chunked\r\nTransfer-Encoding: chunked"],
)  # fmt: skip
def test_other_codings_are_not_implemented(read: Read, value: bytes) -> None:  # RFC 9112 6.1
    assert refused(read(get(b"Transfer-Encoding: " + value + b"\r\n"))) == 501


def test_a_coding_in_http_1_0_is_refused(read: Read) -> None:  # RFC 9112 6.1
    data = get(b"Transfer-Encoding: chunked\r\n", line=b"POST / HTTP/1.0")
    assert refused(read(data)) == 400


# Connection: RFC 9112 9.3


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: x, Close\r\n", False),
        (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection: closed\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_keep_alive(read: Read, version: bytes, connection: bytes, keep_alive: bool) -> None:
    head = accepted(read(get(connection, line=b"GET / HTTP/" + version)))
    assert head.keep_alive is keep_alive


# Expect: RFC 9110 10.1.1


@pytest.mark.parametrize(
    ("version", "fields", "expected"),
    [
        (b"1.1", b"Expect: 100-Continue\r\nContent-Length: 5\r\n", True),
        (b"1.1", b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", True),
        (b"1.1", b"Expect: 100-continue\r\nContent-Length: 0\r\n", False),
        (b"1.1", b"Expect: 100-continue\r\n", False),
        (b"1.0", b"Expect: 100-continue\r\nContent-Length: 5\r\n", False),
        (b"1.0", b"Expect: 42\r\n", False),
    ],
)
def test_expect_continue(read: Read, version: bytes, fields: bytes, expected: bool) -> None:
    head = accepted(read(get(fields, line=b"POST / HTTP/" + version)))
    assert head.expect_continue is expected


@pytest.mark.parametrize("value", [b"42", b"100-continue, x", b"100-continue\r\nExpect: x"])
def test_an_unknown_expectation_fails(read: Read, value: bytes) -> None:
    assert refused(read(get(b"Expect: " + value + b"\r\nContent-Length: 5\r\n"))) == 417


# Upgrade: RFC 9110 7.8, RFC 6455 4.1


def test_a_websocket_handshake(read: Read) -> None:
    head = accepted(read(get(b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n")))
    assert head.upgrade


@pytest.mark.parametrize(
    "data",
    [
        get(b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"),
        get(b"Upgrade: websocket\r\n"),
        get(b"Connection: upgrade\r\n"),
        get(b"Connection: upgrade\r\nUpgrade: websocket\r\n", line=b"GET / HTTP/1.0"),
        get(b"Connection: upgrade\r\nUpgrade: websocket\r\n", line=b"POST / HTTP/1.1"),
        get(b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"),
    ],
)
def test_anything_else_is_an_ordinary_request(read: Read, data: bytes) -> None:
    assert not accepted(read(data)).upgrade


def test_a_refusal_repeats_nothing_the_client_sent(parse: HeadParser) -> None:
    reader = RequestReader(parse, max_head_bytes=1000, max_headers=8)
    reader.receive_data(get(b"<script>: x\r\n"))
    refusal = reader.next_event()
    assert isinstance(refusal, Refusal)
    assert "script" not in refusal.reason
    assert repr(refusal) == f"<Refusal 400 {refusal.reason}>"
    assert reader.next_event() is CLOSED


def test_the_representation_of_a_head_keeps_secrets(read: Read) -> None:
    head = accepted(read(get(b"Cookie: secret\r\n", line=b"GET /a?token=secret HTTP/1.1")))
    assert repr(head) == "<RequestHead GET '/a' HTTP/1.1>"
