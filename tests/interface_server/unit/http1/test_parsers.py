"""The two parsers read the same language: every octet in every place, one at a time."""

import pytest

from gateway_interface.core.http1 import parsers
from gateway_interface.core.http1.head import BadHead
from gateway_interface.core.http1.parsers import HeadParser, ParsedHead, head_parser
from gateway_layer.errors import ConfigError

H11 = head_parser("h11")
HTTPTOOLS = head_parser("httptools")

PLACES = [
    b"GE%bT / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a%bb HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a%bb/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / %bHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/%b.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1%b\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n%b\r\n\r\n",
    b"GET / HTTP/1.1\r\n%bHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo%bst: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost%b: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:%ba\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a%bb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a%b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX:%b\r\nY:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked%b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n",
]


def outcome(parse: HeadParser, head: bytes) -> ParsedHead | tuple[int, str]:
    try:
        return parse(head)
    except BadHead as error:
        return error.status, error.reason


@pytest.mark.parametrize("place", PLACES)
def test_every_octet_in_a_place(place: bytes) -> None:
    for octet in range(256):
        head = place % bytes([octet])
        assert outcome(HTTPTOOLS, head) == outcome(H11, head), head


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nb: c\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"SETUP rtsp://a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"UNKNOWN / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_where_the_libraries_differ_by_themselves(head: bytes) -> None:
    assert outcome(HTTPTOOLS, head) == outcome(H11, head)


def test_what_a_parser_returns() -> None:
    assert HTTPTOOLS(b"PUT /x?y HTTP/1.1\r\nHost: a\r\nX-Y: \tz \r\n\r\n") == (
        b"PUT",
        b"/x?y",
        b"HTTP/1.1",
        [(b"host", b"a"), (b"x-y", b"z")],
    )


def test_auto_is_httptools_where_it_is_installed() -> None:
    assert head_parser("auto") is not H11


def test_auto_is_h11_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "httptools", None)
    assert head_parser("auto") is H11


def test_httptools_is_not_promised_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "httptools", None)
    with pytest.raises(ConfigError, match="not installed"):
        head_parser("httptools")
