"""What the head of a request says, in the words that the rest of the interface server uses."""

from enum import Enum
from typing import Final

CHUNKED: Final = -1
"""`RequestHead.content_length` of a body of unknown length (RFC 9112 7.1)."""


class Signal(Enum):
    """What a reader says when it has neither a head nor a piece of body."""

    NEED_DATA = "need data"
    """All that has come is read; call again after `receive_data` or `receive_eof`."""

    END_OF_MESSAGE = "end of message"
    """The request is complete. The next call goes on to the next request."""

    CLOSED = "closed"
    """No further request will come from this connection."""


class RequestHead:
    """One request without its body.

    Attributes:
        method: In upper case, as ASGI wants it.
        path: Percent-decoded UTF-8; undecodable octets become U+FFFD. "*" for `OPTIONS *`.
        raw_path: The path as sent, without query.
        query_string: What follows the first "?", as sent, without it.
        http_version: "1.0" or "1.1".
        headers: (name, value) in the order sent, repetitions kept; names in lower case, values
            without white space around them. With an absolute-form target, `host` is the target's.
        keep_alive: Whether the client leaves the connection open after the response.
        content_length: Octets of the body, 0 for none, or CHUNKED.
        expect_continue: The client waits for `100 Continue` before it sends the body.
        upgrade: A WebSocket handshake; the bytes behind the head may not be HTTP.
    """

    __slots__ = (
        "content_length",
        "expect_continue",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "path",
        "query_string",
        "raw_path",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        path: str,
        raw_path: bytes,
        query_string: bytes,
        http_version: str,
        headers: list[tuple[bytes, bytes]],
        keep_alive: bool,
        content_length: int,
        expect_continue: bool,
        upgrade: bool,
    ) -> None:
        """Keep the values; nothing is checked."""
        self.method = method
        self.path = path
        self.raw_path = raw_path
        self.query_string = query_string
        self.http_version = http_version
        self.headers = headers
        self.keep_alive = keep_alive
        self.content_length = content_length
        self.expect_continue = expect_continue
        self.upgrade = upgrade

    def __repr__(self) -> str:
        """Only what may be logged: neither headers nor the query."""
        return f"<RequestHead {self.method} {self.path!r} HTTP/{self.http_version}>"


class Refusal:
    """A request that is not served: answer `status`, then close the connection.

    Attributes:
        status: 400, 417, 431, 501 or 505.
        reason: What was wrong, in a few words, for the body of the answer and the log. Holds
            nothing that the client sent.
    """

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str) -> None:
        """Keep status and reason."""
        self.status = status
        self.reason = reason

    def __repr__(self) -> str:
        """Status and reason."""
        return f"<Refusal {self.status} {self.reason}>"


class BadHead(Exception):
    """Raised between the parts of the core only; the reader turns it into a Refusal.

    Attributes:
        status: The status of the answer.
        reason: As in `Refusal`.
    """

    def __init__(self, status: int, reason: str) -> None:
        """Keep status and reason."""
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
