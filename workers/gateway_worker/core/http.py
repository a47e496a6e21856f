"""What an application may send in answer to an HTTP request (ASGI HTTP 2.5), without I/O.

With the extensions `http.response.trailers`, `.early_hint` and `.pathsend` of ASGI.

On the hot path. Measured with timeit, Python 3.11, two header fields: `start` and `body`
together 1.4 us, through `send` 1.7 us; that is why names are looked up in a set of common
ones first, and the values of all fields are checked at once.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NoReturn

from gateway_layer.errors import ApplicationError, ClientDisconnected

# RFC 9110 5.6.2: the characters of a token, which every field name is.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# RFC 9110 5.5: control characters other than tab have no place in a field value; CR, LF and
# NUL would let the value write header lines of its own.
_CONTROLS = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
# Lower-cased tokens, so a name in here needs neither the check nor the lowering.
_COMMON_NAMES = frozenset(
    b"accept-ranges access-control-allow-credentials access-control-allow-headers"
    b" access-control-allow-methods access-control-allow-origin access-control-expose-headers"
    b" access-control-max-age age allow cache-control connection content-disposition"
    b" content-encoding content-language content-length content-location content-range"
    b" content-security-policy content-type cross-origin-opener-policy date etag expires"
    b" last-modified link location permissions-policy pragma referrer-policy retry-after"
    b" server set-cookie strict-transport-security transfer-encoding vary via"
    b" www-authenticate x-accel-buffering x-content-type-options x-frame-options"
    b" x-process-time x-request-id".split()
)
_FRAMING_NAMES = frozenset({b"content-length", b"transfer-encoding"})
_MAX_FIELDS_BYTES = 2**20
"""Names and values of a head: several times what clients accept. Heads have no credit: what is
larger could fill the way to Redis for everybody."""
_BODYLESS_STATUSES = frozenset({204, 304})  # RFC 9110 6.4.1
# RFC 9110 6.5.1: what frames, routes, authenticates, modifies or describes the content has to be
# known before it, so nobody may send it after.
_NO_TRAILERS = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range"
    b" content-type expect host keep-alive max-forwards pragma proxy-authenticate"
    b" proxy-authorization range set-cookie te trailer transfer-encoding upgrade"
    b" www-authenticate".split()
)


class _State(Enum):
    """How far the application's response is."""

    WAITING = "expected 'http.response.start'"
    STARTED = "expected 'http.response.body'"
    TRAILERS = "expected 'http.response.trailers'"
    COMPLETE = "the response is complete"
    LEFT = "the client has left"


_WAITING, _STARTED, _TRAILERS, _COMPLETE, _LEFT = (
    _State  # one global, not a class attribute, to look up
)


