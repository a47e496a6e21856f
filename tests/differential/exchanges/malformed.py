"""Requests that are wrong, or nearly; no application makes a difference, so one is asked."""

from typing import Any

from tests.differential.client import Visit
from tests.differential.exchanges.registry import Exchanges

EXCHANGES = Exchanges("asgi3")


def raw(visit: Visit, *lines: str, rest: bytes = b"", method: str = "GET") -> Any:
    """Send a head as it stands, with the name of the exchange."""
    fields = [*lines, f"x-exchange: {visit.key}", "", ""]
    return visit.send("\r\n".join(fields).encode("latin-1") + rest, method)


@EXCHANGES.add
def no_http(visit: Visit) -> Any:
    return visit.send(b"hello\r\n\r\n")


@EXCHANGES.add
def unknown_method(visit: Visit) -> Any:
    return visit.ask("/echo", method="BREW")


@EXCHANGES.add
def propfind(visit: Visit) -> Any:
    return visit.ask("/echo", method="PROPFIND", body=b"")


@EXCHANGES.add
def lower_case_method(visit: Visit) -> Any:
    return visit.ask("/echo", method="get")


@EXCHANGES.add
def options_of_the_server(visit: Visit) -> Any:
    return visit.ask("*", method="OPTIONS")


@EXCHANGES.add
def connect(visit: Visit) -> Any:
    return visit.ask("here:80", method="CONNECT")


@EXCHANGES.add
def http_2_0(visit: Visit) -> Any:
    return visit.ask("/plain", version="2.0")


@EXCHANGES.add
def http_1_2(visit: Visit) -> Any:
    return visit.ask("/plain", version="1.2")


@EXCHANGES.add
def host_missing(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1")


@EXCHANGES.add
def host_missing_in_http_1_0(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.0")


@EXCHANGES.add
def host_twice(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host: a", "host: b")


@EXCHANGES.add
def host_malformed(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host: a b")


@EXCHANGES.add
def host_empty(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host:")


@EXCHANGES.add
def absolute_target_and_another_host(visit: Visit) -> Any:
    return raw(visit, "GET http://there/echo HTTP/1.1", "host: here")


@EXCHANGES.add
def absolute_target_without_path(visit: Visit) -> Any:
    return raw(visit, "GET http://there HTTP/1.1", "host: here")


@EXCHANGES.add
def fragment_in_target(visit: Visit) -> Any:
    return visit.ask("/plain#part")


@EXCHANGES.add
def space_in_target(visit: Visit) -> Any:
    return visit.ask("/plain and more")


@EXCHANGES.add
def bare_line_feeds(visit: Visit) -> Any:
    return visit.send(f"GET /plain HTTP/1.1\nhost: here\nx-exchange: {visit.key}\n\n".encode())


@EXCHANGES.add
def empty_line_first(visit: Visit) -> Any:
    return raw(visit, "", "GET /plain HTTP/1.1", "host: here")


@EXCHANGES.add
def folded_field(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host: here", "x-folded: one", " two")


@EXCHANGES.add
def space_before_colon(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host: here", "x-field : 1")


@EXCHANGES.add
def field_without_colon(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host: here", "nonsense")


@EXCHANGES.add
def nul_in_field(visit: Visit) -> Any:
    return raw(visit, "GET /plain HTTP/1.1", "host: here", "x-nul: a\0b")


@EXCHANGES.add
def two_equal_lengths(visit: Visit) -> Any:
    fields = ("content-length: 3", "content-length: 3")
    return visit.send(visit.head("/echo", *fields, method="POST") + b"abc")


@EXCHANGES.add
def two_unequal_lengths(visit: Visit) -> Any:
    fields = ("content-length: 3", "content-length: 4")
    return visit.send(visit.head("/echo", *fields, method="POST") + b"abcd")


@EXCHANGES.add
def negative_length(visit: Visit) -> Any:
    return visit.send(visit.head("/echo", "content-length: -1", method="POST"))


@EXCHANGES.add
def length_and_chunked(visit: Visit) -> Any:
    fields = ("content-length: 3", "transfer-encoding: chunked")
    return visit.send(visit.head("/echo", *fields, method="POST") + b"0\r\n\r\n")


@EXCHANGES.add
def unknown_transfer_coding(visit: Visit) -> Any:
    return visit.send(visit.head("/echo", "transfer-encoding: rot13", method="POST"))


@EXCHANGES.add
def chunked_in_http_1_0(visit: Visit) -> Any:
    data = visit.head("/echo", "transfer-encoding: chunked", method="POST", version="1.0")
    return visit.send(data + b"3\r\nabc\r\n0\r\n\r\n")


@EXCHANGES.add
def malformed_chunk_size(visit: Visit) -> Any:
    """The application may or may not have begun, so that it is named nowhere."""
    data = b"POST /ignore HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"
    with visit.connect() as client:
        client.send(data)
        return client.answer()["status"]


@EXCHANGES.add
def unknown_expectation(visit: Visit) -> Any:
    return visit.ask("/echo", "expect: a miracle", method="POST", body=b"x")


@EXCHANGES.add
def head_of_100_kb(visit: Visit) -> Any:
    fields = [f"x-field-{number}: {'y' * 4000}" for number in range(25)]
    with visit.connect() as client:
        client.send(visit.head("/plain", *fields))
        return client.answer()["status"]


@EXCHANGES.add
def two_hundred_fields(visit: Visit) -> Any:
    return visit.ask("/plain", *(f"x-field-{number}: {number}" for number in range(200)))


@EXCHANGES.add
def malformed_behind_a_good_one(visit: Visit) -> Any:
    with visit.connect() as client:
        client.send(visit.head("/plain"))
        first = client.answer()
        client.send(b"nonsense\r\n\r\n")
        return [first, client.answer()]
