"""Holds every exchange of a site with uvicorn and with the gateway, which serve it side by side."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.differential.client import Visit
from tests.differential.exchanges.all import exchanges_of
from tests.differential.exchanges.registry import Exchange
from tests.end_to_end.processes import Launcher

ROOT = Path(__file__).resolve().parent.parent.parent
_AT_ONCE = 4
"""Exchanges under way with each server."""

_MODULES = {"asgi3": "raw:app", "asgi2": "raw:Classic"}


@dataclass(frozen=True, slots=True)
class Pair:
    """What was seen of one exchange, in types of JSON: `{"client": …, "application": …}`."""

    uvicorn: Any
    gateway: Any


def compare_site(site: str, launcher: Launcher) -> dict[str, Pair]:
    """Return what was seen of each exchange of a site, by its name."""
    exchanges = exchanges_of(site)
    with _serve(site, launcher) as addresses, ThreadPoolExecutor(2 * _AT_ONCE) as threads:
        both = [
            [threads.submit(hold, exchange, site, address) for address in addresses]
            for exchange in exchanges
        ]
        return {
            exchange.name: Pair(*(one.result() for one in two))
            for exchange, two in zip(exchanges, both, strict=True)
        }


def hold(exchange: Exchange, site: str, address: tuple[str, int]) -> dict[str, Any]:
    """Hold one exchange; one that could not be held to its end says so."""
    visit = Visit(address, f"{site}-{exchange.name}")
    return {
        "client": _or_failure(lambda: exchange.run(visit)),
        "application": _or_failure(visit.recorded),
    }


def _or_failure(observe: Callable[[], Any]) -> Any:
    try:
        return observe()
    except (OSError, ValueError) as error:
        return {"failed": type(error).__name__}


@contextmanager
def _serve(site: str, launcher: Launcher) -> Iterator[list[tuple[str, int]]]:
    """Serve a site with uvicorn and with the gateway; give the addresses in this order."""
    app = f"tests.differential.apps.{_MODULES.get(site, f'{site}_site:app')}"
    try:
        uvicorn = launcher.run(
            "uvicorn",
            *(app, "--app-dir", str(ROOT), "--host", "127.0.0.1", "--port", "0"),
            *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"),
            *("--interface", "wsgi" if site == "flask" else "auto", "--no-access-log"),
            PYTHONHASHSEED="0",
        )
        worker = launcher.run(
            "gateway-worker", app, "--app-dir", str(ROOT), *launcher.layer, PYTHONHASHSEED="0"
        )
        interface = launcher.interface("--no-access-log")
        uvicorn.wait_for("Uvicorn running on")
        worker.wait_ready()
        found = re.search(r"running on http://127.0.0.1:(\d+)", uvicorn.stderr)
        assert found, "uvicorn says where it listens"
        yield [("127.0.0.1", int(found[1])), interface.address]
    finally:
        launcher.close()
