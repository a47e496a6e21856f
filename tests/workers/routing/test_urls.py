from typing import Any
from uuid import UUID

import pytest
from channels.routing import URLRouter as ChannelsRouter  # type: ignore[import-untyped]
from django.urls import (  # type: ignore[import-untyped]
    include as django_include,
    path as django_path,
    re_path as django_re_path,
)
from hypothesis import given, settings, strategies as st
from tests.workers.middleware.asgi import Application, exchange, http, status_of, websocket

from gateway_worker.apps import ASGI3App, Message, Receive, Scope, Send
from gateway_worker.middleware import AllowedHosts
from gateway_worker.routing import Route, URLRouter, path, re_path

SOME_UUID = "075194d3-6885-417e-a8a8-6c931e272f00"


async def found(routes: list[Any], url: str, **more: Any) -> Scope | None:
    """Return the scope that the application behind these routes gets; None for 404."""
    sent = await exchange(URLRouter(routes), http(url, **more))
    return None if sent[0]["status"] == 404 else sent[0]["scope"]


async def echo(scope: Scope, _receive: Receive, send: Send) -> None:
    """Send its scope back."""
    await send({"type": "http.response.start", "status": 200, "scope": scope})


async def kwargs_of(routes: list[Any], url: str, **more: Any) -> dict[str, Any] | None:
    scope = await found(routes, url, **more)
    return None if scope is None else dict(scope["url_route"]["kwargs"])


@pytest.mark.parametrize(
    ("route", "url", "kwargs"),
    [
        ("rooms/<int:n>/", "/rooms/42/", {"n": 42}),
        ("rooms/<int:n>/", "/rooms/-1/", None),
        ("rooms/<int:n>/", "/rooms/4x/", None),
        ("<uuid:id>", f"/{SOME_UUID}", {"id": UUID(SOME_UUID)}),
        ("<uuid:id>", f"/{SOME_UUID[:-1]}", None),
        ("<slug:s>/", "/a-b_C9/", {"s": "a-b_C9"}),
        ("<slug:s>/", "/a.b/", None),
        ("<str:x>/y", "/a.b/y", {"x": "a.b"}),
        ("<x>/y", "/a b/y", {"x": "a b"}),
        ("<x>/y", "/a/b/y", None),
        ("files/<path:rest>", "/files/a/b.txt", {"rest": "a/b.txt"}),
        ("files/<path:rest>", "/files/", None),
        ("a.b", "/a.b", {}),
        ("a.b", "/axb", None),
        ("", "/", {}),
        ("", "/x", None),
        ("/slash/", "/slash/", {}),
        ("end", "/end\n", None),
        ("<int:a>-<int:b>", "/1-2", {"a": 1, "b": 2}),
    ],
)
async def test_path_matches(route: str, url: str, kwargs: dict[str, Any] | None) -> None:
    assert await kwargs_of([path(route, echo)], url) == kwargs


async def test_number_too_long_for_an_int_is_no_match() -> None:
    assert await kwargs_of([path("<int:n>", echo)], "/" + "9" * 5000) is None


@pytest.mark.parametrize(
    ("route", "url", "args", "kwargs"),
    [
        (r"^ws/(?P<room>\w+)/$", "/ws/lobby/", (), {"room": "lobby"}),
        (r"^ws/(\w+)/(\d+)$", "/ws/a/1", ("a", "1"), {}),
        (r"^ws/(\w+)/(?P<n>\d+)$", "/ws/a/1", (), {"n": "1"}),
        (r"^a(?:/(?P<n>\d+))?$", "/a", (), {}),
    ],
)
async def test_re_path_matches(
    route: str, url: str, args: tuple[str, ...], kwargs: dict[str, str]
) -> None:
    scope = await found([re_path(route, echo)], url)
    assert scope is not None
    assert scope["url_route"] == {"args": args, "kwargs": kwargs}


async def test_dollar_does_not_match_before_a_line_feed() -> None:
    assert await found([re_path(r"^a$", echo)], "/a\n") is None


async def test_first_route_that_matches_wins() -> None:
    routes = [path("<x>", echo, {"which": 1}), path("a", echo, {"which": 2})]
    assert await kwargs_of(routes, "/a") == {"x": "a", "which": 1}


