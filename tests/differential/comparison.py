"""Finds where two observations differ, and which listed difference that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import zip_longest
from typing import Any

from tests.differential.differences.all import DIFFERENCES
from tests.differential.differences.difference import Difference, Values

ABSENT = object()
"""Stands for what only the other side has."""


@dataclass(frozen=True, slots=True)
class Found:
    """One value that differs.

    Attributes:
        at: Where in the observation, such as `client.headers.connection[0]`.
        uvicorn: The value there, as `repr` has it; `absent` if there is none.
        gateway: The same of the gateway.
    """

    at: str
    uvicorn: str
    gateway: str

    def __str__(self) -> str:
        return f"{self.at}: uvicorn {self.uvicorn}, gateway {self.gateway}"


def compare(uvicorn: Any, gateway: Any) -> list[Found]:
    """Return every value that is not the same in both, in the order of where it is."""
    return list(_compare(uvicorn, gateway, ""))


def explain(site: str, exchange: str, found: Found) -> Difference | None:
    """Return the first listed difference that this is; None if it is a new one."""
    return next((one for one in DIFFERENCES if is_one(one, site, exchange, found)), None)


def is_one(listed: Difference, site: str, exchange: str, found: Found) -> bool:
    """Tell whether a value differs as listed."""
    return (
        site in listed.sites
        and any(fnmatchcase(exchange, pattern) for pattern in listed.exchanges + listed.sometimes)
        and any(shows(at, values, found) for at, values in listed.at.items())
    )


def shows(at: str, values: Values, found: Found) -> bool:
    """Tell whether a value is in this place, and as these patterns have it on both sides."""
    return (
        fnmatchcase(found.at, _literal(at))
        and fnmatchcase(found.uvicorn, _literal(values[0]))
        and fnmatchcase(found.gateway, _literal(values[1]))
    )


def _literal(pattern: str) -> str:
    """Let brackets stand for themselves: they are indices here, not sets of characters."""
    return pattern.replace("[", "[[]")


def _compare(uvicorn: Any, gateway: Any, at: str) -> Iterator[Found]:
    """Yield the innermost values that differ; what one side lacks altogether counts as one."""
    if isinstance(uvicorn, dict) and isinstance(gateway, dict):
        for key in {**uvicorn, **gateway}:
            inner = f"{at}.{key}" if at else str(key)
            yield from _compare(uvicorn.get(key, ABSENT), gateway.get(key, ABSENT), inner)
    elif isinstance(uvicorn, list) and isinstance(gateway, list):
        pairs = zip_longest(uvicorn, gateway, fillvalue=ABSENT)
        for index, (theirs, ours) in enumerate(pairs):
            yield from _compare(theirs, ours, f"{at}[{index}]")
    elif uvicorn != gateway:
        yield Found(at, _repr(uvicorn), _repr(gateway))


def _repr(value: Any) -> str:
    return "absent" if value is ABSENT else repr(value)
