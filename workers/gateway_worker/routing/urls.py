"""`URLRouter`: chooses the application by the path, for HTTP, WebSocket and whatever has one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from gateway_worker.apps import ASGI3App, Receive, Scope, Send
from gateway_worker.refusals import refuse
from gateway_worker.routing.patterns import PathPattern, Pattern, RegexPattern


class _AnyRoute(Protocol):
    """A `Route`, or what Django's `path` and `re_path` return."""

    @property
    def pattern(self) -> Any: ...

    @property
    def callback(self) -> Any: ...

    @property
    def default_args(self) -> Any: ...


class _Entry(NamedTuple):
    pattern: Pattern
    application: ASGI3App
    defaults: Mapping[str, Any]


class _Target(NamedTuple):
    """Where a path leads."""

    application: ASGI3App
    path_remaining: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class URLRouter:
    r"""Gives each connection to the application of the first route that its path matches.

        URLRouter([path("rooms/<slug:room>/", chat), re_path(r"^feed/(\w+)$", feed)])

    The application finds the values in `scope["url_route"]`, `{"args": tuple, "kwargs": dict}`, and
    what the route did not match in `scope["path_remaining"]`. A URLRouter behind a route goes on
    with that rest; its values are added to those found before. When it has no route for it, the
    routes that follow are tried. Routers behind a middleware answer for themselves.

    `scope["root_path"]` is taken off the path first; a path that is not below it has no route. No
    route is 404 for HTTP and a refused handshake for a WebSocket.

    Routes made by `django.urls.path` and `re_path` can be mixed with ours, converters that the
    project registered included.
    """

    # Read on the application of a route: it goes on with the rest of the path, so the route is the
    # beginning of one. Middlewares that wrap a router repeat it; Channels' have the same name.
    _path_routing = True

    def __init__(self, routes: Sequence[_AnyRoute]) -> None:
        """Take the routes, in the order in which they are tried.

        Raises:
            ValueError: Something among them is no route, such as Django's `include()`.
        """
        self.routes = list(routes)
        self._entries = [_entry(route) for route in self.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application that the path leads to, with a scope of its own.

        Raises:
            ValueError: The scope has no path; or no route matches, and it is neither an HTTP
                request nor a WebSocket, so that nobody here knows how to refuse it.
        """
        if "path" not in scope:
            raise ValueError(f"a scope of type {scope['type']!r} has no path to route by")
        url_route = scope.get("url_route") or {}
        rest = _path_of(scope)
        target = None
        if rest is not None:
            target = self._resolve(rest, url_route.get("args", ()), url_route.get("kwargs", {}))
        if target is None:
            await refuse(scope, receive, send, 404, "Not Found")
            return
        application, path_remaining, args, kwargs = target
        inner = dict(scope)
        inner["path_remaining"] = path_remaining
        inner["url_route"] = {"args": args, "kwargs": kwargs}
        await application(inner, receive, send)

    def _resolve(
        self, path: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> _Target | None:
        """Find where a path leads, through routers that stand directly behind a route."""
        path = path.lstrip("/")
        for pattern, application, defaults in self._entries:
            found = pattern.match(path)
            if found is None:
                continue
            rest, positional, named = found
            target = _Target(
                application, rest, (*args, *positional), {**kwargs, **named, **defaults}
            )
            if type(application) is not URLRouter:
                return target
            deeper = application._resolve(rest, target.args, target.kwargs)
            if deeper is not None:
                return deeper
        return None


def _path_of(scope: Scope) -> str | None:
    """Return the part of the path that is still to be matched, None if it is not ours at all."""
    if "path_remaining" in scope:
        return cast("str", scope["path_remaining"])
    path = cast("str", scope["path"])
    # ASGI www, HTTP connection scope: the path contains the root path.
    root_path = scope.get("root_path", "").rstrip("/")
    rest = path.removeprefix(root_path)
    if root_path and (rest == path or (rest and not rest.startswith("/"))):
        return None
    return rest


def _entry(route: _AnyRoute) -> _Entry:
    """Read a route, ours or Django's, told apart by their shape alone."""
    pattern = getattr(route, "pattern", None)
    application = getattr(route, "callback", None)
    if pattern is None or not callable(application):
        raise ValueError(
            f"{route!r:.120} is no route: made by path() or re_path();"
            " in the place of include() stands another URLRouter"
        )
    if getattr(application, "_path_routing", False):
        if isinstance(pattern, (PathPattern, RegexPattern)):
            pattern = pattern.as_prefix()
        else:  # Django's patterns give their text as str, and are made of text, name, is_endpoint.
            pattern = type(pattern)(str(pattern), pattern.name, False)
    return _Entry(pattern, application, route.default_args)
