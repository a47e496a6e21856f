"""`path` and `re_path`: what a route matches, written as in Django's URLconfs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from gateway_worker.apps import ASGI3App

Found: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any]]
"""What a pattern found: the rest of the path, positional and named values."""

_CONVERTERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "str": (r"[^/]+", str),
    "int": (r"[0-9]+", int),
    "slug": (r"[-a-zA-Z0-9_]+", str),
    "uuid": (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", UUID),
    "path": (r".+", str),
}
"""Name to expression and function: those of Django, so that a route means the same in both."""

_PARAMETER: Final = re.compile(r"<(?:([^<>:]*):)?([^<>:]*)>")


class Pattern(Protocol):
    """What a URLRouter needs of a pattern; those in Django's URLPattern objects have it too."""

    def match(self, path: str) -> Found | None:
        """Return what is found in a path without its leading slash, None if it does not match."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A route with converters, such as `rooms/<slug:room>/`.

    Args:
        route: As for `path`, without a leading slash.
        is_endpoint: Whether it has to match the whole path; else a part from the beginning on.

    Raises:
        ValueError: The route cannot be read.
    """

    route: str
    is_endpoint: bool = True
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _converters: dict[str, Callable[[str], Any]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile it."""
        text, converters = _compile(self.route)
        object.__setattr__(self, "_regex", re.compile(text + (r"\Z" if self.is_endpoint else "")))
        object.__setattr__(self, "_converters", converters)

    def match(self, path: str) -> Found | None:
        """Match a path; a value that its converter refuses does not match."""
        found = self._regex.match(path)
        if found is None:
            return None
        try:
            values = {
                name: self._converters[name](text) for name, text in found.groupdict().items()
            }
        except ValueError:  # more digits than Python turns into an int
            return None
        return path[found.end() :], (), values

    def as_prefix(self) -> "PathPattern":
        """Return the same, but for the beginning of a path."""
        return PathPattern(self.route, is_endpoint=False)


@dataclass(frozen=True, slots=True)
class RegexPattern:
    """A regular expression, searched for as Django does it: `^` binds it to the beginning.

    Args:
        regex: As for `re_path`.
        is_endpoint: Whether an expression that ends with `$` has to match the whole path.

    Raises:
        ValueError: It is no regular expression.
    """

    regex: str
    is_endpoint: bool = True
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile it."""
        try:
            object.__setattr__(self, "_compiled", re.compile(self.regex))
        except re.error as error:
            raise ValueError(f"{self.regex!r} is no regular expression: {error}") from error

    def match(self, path: str) -> Found | None:
        """Match a path; with named groups the others are left out, as are those without a value."""
        # A `$` alone would also match in front of a line feed at the end.
        whole = self.is_endpoint and self.regex.endswith("$") and not self.regex.endswith(r"\$")
        found = self._compiled.fullmatch(path) if whole else self._compiled.search(path)
        if found is None:
            return None
        rest = path[found.end() :]
        if not self._compiled.groupindex:
            return rest, found.groups(), {}
        return (
            rest,
            (),
            {name: text for name, text in found.groupdict().items() if text is not None},
        )

    def as_prefix(self) -> "RegexPattern":
        """Return the same, but for the beginning of a path."""
        return RegexPattern(self.regex, is_endpoint=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern and the application behind it; made by `path` and `re_path`.

    The names of the attributes are those of Django's URLPattern, which can stand in its place.

    Attributes:
        pattern: Decides whether a path is this route's.
        callback: The application.
        default_args: Added to the named values.
        name: For people.
    """

    pattern: PathPattern | RegexPattern
    callback: ASGI3App
    default_args: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None


def path(
    route: str,
    application: ASGI3App,
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Route:
    """Make a route of a path with converters.

    Args:
        route: Such as `rooms/<int:room>/`; a leading slash makes no difference. `<int:…>` gives an
            int, `<uuid:…>` a UUID, `<slug:…>`, `<str:…>` (the same as `<…>`) and `<path:…>`, the
            only one that matches a slash, a str. It matches whole paths, or, when the application
            is a URLRouter, their beginning.
        application: An ASGI 3 application.
        kwargs: Added to the named values.
        name: For people.

    Raises:
        ValueError: The route cannot be read; the text says why.
    """
    return Route(PathPattern(route.removeprefix("/")), application, kwargs or {}, name)


def re_path(
    route: str,
    application: ASGI3App,
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Route:
    """Make a route of a regular expression.

    Args:
        route: Matched against the path without its leading slash. One that ends with `$` has to
            match the whole path; any other is searched for, and `^` binds it to the beginning.
            Named groups become named values, without any the groups become positional values.
        application: An ASGI 3 application.
        kwargs: Added to the named values.
        name: For people.

    Raises:
        ValueError: It is no regular expression.
    """
    return Route(RegexPattern(route), application, kwargs or {}, name)


def _compile(route: str) -> tuple[str, dict[str, Callable[[str], Any]]]:
    """Return the regular expression of a route, and the converter of each parameter."""
    text, end = "", 0
    converters: dict[str, Callable[[str], Any]] = {}
    for found in _PARAMETER.finditer(route):
        kind, name = found[1] or "str", found[2]
        if found[1] == "" or kind not in _CONVERTERS:
            raise ValueError(f"route {route!r}: {found[0]!r} has no converter of {[*_CONVERTERS]}")
        if not name.isidentifier() or name in converters:
            raise ValueError(f"route {route!r}: {found[0]!r} needs a name of its own")
        expression, converters[name] = _CONVERTERS[kind]
        text += f"{_escape(route, end, found.start())}(?P<{name}>{expression})"
        end = found.end()
    return text + _escape(route, end, len(route)), converters


def _escape(route: str, start: int, end: int) -> str:
    """Return the expression of a part without parameters."""
    part = route[start:end]
    if "<" in part or ">" in part:
        raise ValueError(f"route {route!r}: '<' and '>' stand around a parameter")
    return re.escape(part)