async def test_application_gets_a_scope_of_its_own() -> None:
    scope = http("/a")
    await exchange(URLRouter([path("a", echo)]), scope)
    assert "url_route" not in scope


@pytest.mark.parametrize(
    ("scope", "status"), [(http("/nowhere"), 404), (websocket("/nowhere"), 403)]
)
async def test_no_route_is_refused(scope: Scope, status: int) -> None:
    assert await status_of(URLRouter([path("a", Application())]), scope) == status


async def test_websocket_is_routed() -> None:
    assert await status_of(URLRouter([path("a", Application())]), websocket("/a")) == 101


async def test_protocol_of_its_own_is_routed_by_its_path() -> None:
    app = Application()
    await exchange(URLRouter([path("<x>", app)]), {"type": "line", "path": "/news"})
    assert app.scope["url_route"]["kwargs"] == {"x": "news"}


async def test_protocol_of_its_own_without_a_route_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="'line' cannot be refused"):
        await exchange(URLRouter([]), {"type": "line", "path": "/news"})


async def test_scope_without_a_path_is_an_error_that_names_its_type() -> None:
    with pytest.raises(ValueError, match="'lifespan' has no path"):
        await exchange(URLRouter([]), {"type": "lifespan"})


# Root path.


@pytest.mark.parametrize(
    ("root_path", "url", "matches"),
    [
        ("/app", "/app/a", True),
        ("/app/", "/app/a", True),
        ("/app", "/a", False),
        ("/app", "/application/a", False),
        ("/app", "/appa", False),
        ("", "/a", True),
    ],
)
async def test_root_path_is_taken_off(root_path: str, url: str, matches: bool) -> None:
    routes = [path("a", echo)]
    assert (await found(routes, url, root_path=root_path) is not None) is matches


async def test_root_itself_is_the_empty_path() -> None:
    assert await found([path("", echo)], "/app", root_path="/app") is not None


# Nesting.


def nested(inner: ASGI3App) -> list[Route]:
    return [path("shops/<int:shop>/", inner), path("<path:rest>", echo, {"last": True})]


async def test_values_of_nested_routers_are_merged() -> None:
    inner = URLRouter([re_path(r"^items/(?P<item>\w+)/$", echo)])
    scope = await found(nested(inner), "/shops/7/items/tea/")
    assert scope is not None
    assert scope["url_route"]["kwargs"] == {"shop": 7, "item": "tea"}
    assert scope["path_remaining"] == ""


async def test_positional_values_of_nested_routers_follow_each_other() -> None:
    routes = [re_path(r"^(\d+)/", URLRouter([re_path(r"^(\w+)$", echo)]))]
    scope = await found(routes, "/7/tea")
    assert scope is not None
    assert scope["url_route"]["args"] == ("7", "tea")


async def test_root_path_counts_once_when_nested() -> None:
    inner = URLRouter([path("app/x", echo)])
    assert await found([path("app/", inner)], "/app/app/app/x", root_path="/app") is not None


async def test_next_route_is_tried_when_the_nested_router_has_none() -> None:
    inner = URLRouter([path("items/", echo)])
    assert await kwargs_of(nested(inner), "/shops/7/tea/") == {"rest": "shops/7/tea/", "last": True}


@pytest.mark.parametrize("url", ["/shops/7/items/", "/shops/7/nothing/"])
async def test_router_behind_a_middleware_goes_on_with_the_rest(url: str) -> None:
    inner = AllowedHosts(URLRouter([path("items/", echo)]), ["*"])
    scope = await found(nested(inner), url)
    assert (scope is not None) is url.endswith("items/")


async def test_path_remaining_is_what_a_regular_expression_left() -> None:
    scope = await found([re_path(r"^a/", echo)], "/a/b/c")
    assert scope is not None
    assert scope["path_remaining"] == "b/c"


# Mistakes.


@pytest.mark.parametrize(
    "route", ["<int:>", "<int:1>", "<:x>", "<float:x>", "<x>/<x>", "<a b>", "<int:x", "x>"]
)
def test_path_that_cannot_be_read_is_an_error(route: str) -> None:
    with pytest.raises(ValueError, match="route"):
        path(route, echo)


