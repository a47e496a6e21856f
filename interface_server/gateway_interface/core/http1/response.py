"""Writes responses: ASGI's events in, bytes for the socket out."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Final

from gateway_interface.core.http1.grammar import NOT_CONTROL, TOKEN, comma_list

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""RFC 9110 15.2.1: for a request with `expect_continue`, when its body is first wanted."""

# RFC 9110 2.5: the version is that of the server, so HTTP/1.0 clients get HTTP/1.1 too.
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}

_OWNED = frozenset(
    (
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
    )
)
"""Fields that are looked at; those that describe this connection are ours to write."""

_NOT_FRAMED = -1
"""`_remaining` of a response whose length the application did not tell."""

_MAX_LENGTH_DIGITS = 19

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Cut(Enum):
    """What to do to the socket so that the client sees that the response is not whole."""

    NONE = "the response is complete as framed; nothing"
    CLOSE = "close: the client still waits for a chunk, or for the rest of Content-Length"
    RESET = "reset (SO_LINGER 0): the response ends with the connection, a FIN would complete it"


class _Trailers(Enum):
    """How far the trailer section of a response is."""

    NONE = "there is none"
    WANTED = "comes after the last chunk"
    BEGUN = "the last chunk was written; only fields may follow"


_NONE, _WANTED, _BEGUN = _Trailers


