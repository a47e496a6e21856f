"""Hosts as they stand in Host and Origin, and the patterns that allow them."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway_worker.apps import Scope

# RFC 3986 3.2.2, host: a registered name without percent-encoding, or an IP literal in brackets.
# What else a browser or a proxy might make of it (user@, backslash, comma) is not let through.
_AUTHORITY: Final = re.compile(r"([a-z0-9_.-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?")


class Authority(NamedTuple):
    """A host, in lower case, and a port, None if there is none."""

    host: str
    port: int | None


class HostPattern(NamedTuple):
    """What hosts are allowed: one, or with `subdomains` a domain and all below it.

    Attributes:
        host: In lower case, without a leading dot.
        subdomains: Whether the pattern began with a dot.
        port: None: any.
    """

    host: str
    subdomains: bool
    port: int | None

    def matches(self, host: str, port: int | None) -> bool:
        """Tell whether a host, in lower case, and its port are allowed."""
        same = host == self.host or (self.subdomains and host.endswith("." + self.host))
        return same and self.port in (None, port)


def parse_authority(text: str) -> Authority | None:
    """Read `host` or `host:port`; None where it is anything else."""
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        return None
    port = int(found[2]) if found[2] else None
    return None if port is not None and port > 65535 else Authority(found[1], port)


def parse_pattern(text: str) -> HostPattern:
    """Read `example.com`, `.example.com`, `[::1]`, each with a port or without one.

    Raises:
        ValueError: It is none of these; a name that is not ASCII is taken in either form.
    """
    name = text.removeprefix(".")
    try:
        name = name if name.isascii() else name.encode("idna").decode()  # as browsers write it
    except UnicodeError:
        raise ValueError(f"{text!r} is no host") from None
    authority = parse_authority(name)
    if authority is None or name.startswith("."):
        raise ValueError(
            f"{text!r} is no pattern: 'example.com', '.example.com' for it and all below it,"
            " each with ':port' or without, or '*' alone for everything"
        )
    return HostPattern(authority.host, text.startswith("."), authority.port)


def patterns_of(name: str, values: Iterable[str]) -> list[str]:
    """Return the texts of patterns as a list.

    Raises:
        TypeError: A bare str, every letter of which would be a pattern.
    """
    if isinstance(values, str):
        raise TypeError(f"{name}: a list of patterns, not the str {values!r}")
    return list(values)


def only_header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a header that must not occur twice.

    Returns:
        None if it is missing; if it occurs twice, the empty str, which is no value of any.
    """
    values = [value for field, value in scope["headers"] if field == name]
    if not values:
        return None
    return values[0].decode("latin-1") if len(values) == 1 else ""