def test_expression_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        re_path("(", echo)


@pytest.mark.parametrize("route", ["a", ("a", echo), echo])
def test_what_is_no_route_is_an_error(route: Any) -> None:
    with pytest.raises(ValueError, match="is no route"):
        URLRouter([route])


def test_include_of_django_is_an_error_that_says_what_to_do() -> None:
    included = django_path("a/", django_include([django_path("b", echo)]))
    with pytest.raises(ValueError, match=r"include\(\) stands another URLRouter"):
        URLRouter([included])


# Django's routes.

DJANGO_ROUTES = [
    ("path", "rooms/<int:n>/"),
    ("path", "<uuid:id>"),
    ("path", "<slug:s>/x"),
    ("path", "files/<path:rest>"),
    ("path", "<x>"),
    ("path", ""),
    ("re_path", r"ws/chat/(?P<room>\w+)/$"),
    ("re_path", r"^(\d+)/(\w+)$"),
    ("re_path", r"chat"),
    ("re_path", r"^a(?P<n>\d)?"),
]
OURS: dict[str, Any] = {"path": path, "re_path": re_path}
DJANGOS: dict[str, Any] = {"path": django_path, "re_path": django_re_path}
URLS = st.one_of(
    st.sampled_from(
        [
            *("/rooms/12/", "/rooms/x/", f"/{SOME_UUID}", f"/{SOME_UUID.upper()}", "/a-b/x"),
            *("/files/a/b", "/", "", "//", "/x", "/ws/chat/lobby/", "/9/ws/chat/lobby/"),
            *("/ws/chat/a b/", "/1/a", "/1/a\n", "/mychat", "/a1/b", "/a", "/x\n", "//x"),
        ]
    ),
    st.text("/aw1-\n<.\u0661é", max_size=12).map("/".__add__),
)


async def seen(router: Any, url: str) -> tuple[Any, Any] | None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("not read")

    try:
        await router(http(url), receive, send)
    except ValueError:  # what Channels' router raises without a route
        return None
    if sent[0]["status"] == 404:
        return None
    scope = sent[0]["scope"]
    return scope["url_route"], scope["path_remaining"]


@settings(deadline=None)
@given(url=URLS, kind_and_route=st.sampled_from(DJANGO_ROUTES))
async def test_routes_match_as_those_of_channels_and_django(
    url: str, kind_and_route: tuple[str, str]
) -> None:
    kind, route = kind_and_route
    expected = await seen(ChannelsRouter([DJANGOS[kind](route, echo)]), url)
    assert await seen(URLRouter([OURS[kind](route, echo)]), url) == expected
    assert await seen(URLRouter([DJANGOS[kind](route, echo)]), url) == expected


@settings(deadline=None)
@given(url=URLS, kind_and_route=st.sampled_from(DJANGO_ROUTES))
async def test_nested_routes_match_as_those_of_channels_and_django(
    url: str, kind_and_route: tuple[str, str]
) -> None:
    kind, route = kind_and_route
    url = f"/in/7{url}"
    theirs = ChannelsRouter([DJANGOS[kind](route, echo)])
    expected = await seen(ChannelsRouter([django_path("in/<int:a>/", theirs)]), url)
    ours = URLRouter([OURS[kind](route, echo)])
    assert await seen(URLRouter([path("in/<int:a>/", ours)]), url) == expected
    assert await seen(URLRouter([django_path("in/<int:a>/", ours)]), url) == expected


async def test_extra_values_of_django_routes_are_added() -> None:
    assert await kwargs_of([django_path("<x>", echo, {"y": 1})], "/a") == {"x": "a", "y": 1}


@settings(deadline=None)
@given(url=st.text(max_size=40), root_path=st.sampled_from(["", "/", "/a", "a"]))
async def test_any_path_is_routed_or_refused(url: str, root_path: str) -> None:
    routes = [path("<int:n>/<slug:s>", echo), path("a/", URLRouter([re_path(r"(.)$", echo)]))]
    await found(routes, url, root_path=root_path)
