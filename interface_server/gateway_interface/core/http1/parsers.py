"""The two head parsers behind one face: bytes of a head in, its parts out.

Both read the same language, which is h11's. They only split and validate: what Host,
Content-Length, Transfer-Encoding, Connection and the target mean is judged in one place, after
them (`framing`), because the libraries differ in it.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import h11

from gateway_interface.core.http1.grammar import TOKEN
from gateway_interface.core.http1.head import BadHead
from gateway_layer.errors import ConfigError

try:
    import httptools
except ImportError:  # PyPy, or a platform without a wheel: h11 serves
    httptools = None  # type: ignore[assignment]

ParsedHead: TypeAlias = tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]]]
"""Method, request-target, HTTP-version (b"HTTP/1.1"), headers (names in lower case)."""

HeadParser: TypeAlias = Callable[[bytes], ParsedHead]

_USUAL_METHODS = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH".split())
"""Known to be tokens; looking them up is cheaper than looking at their octets."""

_HASH = ord("#")


def head_parser(kind: Literal["auto", "h11", "httptools"]) -> HeadParser:
    """The function that takes a head apart; one serves all connections of an event loop.

    It takes ONE complete head with its final CRLF CRLF, in which every CR and LF is part of a
    line end and HTAB is the only other control character, and returns a ParsedHead. It raises
    BadHead for everything that RFC 9112 does not allow in a request line or field line,
    obs-fold (5.2) included.

    Args:
        kind: "auto" is httptools where it is installed, else h11.

    Raises:
        ConfigError: "httptools" was asked for and is not installed.
    """
    if kind == "httptools" and httptools is None:
        raise ConfigError("--http httptools: httptools is not installed; use h11 or auto")
    if kind == "h11" or httptools is None:
        return parse_with_h11
    return _HttptoolsParser().parse


def parse_with_h11(head: bytes) -> ParsedHead:
    """The reference: what this accepts is accepted, whichever parser is in use.

    h11 applies Host, Content-Length and Transfer-Encoding itself, and drops repetitions. It is
    here for the syntax alone, so every name is hidden behind an "x" and the request line is ours.
    """
    line_end = head.find(b"\r\n")
    method, target, version = _split_request_line(head[:line_end])
    if b"\r\n:" in head or head.count(b"\n") != head.count(b"\r\n"):
        raise BadHead(400, "malformed header")  # the "x" would name it; h11 allows a bare LF
    connection = h11.Connection(h11.SERVER)
    fields = head[line_end:-4]
    connection.receive_data(b"GET / HTTP/1.0%b\r\n\r\n" % fields.replace(b"\r\n", b"\r\nx"))
    try:
        request = connection.next_event()
    except h11.RemoteProtocolError:
        raise BadHead(400, "malformed header") from None
    # One complete head without Upgrade or body, as rewritten here, is one Request to h11.
    assert isinstance(request, h11.Request), request
    return method, target, version, [(name[1:], value) for name, value in request.headers]


class _HttptoolsParser:
    """llhttp splits; what it refuses is judged again by the reference.

    llhttp knows a fixed list of methods and applies framing rules of its own, so not all it
    refuses is wrong. All it accepts, h11 accepts with the same result (a test tries every octet
    in every place). A new parser object a head costs 0.25 us, and leaves no state behind.
    """

    __slots__ = ("_headers",)

    def __init__(self) -> None:
        """Hold no head yet."""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools with each field line; it leaves white space behind the value."""
        self._headers.append((name.lower(), value.rstrip()))

    def parse(self, head: bytes) -> ParsedHead:
        """Take a head apart, as `head_parser` promises."""
        method, target, version = _split_request_line(head[: head.find(b"\r\n")])
        headers: list[tuple[bytes, bytes]] = []
        self._headers = headers
        try:
            httptools.HttpRequestParser(self).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # the whole head was read; whether it is an upgrade is decided in `framing`
        except httptools.HttpParserError:
            return parse_with_h11(head)
        return method, target, version, headers


def _split_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """RFC 9112 3: method SP request-target SP HTTP-version, with exactly one space between."""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadHead(400, "malformed request line")
    method, target, version = parts
    if method not in _USUAL_METHODS and (not method or method.translate(None, TOKEN)):
        raise BadHead(400, "malformed method")
    # Visible ASCII (h11 and llhttp agree on it) without a fragment, which is no part of a target
    # (RFC 9112 3.2). Wider than RFC 3986: browsers send "|", "^" and "{" in queries as they are.
    # The space was taken by the split, so printable is visible.
    if not target or not target.isascii() or not target.decode().isprintable() or _HASH in target:
        raise BadHead(400, "malformed request target")
    return method, target, version