def as_bytes(value: object, path: str) -> bytes:
    """Return a byte string of the application's as plain `bytes`.

    Args:
        value: `bytes`, a subclass of it, `bytearray` or `memoryview`.
        path: Where it was found, such as `event["body"]`.

    Raises:
        TypeError: It is something else; the text names the path.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{path} must be bytes, not {type(value).__name__}")


def as_text(value: object, path: str) -> str:
    """Return a str of the application's as a plain one that UTF-8 can certainly encode.

    Raises:
        TypeError: It is no str, or holds a lone surrogate; the text names the path.
    """
    if not isinstance(value, str):
        raise TypeError(f"{path} must be a str, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise TypeError(
                f"{path} holds a lone surrogate at {error.start}: UTF-8 cannot encode it"
            ) from None
    return str.__str__(value)  # a subclass, such as an enum, becomes a plain str


def is_token(name: bytes) -> bool:
    """Tell whether these bytes are a token (RFC 9110 5.6.2): at least one, and only its own."""
    return bool(name) and not name.translate(None, _TOKEN)


def header_fields(headers: object) -> list[tuple[bytes, bytes]]:
    """Check the `headers` of an event and return them in a shape that any peer can read.

    Args:
        headers: Any iterable of (name, value) pairs of byte strings.

    Returns:
        list of (name: bytes, value: bytes), in the order given, names lower-cased: ASGI wants
        them so, and applications that do not keep to it work with every other server.

    Raises:
        TypeError: A value of a wrong type; the text names it, as `event["headers"][3][1]`.
        ApplicationError: A name that is no token, or a value with CR, LF, NUL or another
            control character; the text names the header. Or more than 1 MiB together.
    """
    fields: list[tuple[bytes, bytes]] = []
    octets: list[bytes] = []
    # The abstract check costs 0.2 us: nearly every application sends a list.
    if type(headers) is not list and not isinstance(headers, Iterable):
        raise TypeError(
            f'event["headers"] must be an iterable of pairs, not {type(headers).__name__}'
        )
    for pair in headers:
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise TypeError(
                f'event["headers"][{len(fields)}] must be a pair [name, value]'
            ) from None
        if type(name) is not bytes or name not in _COMMON_NAMES:
            name = _field_name(name, len(fields))
        if type(value) is not bytes:
            value = as_bytes(value, f'event["headers"][{len(fields)}][1]')
        fields.append((name, value))
        octets += (name, value)
    joined = b"".join(octets)
    if len(joined) > _MAX_FIELDS_BYTES:
        raise ApplicationError(f'event["headers"] holds {len(joined)} bytes; 1 MiB may be sent')
    if len(joined.translate(None, _CONTROLS)) != len(joined):
        _refuse_control_character(fields)
    return fields


def _field_name(name: object, index: int) -> bytes:
    """Check and lower-case one name that is not among the common ones."""
    raw_name = as_bytes(name, f'event["headers"][{index}][0]')
    if not is_token(raw_name):
        raise ApplicationError(f'event["headers"][{index}]: invalid header name {raw_name!r}')
    return raw_name.lower()


def _refuse_control_character(fields: list[tuple[bytes, bytes]]) -> NoReturn:
    """Raise for the first field whose value holds a control character."""
    index, name = next(
        (index, name)
        for index, (name, value) in enumerate(fields)
        if len(value.translate(None, _CONTROLS)) != len(value)
    )
    raise ApplicationError(
        f'event["headers"][{index}]: the value of header {name.decode()!r} '
        f"holds a control character"
    )


class HttpResponseRules:
    """The order, the types and the lengths of one response, as the application sends it.

    A message that is refused changes nothing, so that an application, or its error middleware,
    can still send a right one instead.
    """

    __slots__ = ("_bodyless", "_end", "_remaining", "_state")

    def __init__(self, method: str) -> None:
        """Begin a response to a request of this method."""
        self._state = _WAITING
        # RFC 9110 9.3.2: a response to HEAD has the header fields of GET and no content.
        self._bodyless = method == "HEAD"
        self._remaining: int | None = None  # bytes of content that Content-Length still wants
        self._end = _COMPLETE  # where the last body leads

    @property
    def started(self) -> bool:
        """The application has sent `http.response.start`."""
        return self._state is not _WAITING and self._state is not _LEFT

    @property
    def complete(self) -> bool:
        """The application has sent the last body, and the trailers that it announced."""
        return self._state is _COMPLETE

    @property
    def room(self) -> int | None:
        """Bytes of content that may still be sent; None: Content-Length does not say."""
        return 0 if self._bodyless else self._remaining

    def receive_disconnect(self) -> None:
        """Note that the client has left: from now on sending raises ClientDisconnected.

        A response that is complete already stays so.
        """
        if self._state is not _COMPLETE:
            self._state = _LEFT

    def send(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Check whatever the application sends.

        Returns:
            A fresh dict of plain values: what `start` returns; `{"type": "http.response.body",
            "body": bytes, "more_body": bool}`; or what `_extended` returns.

        Raises:
            TypeError: A value of a wrong type; the text names the path to it.
            ApplicationError: A message that is not allowed here; the text says what is.
            ClientDisconnected: The client has left (ASGI www 2.4).
        """
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "http.response.body":
            body, more_body = self.body(message)
            return {"type": "http.response.body", "body": body, "more_body": more_body}
        if kind == "http.response.start":
            event = self.start(message)
            if message.get("trailers", False):
                self._end = _TRAILERS
                event["trailers"] = True
            return event
        return self._extended(kind, message)

    def start(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Check `http.response.start`.

        Returns:
            `{"type": "http.response.start", "status": int, "headers": list of (bytes, bytes)}`
            without Transfer-Encoding, which a server must ignore (ASGI www, Response Start).

        Raises:
            TypeError, ApplicationError, ClientDisconnected: As `send` does.
        """
        if self._state is not _WAITING:
            self._refuse(message)
        status = message.get("status")
        # RFC 9110 15: 1xx are interim, and anything from 600 is invalid.
        if type(status) is not int or not 200 <= status <= 599:
            status = _status(status)
        fields = header_fields(message.get("headers", ()))
        length = None
        ignored = status == 204
        for name, value in fields:
            if name in _FRAMING_NAMES:
                if name == b"transfer-encoding":
                    ignored = True
                elif length is None:
                    length = _content_length(value)
                else:
                    raise ApplicationError("two Content-Length headers")  # RFC 9112 6.3
        if ignored:
            fields = _without_framing(fields, status)
        if self._bodyless or status in _BODYLESS_STATUSES:
            self._bodyless = True
        else:
            self._remaining = length
        self._state = _STARTED
        return {"type": "http.response.start", "status": status, "headers": fields}

    def body(self, message: Mapping[str, Any]) -> tuple[bytes, bool]:
        """Check `http.response.body` and count it against Content-Length.

        Returns:
            (body, more_body); the body is empty whatever was sent if the response may have
            none (RFC 9110 6.4.1: HEAD, 204, 304). Before trailers no body is the last.

        Raises:
            TypeError, ApplicationError, ClientDisconnected: As `send` does.
        """
        if self._state is not _STARTED:
            self._refuse(message)
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = as_bytes(body, 'event["body"]')
        more_body = bool(message.get("more_body", False))
        if self._remaining is not None:
            remaining = self._remaining - len(body)
            if remaining < 0:
                raise ApplicationError("Response content longer than Content-Length")
            if remaining and not more_body:
                raise ApplicationError("Response content shorter than Content-Length")
            self._remaining = remaining
        elif self._bodyless:
            body = b""
        if not more_body:
            self._state = self._end
            more_body = self._end is _TRAILERS
        return body, more_body

    def _extended(self, kind: object, message: Mapping[str, Any]) -> dict[str, Any]:
        """Check an event of ASGI's extensions.

        Returns:
            `{"type": "http.response.trailers", "headers": list of (bytes, bytes),
            "more_trailers": bool}`, `{"type": "http.response.early_hint", "links": list of
            bytes}`, or `{"type": "http.response.pathsend", "path": str}`; the content of that
            file has to go through `body` in its place.

        Raises:
            TypeError, ApplicationError, ClientDisconnected: As `send` does.
        """
        if kind == "http.response.trailers" and self._state is _TRAILERS:
            fields = _trailer_fields(message)
            more_trailers = bool(message.get("more_trailers", False))
            if not more_trailers:
                self._state = _COMPLETE
            return {"type": kind, "headers": fields, "more_trailers": more_trailers}
        if kind == "http.response.early_hint" and self._state is _WAITING:
            return {"type": kind, "links": _links(message)}
        if kind == "http.response.pathsend" and self._state is _STARTED:
            path = message.get("path")
            if not isinstance(path, str):
                raise TypeError(f'event["path"] must be a str, not {type(path).__name__}')
            return {"type": kind, "path": str(path)}
        self._refuse(message)

    def _refuse(self, message: object) -> NoReturn:
        """Raise what tells the application why this message cannot be sent now."""
        if self._state is _LEFT:
            raise ClientDisconnected(_LEFT.value)
        raise ApplicationError(f"{describe(message)}: {self._state.value}")


def describe(message: object) -> str:
    """Say what an application sent, in a few words for an error text."""
    if not isinstance(message, dict):
        return f"unexpected {type(message).__name__} instead of an ASGI message, which is a dict"
    kind = message.get("type")
    return f"unexpected ASGI message {kind!r:.80}"


def _trailer_fields(message: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Check the fields of `http.response.trailers`, as `header_fields` does.

    Raises:
        ApplicationError: Also for a field that may not stand after the content (RFC 9110 6.5.1).
    """
    fields = header_fields(message.get("headers", ()))
    for name, _value in fields:
        if name in _NO_TRAILERS:
            raise ApplicationError(f"{name.decode()!r} is not allowed in trailers")
    return fields


def _links(message: Mapping[str, Any]) -> list[bytes]:
    """Return the values of the Link fields of `http.response.early_hint` (RFC 8297).

    Raises:
        TypeError: `links` is no iterable of byte strings.
        ApplicationError: A control character in one of them, or more than 1 MiB.
    """
    links = message.get("links", ())
    if isinstance(links, (str, bytes)) or not isinstance(links, Iterable):
        raise TypeError(f'event["links"] must be an iterable of bytes, not {type(links).__name__}')
    values = [as_bytes(link, f'event["links"][{index}]') for index, link in enumerate(links)]
    return [value for _name, value in header_fields([(b"link", value) for value in values])]


def _status(status: object) -> int:
    """Return as a plain int what is a status in another shape, such as http.HTTPStatus.

    Raises:
        TypeError: It is no int.
        ApplicationError: It is no status of a final response.
    """
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f'event["status"] must be an int, not {type(status).__name__}')
    if not 200 <= status <= 599:
        raise ApplicationError(f'event["status"] must be from 200 to 599, not {status}')
    return int(status)


def _content_length(value: bytes) -> int:
    """Return what a Content-Length says, in bytes.

    Raises:
        ApplicationError: It is not made of decimal digits alone (RFC 9110 8.6).
    """
    # int() alone would take b" +1_0 "; 18 digits are beyond any body and fit int64.
    if not value.isdigit() or len(value) > 18:
        raise ApplicationError(f"invalid Content-Length {value[:40]!r}")
    return int(value)


def _without_framing(fields: list[tuple[bytes, bytes]], status: int) -> list[tuple[bytes, bytes]]:
    """Return the fields without those that the server must not pass on."""
    dropped = {b"transfer-encoding"}  # ASGI www, Response Start: must be ignored
    if status == 204:
        dropped.add(b"content-length")  # RFC 9110 8.6: must not be sent with 204
    return [field for field in fields if field[0] not in dropped]
