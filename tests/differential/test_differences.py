"""What clients and applications see is what they see with uvicorn, but for what is listed.

The exchanges of a site are held together, when the first of its tests asks for one of them.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest
from tests.differential.comparison import Found, compare, explain, is_one, shows
from tests.differential.differences.all import DIFFERENCES
from tests.differential.differences.difference import ANY, Difference
from tests.differential.exchanges.all import EXCHANGES, exchanges_of
from tests.differential.exchanges.registry import ALL
from tests.differential.servers import Pair, compare_site
from tests.end_to_end.processes import Launcher

from gateway_layer.embedded import EmbeddedServer

CASES = [(site, exchange.name) for site in ALL for exchange in exchanges_of(site)]


class Observations:
    """What was seen of each exchange of each site."""

    def __init__(self, redis_url: str, folders: pytest.TempPathFactory) -> None:
        self._redis_url = redis_url
        self._folders = folders
        self._sites: dict[str, dict[str, Pair]] = {}
        self._launchers: dict[str, Launcher] = {}

    def of(self, site: str) -> dict[str, Pair]:
        """Hold the exchanges of a site, once."""
        if site not in self._sites:
            folder = self._folders.mktemp(site)
            self._launchers[site] = Launcher(folder, self._redis_url, namespace=site)
            self._sites[site] = compare_site(site, self._launchers[site])
        return self._sites[site]

    def log(self, site: str) -> str:
        """Return what the servers of a site wrote."""
        return self._launchers[site].everything_written()

    def all_found(self) -> list[tuple[str, str, Found]]:
        """Return every value that differs, with site and exchange."""
        return [
            (site, name, found)
            for site in ALL
            for name, pair in self.of(site).items()
            for found in compare(pair.uvicorn, pair.gateway)
        ]


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observations]:
    with EmbeddedServer() as server:
        yield Observations(server.url, tmp_path_factory)


@pytest.fixture(scope="module")
def all_found(observations: Observations) -> list[tuple[str, str, Found]]:
    return observations.all_found()


def test_there_are_sixty_exchanges_for_every_site() -> None:
    assert min(len(exchanges_of(site)) for site in ALL) >= 60


def test_exchanges_and_differences_have_names_of_their_own() -> None:
    assert len({one.name for one in EXCHANGES}) == len(EXCHANGES)
    assert len({one.name for one in DIFFERENCES}) == len(DIFFERENCES)


@pytest.mark.parametrize(("site", "name"), CASES, ids=map("-".join, CASES))
def test_no_difference_that_is_not_listed(observations: Observations, site: str, name: str) -> None:
    pair = observations.of(site)[name]
    new = [one for one in compare(pair.uvicorn, pair.gateway) if not explain(site, name, one)]
    assert not new, "\n".join([*map(str, new), observations.log(site)[-4000:]])


@pytest.mark.parametrize("site", ALL)
def test_every_exchange_is_held_to_its_end_with_the_gateway(
    observations: Observations, site: str
) -> None:
    pairs = observations.of(site)
    assert not [name for name, pair in pairs.items() if "'failed'" in str(pair.gateway)]
    records = {name: pair.gateway["application"] for name, pair in pairs.items()}
    assert not [name for name, all_ in records.items() if any(r["outcome"] is None for r in all_)]


@pytest.mark.timeout(180)  # alone, it has to hold all exchanges of all sites
@pytest.mark.parametrize("listed", DIFFERENCES, ids=lambda one: one.name)
def test_listed_difference_occurs(
    all_found: list[tuple[str, str, Found]], listed: Difference
) -> None:
    """As often as it is said to: in each exchange, site and place that it names."""
    if not listed.exchanges:
        return  # nowhere for sure: it depends on who is quicker
    here = [found for found in all_found if is_one(listed, *found)]
    in_exchanges = {name for _, name, _ in here}
    stale = [
        pattern
        for pattern in listed.exchanges
        if not any(fnmatchcase(name, pattern) for name in in_exchanges)
    ]
    stale += [
        at
        for at, values in listed.at.items()
        if values != ANY and not any(shows(at, values, found) for _, _, found in here)
    ]
    if listed.sites is not ALL:
        stale += {*listed.sites} - {site for site, _, _ in here}
    assert not stale, f"occur no longer: {', '.join(stale)}"
