"""What a difference between uvicorn and the gateway is that is meant."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.differential.exchanges.registry import ALL

Values = tuple[str, str]
"""Patterns of a value as `repr` has it, of uvicorn and of the gateway."""

ANY: Values = ("*", "*")
"""For what follows from another value that is named."""

RECORD: Mapping[str, Values] = {"application[?]": ANY}
ANSWER: Mapping[str, Values] = {
    "client.reason": ANY,
    "client.headers.c*": ANY,
    "client.body*": ANY,
    "client.connection": ANY,
}
BODY: Mapping[str, Values] = {"client*.headers.content-length[0]": ANY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference that is meant.

    Attributes:
        name: Of it, in the document and in tests.
        uvicorn: What uvicorn does, in words.
        gateway: What the gateway does.
        why: The reason of that.
        at: Patterns of where in an observation it shows, and of both values there. Each shows in
            some exchange; those that are `ANY` need not.
        exchanges: Patterns of the names of the exchanges in which it shows, in each of them.
        sometimes: The same of exchanges in which it depends on who is quicker.
        sites: The applications in which it may show.
    """

    name: str
    uvicorn: str
    gateway: str
    why: str
    at: Mapping[str, Values]
    exchanges: tuple[str, ...] = ("*",)
    sometimes: tuple[str, ...] = ()
    sites: tuple[str, ...] = ALL