class ResponseWriter:
    """One response.

    Attributes:
        started: `start` took a head.
        status: Of that head; 0 before.
        head_sent: The head was handed out; until then another response can take its place.
        complete: The client has, or is about to get, all that the head promised it. With a
            Content-Length this may be so before the application's last event.
        keep_alive: Whether the connection may serve another request after this response.
        overflow: The application gave more than its Content-Length; the excess was not sent.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_head",
        "_persistent",
        "_remaining",
        "_to_head",
        "_trailers",
        "complete",
        "head_sent",
        "keep_alive",
        "overflow",
        "started",
        "status",
    )

    def __init__(self, method: str, http_version: str, keep_alive: bool) -> None:
        """Answer one request.

        Args:
            method: Of the request; HEAD gets no body.
            http_version: Of the request, "1.0" or "1.1".
            keep_alive: Of the request; False too if the server wants to close after it.
        """
        self.keep_alive = keep_alive
        self.started = False
        self.status = 0
        self.head_sent = False
        self.complete = False
        self.overflow = False
        self._to_head = method == "HEAD"
        self._bodiless = False
        self._persistent = http_version == "1.1"  # chunked coding, and kept alive by default
        self._chunked = False
        self._trailers = _NONE
        self._remaining = _NOT_FRAMED
        self._head = b""

    def start(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        date: bytes,
        *,
        trailers: bool = False,
    ) -> bool:
        """Take the head; it leaves with the first body, or with `flush_head`.

        Args:
            status: 100 to 999.
            headers: (name, value), in the order in which they shall be sent. Fields about this
                connection (RFC 9110 7.6.1) and Transfer-Encoding are replaced by ours;
                `connection: close` is obeyed.
            date: Value of Date, for a response without one.
            trailers: The response ends with `trailers`, and the client takes them. It is then
                chunked, whatever its Content-Length: no other framing has a place for them
                (RFC 9112 7.1.2).

        Returns:
            False if this is no valid head, or a second one: answer 502 in place of a first one,
            and throw this writer away.
        """
        if self.started:
            return False
        if trailers:
            self._trailers = _WANTED
        try:
            self._head = self._assemble(status, headers, date)
        except (AttributeError, TypeError, ValueError):  # not even bytes, or not allowed in them
            return False
        self.started = True
        self.status = status
        return True

    def _assemble(self, status: int, headers: Iterable[tuple[bytes, bytes]], date: bytes) -> bytes:
        """The bytes of the head.

        Raises:
            ValueError: A status, name or value that HTTP does not allow.
            TypeError, AttributeError: Something is not bytes.
        """
        lines = [_status_line(status)]
        names = []
        owned: dict[bytes, bytes] = {}
        for name, value in headers:
            lowered = name.lower()
            if lowered not in _OWNED:
                names.append(name)
                lines.append(b"%b: %b\r\n" % (name, value))
            elif lowered in owned:
                # As RFC 9110 5.3 joins repetitions: two lengths are no number any more.
                owned[lowered] += b", " + value
            else:
                owned[lowered] = value
        options = comma_list(owned[b"connection"]) if b"connection" in owned else []
        self._frame(status, _read_length(owned), options, lines)
        lines.append(b"date: %b\r\n\r\n" % owned.get(b"date", date))

        head = b"".join(lines)
        # Response splitting: every line ends with one CR LF, and no other control character is
        # allowed (RFC 9110 5.5), so a surplus comes from a name or a value.
        if len(head.translate(None, NOT_CONTROL)) != 2 * len(lines) + 2:
            raise ValueError("control character in a field")
        if b"" in names or b"".join(names).translate(None, TOKEN):
            raise ValueError("malformed field name")
        return head

    def _frame(
        self, status: int, length: int | None, options: list[bytes], lines: list[bytes]
    ) -> None:
        """Decide how the response ends (RFC 9112 6.3) and add the fields that say so."""
        never_sized = status < 200 or status == 204  # RFC 9110 8.6
        self._bodiless = self._to_head or never_sized or status == 304  # RFC 9112 6.3
        if status < 200:
            self.keep_alive = False  # the client would wait for a final response
        if self._trailers is _WANTED and self._persistent and not self._bodiless:
            length = None
        if length is not None and not never_sized:
            self._remaining = length
            lines.append(b"content-length: %d\r\n" % length)
        elif self._persistent and not never_sized and status != 304:
            self._chunked = True  # to HEAD the field alone, as GET would have it: RFC 9110 9.3.2
            lines.append(b"transfer-encoding: chunked\r\n")
        elif not self._bodiless:
            self.keep_alive = False  # HTTP/1.0 knows no other end than the connection's
        if options:
            self.keep_alive = self.keep_alive and b"close" not in options
            options = [option for option in options if option not in (b"close", b"keep-alive")]
        if not self.keep_alive:
            options.append(b"close")
        elif not self._persistent:
            options.append(b"keep-alive")  # RFC 9112 9.3: without it the client expects a close
        if options:
            lines.append(b"connection: %b\r\n" % b", ".join(options))

    def flush_head(self) -> bytes:
        """The head alone, if it must leave before any body; empty if it has left."""
        head = self._head
        if head:
            self._head = b""
            self.head_sent = True
            self.complete = self._bodiless or self._remaining == 0
        return head

    def body(self, data: bytes, more: bool) -> bytes:
        """What to write for one body event, with the head before the first.

        Args:
            data: May be empty. Dropped where no body is allowed, and after the end.
            more: False with the last event. If `complete` is False after that, less came than
                Content-Length had promised: `cut` the response.
        """
        if self.complete or not self.started:
            return self._surplus(data)
        head = self.flush_head() if self._head else b""
        if self._bodiless:
            return head
        if self._chunked:
            if more:
                return b"%b%x\r\n%b\r\n" % (head, len(data), data) if data else head
            self.complete = True
            if data:
                return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(data), data)
            return head + b"0\r\n\r\n"
        if self._remaining == _NOT_FRAMED:
            self.complete = not more
            return head + data
        return head + self._sized(data, more)

    def trailers(self, fields: Iterable[tuple[bytes, bytes]], more: bool) -> bytes:
        """What to write for one event with trailer fields, which come after the last body.

        Args:
            fields: (name, value). Dropped where this response cannot have any: `start` was not
                told of them, or it is not chunked.
            more: False with the last event, which ends the response.

        Raises:
            ValueError: A name or value that HTTP does not allow; nothing was changed.
            TypeError, AttributeError: Something is not bytes.
        """
        if self._trailers is _NONE or not self._chunked or self._bodiless or self.complete:
            return self.flush_head() if more else self.body(b"", more=False)
        section = _field_section(fields)
        # RFC 9112 7.1: the last chunk comes before the trailer section.
        first = b"0\r\n" if self._trailers is _WANTED else b""
        head = self.flush_head()
        self._trailers = _BEGUN
        self.complete = not more
        return b"%b%b%b%b" % (head, first, section, b"" if more else b"\r\n")

    def _sized(self, data: bytes, more: bool) -> bytes:
        """As much of the data as Content-Length leaves room for."""
        excess = len(data) - self._remaining
        if excess > 0:
            self.overflow = True
            self.keep_alive = False
            data = data[: self._remaining]
        self._remaining -= len(data)
        self.complete = self._remaining == 0
        if not more and not self.complete:
            self.keep_alive = False
        return data

    def _surplus(self, data: bytes) -> bytes:
        """Data that has no place in the response; after a Content-Length it shows a fault."""
        if data and self.started and not self._bodiless:
            self.overflow = True
            self.keep_alive = False
        return b""

    def cut(self) -> Cut:
        """How to end now so that the client cannot take what it got for the whole."""
        self.keep_alive = self.keep_alive and self.complete
        if self.complete:
            return Cut.NONE
        if self.head_sent and not self._chunked and self._remaining == _NOT_FRAMED:
            return Cut.RESET
        return Cut.CLOSE


class DateCache:
    """The value of Date, formatted once a second (RFC 9110 5.6.7)."""

    __slots__ = ("_second", "_value")

    def __init__(self) -> None:
        """Nothing is formatted yet."""
        self._second = -1
        self._value = b""

    def value(self, now: float) -> bytes:
        """The Date value at `now`, in seconds since 1970 by the wall clock."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._value = _http_date(second)
        return self._value


