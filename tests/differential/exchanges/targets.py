"""Targets and fields as every site has them."""

from typing import Any

from tests.differential.client import Visit
from tests.differential.exchanges.registry import ALL, Exchanges

EXCHANGES = Exchanges(*ALL)

# Targets.


@EXCHANGES.add
def query(visit: Visit) -> Any:
    return visit.ask("/echo?a=1&b=two&a=3")


@EXCHANGES.add
def query_with_escapes(visit: Visit) -> Any:
    return visit.ask("/echo?a=%20+b&empty=&caf%C3%A9=%E2%82%AC&bare&q=/?:@")


@EXCHANGES.add
def query_of_4_kb(visit: Visit) -> Any:
    return visit.ask("/plain?a=" + "x" * 4096)


@EXCHANGES.add
def empty_query(visit: Visit) -> Any:
    return visit.ask("/echo?")


@EXCHANGES.add
def escaped_utf_8_path(visit: Visit) -> Any:
    return visit.ask("/echo/caf%C3%A9/%E2%82%AC")


@EXCHANGES.add
def unescaped_utf_8_path(visit: Visit) -> Any:
    return visit.ask("/echo/" + "café".encode().decode("latin-1"))


@EXCHANGES.add
def path_that_is_no_utf_8(visit: Visit) -> Any:
    return visit.ask("/echo/%ff%fe")


@EXCHANGES.add
def escaped_slash(visit: Visit) -> Any:
    return visit.ask("/echo/a%2Fb")


@EXCHANGES.add
def dots_and_slashes(visit: Visit) -> Any:
    return visit.ask("/echo/a/../b//c/./d")


@EXCHANGES.add
def percent_that_escapes_nothing(visit: Visit) -> Any:
    return visit.ask("/echo/100%/%zz")


@EXCHANGES.add
def plus_and_semicolon(visit: Visit) -> Any:
    return visit.ask("/echo/a+b;c=d,e")


@EXCHANGES.add
def absolute_target(visit: Visit) -> Any:
    return visit.ask("http://here/echo?a=1")


# Fields.


@EXCHANGES.add
def repeated_fields(visit: Visit) -> Any:
    return visit.ask("/plain", "accept: a/b", "x-twice: 1", "accept: c/d", "x-twice: 2")


@EXCHANGES.add
def a_hundred_fields(visit: Visit) -> Any:
    return visit.ask("/plain", *(f"x-field-{number}: {number}" for number in range(100)))


@EXCHANGES.add
def field_of_20_kb(visit: Visit) -> Any:
    return visit.ask("/plain", "x-long: " + "y" * 20_000)


@EXCHANGES.add
def latin_1_and_utf_8_fields(visit: Visit) -> Any:
    return visit.ask("/plain", "x-latin: caf\xe9", "x-utf: " + "€".encode().decode("latin-1"))


@EXCHANGES.add
def odd_fields(visit: Visit) -> Any:
    return visit.ask("/plain", "X-Empty:", "x-space: \t in  between \t ", "X_Under: 1", "x.dot: 2")


@EXCHANGES.add
def forwarded_fields(visit: Visit) -> Any:
    """Who may be believed is for each to say; 127.0.0.1 is by uvicorn."""
    return visit.ask("/plain", "x-forwarded-for: 192.0.2.1", "x-forwarded-proto: https")
