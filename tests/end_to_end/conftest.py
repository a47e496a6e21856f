from collections.abc import Callable, Generator, Iterator

import pytest
from tests.end_to_end.processes import Gateway, Launcher

from gateway_layer.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def redis_server() -> Iterator[EmbeddedServer]:
    """A real server, one for the tests of a file; a test may kill, stop and start it."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """An interface server and a worker with `apps:site`; the tests of a file share them."""
    redis_server.start()
    launcher = Launcher(tmp_path_factory.mktemp("gateway"), redis_server.url)
    try:
        worker = launcher.worker(ready=False)
        yield Gateway(launcher, launcher.interface(), worker)
    finally:
        launcher.close()


@pytest.fixture
def launch(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launcher]:
    """Starts commands for one test, which share nothing with those of other tests."""
    redis_server.start()
    folder = tmp_path_factory.mktemp("gateway")
    launcher = Launcher(folder, redis_server.url, namespace=folder.name)
    try:
        yield launcher
    finally:
        launcher.close()


StartGateway = Callable[..., Gateway]


@pytest.fixture
def start(launch: Launcher) -> StartGateway:
    """Starts an interface server and a worker for one test.

    `interface` and `worker` are more options for either.
    """

    def start(
        *common: str,
        interface: tuple[str, ...] = (),
        worker: tuple[str, ...] = (),
        app: str = "apps:site",
    ) -> Gateway:
        started = launch.worker(*common, *worker, app=app, ready=False)
        gateway = Gateway(launch, launch.interface(*common, *interface), started)
        started.wait_ready()
        return gateway

    return start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes wrote under a test that failed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        gateway, launcher = item.funcargs.get("gateway"), item.funcargs.get("launch")
        if isinstance(gateway, Gateway):
            report.sections.append(("gateway", gateway.launcher.everything_written()))
        if isinstance(launcher, Launcher):
            report.sections.append(("processes", launcher.everything_written()))
    return report
