"""From the parts of a head to a RequestHead: target, Host, body length, what the client expects."""

from gateway_interface.core.http1.grammar import comma_list
from gateway_interface.core.http1.head import CHUNKED, BadHead, RequestHead
from gateway_interface.core.http1.parsers import ParsedHead
from gateway_interface.core.http1.target import decode_path, is_valid_host, read_unusual_target

_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

_MEANINGFUL = frozenset(
    (b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade")
)
"""The fields that decide how the request is served."""

_MAX_CONTENT_LENGTH = 2**63 - 1

_SLASH = ord("/")


def read_head(parsed: ParsedHead) -> RequestHead:
    """Judge a head that was taken apart.

    Raises:
        BadHead: The request cannot be served; the connection must close after the answer.
    """
    raw_method, target, raw_version, headers = parsed
    version = _VERSIONS.get(raw_version)
    if version is None:
        raise _bad_version(raw_version)
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _MEANINGFUL:
            # Repetitions are joined as RFC 9110 5.3 allows. ", " is in no valid Host,
            # Content-Length or "chunked", so that a repetition of these is refused below.
            fields[name] = fields[name] + b", " + value if name in fields else value

    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            raise BadHead(400, "missing Host")  # RFC 9112 3.2
    elif not is_valid_host(host):
        raise BadHead(400, "repeated or malformed Host")
    if target[0] == _SLASH and raw_method != b"CONNECT":
        raw_path, _, query_string = target.partition(b"?")
    else:
        raw_path, query_string, authority = read_unusual_target(raw_method, target)
        if authority is not None:
            _replace_host(headers, authority)

    method = raw_method.decode("ascii").upper()  # ASGI www 2.5, "method": uppercased
    path = decode_path(raw_path)
    # fmt: off
    if len(fields) == 1 and host is not None:  # most requests: nothing else matters
        return RequestHead(
            method, path, raw_path, query_string, version, headers,
            version == "1.1", 0, False, False,
        )
    length = _content_length(fields, version)
    options = comma_list(fields.get(b"connection", b""))
    return RequestHead(
        method, path, raw_path, query_string, version, headers,
        _is_kept_alive(options, version),
        length,
        _expects_continue(fields, version) and length != 0,
        length == 0 and _is_upgrade(method, version, options, fields),
    )
    # fmt: on


def _bad_version(version: bytes) -> BadHead:
    """RFC 9110 15.6.6: 505 for a version that is one, 400 for what is none (RFC 9112 2.3)."""
    name, digits = version[:5], version[5:6] + version[7:]
    if name == b"HTTP/" and version[6:7] == b"." and len(digits) == 2 and digits.isdigit():
        return BadHead(505, "HTTP version not supported; use HTTP/1.1")
    return BadHead(400, "malformed HTTP version")


def _replace_host(headers: list[tuple[bytes, bytes]], authority: bytes) -> None:
    """RFC 9112 3.2.2: the authority of an absolute-form stands in the place of Host."""
    for index, (name, _) in enumerate(headers):
        if name == b"host":
            headers[index] = (name, authority)
            return
    headers.insert(0, (b"host", authority))


def _content_length(fields: dict[bytes, bytes], version: str) -> int:
    """The length of the body, in the order of RFC 9112 6.3; CHUNKED, or 0 for none."""
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is None:
        if length is None:
            return 0
        # RFC 9110 8.6. Equal repetitions may be merged or refused: refusing is what no two
        # servers can understand differently. 19 digits hold 2**63 - 1.
        if not length.isdigit() or len(length) > 19 or int(length) > _MAX_CONTENT_LENGTH:
            raise BadHead(400, "repeated or malformed Content-Length")
        return int(length)
    if length is not None:  # RFC 9112 6.1: may be request smuggling; refuse and close
        raise BadHead(400, "both Content-Length and Transfer-Encoding")
    if version == "1.0":  # RFC 9112 6.1: framing is faulty
        raise BadHead(400, "Transfer-Encoding in HTTP/1.0")
    if coding.lower() != b"chunked":
        raise BadHead(501, "Transfer-Encoding other than chunked")
    return CHUNKED


def _is_kept_alive(options: list[bytes], version: str) -> bool:
    """RFC 9112 9.3."""
    if b"close" in options:
        return False
    return version == "1.1" or b"keep-alive" in options


def _expects_continue(fields: dict[bytes, bytes], version: str) -> bool:
    """RFC 9110 10.1.1: an HTTP/1.0 client's expectation is ignored, an unknown one is a 417."""
    expect = fields.get(b"expect")
    if expect is None or version == "1.0":
        return False
    if any(expectation != b"100-continue" for expectation in comma_list(expect)):
        raise BadHead(417, "unknown expectation")
    return True


def _is_upgrade(
    method: str, version: str, options: list[bytes], fields: dict[bytes, bytes]
) -> bool:
    """RFC 6455 4.1. Any other Upgrade is ignored, as RFC 9110 7.8 lets a server do.

    A handshake with a body is none: its body and the frames behind it could be confused.
    """
    return (
        method == "GET"
        and version == "1.1"
        and b"upgrade" in options
        and b"websocket" in comma_list(fields.get(b"upgrade", b""))
    )
