"""All exchanges."""

from tests.differential.exchanges import http, malformed, raw_http, targets, websocket
from tests.differential.exchanges.registry import ALL, Exchange

EXCHANGES: list[Exchange] = [
    *http.EXCHANGES,
    *targets.EXCHANGES,
    *malformed.EXCHANGES,
    *raw_http.EXCHANGES,
    *websocket.EXCHANGES,
    *websocket.RAW,
]


def exchanges_of(site: str) -> list[Exchange]:
    """Return those that a site takes part in."""
    assert site in ALL, f"no such site: {site}"
    return [exchange for exchange in EXCHANGES if site in exchange.sites]