def simple_response(
    status: int,
    text: str,
    *,
    date: bytes,
    keep_alive: bool = False,
    head_only: bool = False,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """A whole response of our own, as `text/plain`.

    Args:
        status: Of the answer.
        text: For a person; nothing that a client sent.
        date: The value of Date.
        keep_alive: Only for a client of HTTP/1.1.
        head_only: The request was a HEAD.
        headers: More fields, such as retry-after.
    """
    body = text.encode()
    writer = ResponseWriter("HEAD" if head_only else "GET", "1.1", keep_alive)
    length = b"%d" % len(body)
    own = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)]
    taken = writer.start(status, [*own, *headers], date)
    assert taken, f"not a valid head of our own: {status} {headers!r}"
    return writer.body(body, more=False)


def early_hints(links: Iterable[bytes]) -> bytes:
    """An interim response 103 (RFC 8297), for a client of HTTP/1.1 before its final one.

    Args:
        links: Values of Link fields; without any, nothing is to be written.

    Raises:
        ValueError: A control character in one of them.
        TypeError, AttributeError: One is not bytes.
    """
    section = _field_section((b"link", link) for link in links)
    return b"%b%b\r\n" % (_STATUS_LINES[103], section) if section else b""


def _field_section(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Lines of fields that are written as they are, without the empty one at the end.

    Raises:
        ValueError: A name or value that HTTP does not allow (RFC 9110 5.1, 5.5).
        TypeError, AttributeError: Something is not bytes.
    """
    lines = [(name, b"%b: %b\r\n" % (name, value)) for name, value in fields]
    section = b"".join(line for _name, line in lines)
    if len(section.translate(None, NOT_CONTROL)) != 2 * len(lines):
        raise ValueError("control character in a field")
    for name, _line in lines:
        if not name or name.translate(None, TOKEN):
            raise ValueError("malformed field name")
    return section


def _status_line(status: int) -> bytes:
    """RFC 9112 4, with an empty reason for a status that has none.

    Raises:
        ValueError: It is no status.
    """
    if status in _STATUS_LINES:
        return _STATUS_LINES[status]
    if type(status) is not int or not 100 <= status <= 999:
        raise ValueError("malformed status")
    return b"HTTP/1.1 %d \r\n" % status


def _read_length(owned: dict[bytes, bytes]) -> int | None:
    """Content-Length, if the application gave one.

    Raises:
        ValueError: It is no number, or there are several.
    """
    value = owned.get(b"content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise ValueError("malformed or repeated Content-Length")
    return int(value)


def _http_date(second: int) -> bytes:
    """IMF-fixdate. strftime would write the names of days in the language of the process."""
    at = datetime.fromtimestamp(second, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year} {at:%H:%M:%S} GMT".encode("ascii")
