"""What an exchange is, and which sites take part in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.differential.client import Visit

Run = Callable[[Visit], Any]

PLAIN = ("asgi3", "asgi2")
ASGI = (*PLAIN, "django", "starlette", "fastapi", "quart", "litestar")
ALL = (*ASGI, "flask")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A conversation of a client with a server.

    Attributes:
        name: Of its function.
        run: Holds it, and returns what the client saw, in types of JSON.
        sites: The applications that it is for.
    """

    name: str
    run: Run
    sites: tuple[str, ...]


class Exchanges(list[Exchange]):
    """The exchanges of a file."""

    def __init__(self, *sites: str) -> None:
        super().__init__()
        self._sites = sites

    def add(self, run: Run) -> Run:
        """Add a function, as a decorator."""
        self.append(Exchange(run.__name__, run, self._sites))
        return run
