"""What is written, h11 reads as a client: the same body, or a visible cut."""

import h11
from hypothesis import given, settings, strategies as st

from gateway_interface.core.http1.response import _OWNED, Cut, ResponseWriter

DATE = b"Tue, 15 Nov 1994 08:12:31 GMT"
EVENTS = st.lists(st.binary(max_size=30), min_size=1, max_size=4)
VERSIONS = st.sampled_from(["1.0", "1.1"])
METHODS = st.sampled_from(["GET", "HEAD", "POST"])
STATUSES = st.sampled_from([200, 204, 304, 404, 599])


def receive(method: str, version: str, data: bytes) -> tuple[bytes, bool]:
    """The body that a client gets of `data` and a close behind it, and whether it is whole."""
    client = h11.Connection(h11.CLIENT)
    request = h11.Request(method=method, target="/", headers=[("host", "a")])
    client.send(request)
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if version == "1.0" or b"connection: close" in data:
        client.receive_data(b"")
    body = b""
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError:
            return body, False
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, True
        elif not isinstance(event, h11.Response):
            return body, False


@settings(deadline=None)
@given(METHODS, VERSIONS, STATUSES, EVENTS, st.booleans())
def test_a_whole_response_is_read_whole(
    method: str, version: str, status: int, pieces: list[bytes], sized: bool
) -> None:
    body = b"".join(pieces)
    response = ResponseWriter(method, version, True)
    assert response.start(status, [(b"content-length", b"%d" % len(body))] * sized, DATE)
    data = b"".join(response.body(piece, more=True) for piece in pieces)
    data += response.body(b"", more=False)
    assert response.complete
    assert response.cut() is Cut.NONE
    expected = b"" if method == "HEAD" or status in (204, 304) else body
    assert receive(method, version, data) == (expected, True)


@settings(deadline=None)
@given(VERSIONS, EVENTS, st.integers(1, 9))
def test_a_short_response_is_seen_to_be_short(
    version: str, pieces: list[bytes], short: int
) -> None:
    length = len(b"".join(pieces)) + short
    response = ResponseWriter("GET", version, True)
    assert response.start(200, [(b"content-length", b"%d" % length)], DATE)
    data = b"".join(response.body(piece, more=True) for piece in pieces)
    data += response.body(b"", more=False)
    assert response.cut() is Cut.CLOSE
    assert receive("GET", version, data) == (b"".join(pieces), False)


@settings(deadline=None)
@given(EVENTS, st.integers(0, 60))
def test_no_more_than_the_length_is_ever_sent(pieces: list[bytes], length: int) -> None:
    response = ResponseWriter("GET", "1.1", True)
    assert response.start(200, [(b"content-length", b"%d" % length)], DATE)
    data = b"".join(response.body(piece, more=True) for piece in pieces)
    sent = b"".join(pieces)
    assert data.partition(b"\r\n\r\n")[2] == sent[:length]
    assert response.overflow is (len(sent) > length)
    assert response.keep_alive is not response.overflow


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=3))
def test_any_headers_are_refused_or_read_back(headers: list[tuple[bytes, bytes]]) -> None:
    response = ResponseWriter("GET", "1.1", True)
    if not response.start(200, headers, DATE):
        return
    lines = response.flush_head().split(b"\r\n")
    # The writer has its own place for those that it looks at, such as date.
    headers = [field for field in headers if field[0].lower() not in _OWNED]
    assert lines[1 : len(headers) + 1] == [b": ".join(field) for field in headers]
    assert len(lines) == len(headers) + 5  # status, coding, date, and the two of the end
