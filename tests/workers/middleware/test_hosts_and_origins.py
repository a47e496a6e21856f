from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tests.workers.middleware.asgi import Application, exchange, http, status_of, websocket

from gateway_worker.middleware import AllowedHosts, AllowedOrigins

# Hosts.


async def host_allowed(patterns: list[str], host: str, **more: Any) -> bool:
    app = AllowedHosts(Application(), patterns)
    return await status_of(app, http(headers=[("host", host)], **more)) == 200


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("example.com", "example.com", True),
        ("Example.com", "EXAMPLE.COM", True),
        ("example.com", "example.com:8000", True),
        ("example.com", "www.example.com", False),
        ("example.com", "example.com.evil.org", False),
        ("example.com", "evil-example.com", False),
        (".example.com", "example.com", True),
        (".example.com", "a.b.example.com:1", True),
        (".example.com", "evilexample.com", False),
        ("example.com:8000", "example.com:8000", True),
        ("example.com:8000", "example.com:8001", False),
        ("example.com:8000", "example.com", False),
        ("example.com:80", "example.com", True),
        ("[::1]", "[::1]:8000", True),
        ("[::1]", "::1", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("example.com", "", False),
        ("example.com", "example.com:", False),
        ("example.com", "example.com:99999", False),
        ("example.com", "user@example.com", False),
        ("example.com", "example.com/x", False),
        ("example.com", "example.com, evil.org", False),
        ("example.com", " example.com", False),
        ("example.com", "example.com.", False),
    ],
)
async def test_host_is_compared_with_the_pattern(pattern: str, host: str, allowed: bool) -> None:
    assert await host_allowed([pattern], host) is allowed


async def test_default_port_of_a_host_is_that_of_the_scheme() -> None:
    assert await host_allowed(["example.com:443"], "example.com", scheme="https")


async def test_star_allows_every_host() -> None:
    assert await host_allowed(["*"], "any thing")


async def test_wrong_host_is_answered_400() -> None:
    app = Application()
    assert await status_of(AllowedHosts(app, ["a.example"]), http(headers=[("host", "b")])) == 400
    assert app.scopes == []


@pytest.mark.parametrize("hosts", [[], ["a", "a"], ["a", "b"]])
async def test_request_needs_exactly_one_host(hosts: list[str]) -> None:
    scope = http(headers=[("host", host) for host in hosts])
    assert await status_of(AllowedHosts(Application(), ["a", "b"]), scope) == 400


@pytest.mark.parametrize(("host", "status"), [("a", 101), ("b", 403)])
async def test_host_of_a_websocket_is_compared_too(host: str, status: int) -> None:
    scope = websocket(headers=[("host", host)])
    assert await status_of(AllowedHosts(Application(), ["a"]), scope) == status


async def test_scope_without_a_host_passes() -> None:
    app = Application()
    await exchange(AllowedHosts(app, ["a"]), {"type": "lifespan"})
    assert app.scope == {"type": "lifespan"}


@pytest.mark.parametrize(
    "pattern", ["", ".", "*.example.com", "a b", "a/b", "http://a", "..a", "é" * 300]
)
def test_host_pattern_that_matches_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        AllowedHosts(Application(), [pattern])


@pytest.mark.parametrize("middleware", [AllowedHosts, AllowedOrigins])
def test_bare_str_is_no_list_of_patterns(middleware: Any) -> None:
    with pytest.raises(TypeError, match="a list of patterns"):
        middleware(Application(), "example.com")


HOSTILE = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=60),
    st.from_regex(
        r"(https?://)?[.a-z@:\\/\[\]%0-9]*good\.example[.a-z@:/\\#?0-9]*", fullmatch=True
    ),
)


@settings(deadline=None)
@given(host=HOSTILE)
async def test_only_the_host_itself_passes(host: str) -> None:
    name = host.lower().partition(":")[0]
    if await host_allowed([".good.example"], host):
        assert name == "good.example" or name.endswith(".good.example")
        assert not set(host) & set("@/\\#?% ")


# Origins.


async def origin_allowed(patterns: list[str], *origins: str, **more: Any) -> bool:
    app = AllowedOrigins(Application(), patterns, **more)
    scope = websocket(headers=[("origin", origin) for origin in origins])
    return await status_of(app, scope) == 101


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://example.com", "https://example.com", True),
        ("https://example.com", "https://example.com:443", True),
        ("https://example.com:443", "https://example.com", True),
        ("https://example.com", "https://example.com:8443", False),
        ("https://example.com:8443", "https://example.com:8443", True),
        ("https://example.com", "http://example.com", False),
        ("https://example.com", "https://www.example.com", False),
        ("https://.example.com", "https://www.example.com", True),
        ("https://.example.com", "https://example.com", True),
        ("https://.example.com", "https://evilexample.com", False),
        ("HTTPS://Example.COM", "https://example.com", True),
        ("example.com", "http://example.com:3000", True),
        ("example.com", "https://example.com", True),
        ("example.com:3000", "http://example.com:3000", True),
        ("example.com:3000", "http://example.com", False),
        (".example.com", "http://a.example.com", True),
        ("chrome-extension://abcdef", "chrome-extension://abcdef", True),
        ("chrome-extension://abcdef", "https://abcdef", False),
        ("http://[::1]:8000", "http://[::1]:8000", True),
        ("*", "https://anything.example", True),
        ("null", "null", True),
        ("example.com", "null", False),
        ("example.com", "", False),
        ("example.com", "example.com", False),
        ("example.com", "https://example.com/", False),
        ("example.com", "https://evil.org/https://example.com", False),
        ("example.com", "https://user@example.com", False),
        ("example.com", "https://example.com:99999", False),
        ("example.com", "https://example.com https://evil.org", False),
        ("example.com", "https://evil.org#example.com", False),
    ],
)
async def test_origin_is_compared_with_the_pattern(
    pattern: str, origin: str, allowed: bool
) -> None:
    assert await origin_allowed([pattern], origin) is allowed


async def test_one_of_several_patterns_is_enough() -> None:
    assert await origin_allowed(["a.example", "https://b.example"], "https://b.example")


async def test_two_origins_are_refused() -> None:
    assert not await origin_allowed(["a.example"], "https://a.example", "https://a.example")


@pytest.mark.parametrize(
    ("patterns", "more", "allowed"),
    [(["a"], {}, False), (["*"], {}, True), (["a"], {"allow_missing": True}, True)],
)
async def test_missing_origin(patterns: list[str], more: dict[str, bool], allowed: bool) -> None:
    assert await origin_allowed(patterns, **more) is allowed


async def test_wrong_origin_is_refused_though_a_missing_one_may_pass() -> None:
    assert not await origin_allowed(["a"], "https://b", allow_missing=True)


async def test_http_of_any_origin_passes() -> None:
    scope = http(headers=[("origin", "https://evil.org")])
    assert await status_of(AllowedOrigins(Application(), ["a"]), scope) == 200


@pytest.mark.parametrize("pattern", ["", "://a", "1x://a", "https://", "https://*.a", "a/b"])
def test_origin_pattern_that_matches_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        AllowedOrigins(Application(), [pattern])


@settings(deadline=None)
@given(origin=HOSTILE)
async def test_only_the_origin_itself_passes(origin: str) -> None:
    if await origin_allowed([".good.example"], origin):
        scheme, _, rest = origin.lower().partition("://")
        assert scheme.isascii()
        name = rest.partition(":")[0]
        assert name == "good.example" or name.endswith(".good.example")
        assert not set(rest) & set("@/\\#?% ")
