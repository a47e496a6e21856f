"""`--debug`: what blocks the event loop is reported with its stack, while it does."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest
import uvloop
from tests.workers.test_dev import Dev, start  # noqa: F401 (a fixture)

from gateway_worker.debug import LoopWatch

MESSAGE = "the event loop has been blocked for"


class Reports(logging.Handler):
    """Hears what is logged, in whichever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.heard.set()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture(autouse=True)
def _listen(reports: Reports) -> object:
    logger = logging.getLogger("gateway.debug")
    logger.addHandler(reports)
    yield
    logger.removeHandler(reports)


def block_until(event: threading.Event) -> None:
    """A callback that blocks until it is reported."""
    assert event.wait(10)


LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@LOOPS
def test_a_callback_is_reported_while_it_blocks_with_its_stack(
    make_loop: Callable[[], asyncio.AbstractEventLoop], reports: Reports
) -> None:
    async def main() -> None:
        with LoopWatch(asyncio.get_running_loop()):
            await asyncio.sleep(0.05)
            block_until(reports.heard)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
    (text,) = reports.texts
    first, *stack = text.splitlines()
    assert first.startswith(MESSAGE)
    assert int(first.removeprefix(MESSAGE).split()[0]) >= 100
    places = [line.rpartition(" in ")[2] for line in stack if line.startswith('  File "')]
    assert places[:2] == ["main", "block_until"]


@LOOPS
def test_a_loop_that_only_waits_is_not_reported(
    make_loop: Callable[[], asyncio.AbstractEventLoop], reports: Reports
) -> None:
    async def main() -> None:
        with LoopWatch(asyncio.get_running_loop()):
            await asyncio.sleep(0.4)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
    assert reports.texts == []


async def test_blocks_in_quick_succession_are_counted_in_the_next_report(
    reports: Reports,
) -> None:
    with LoopWatch(asyncio.get_running_loop()):
        await asyncio.sleep(0.02)
        deadline = time.monotonic() + 20
        while len(reports.texts) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.15)  # noqa: ASYNC251 - what is to be reported
            await asyncio.sleep(0.02)
    assert "more before" not in reports.texts[0]
    assert "more before):" in reports.texts[1]


async def test_the_watch_ends_with_its_context() -> None:
    before = threading.active_count()
    with LoopWatch(asyncio.get_running_loop()):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


SITE = """
import time

async def app(scope, receive, send):
    if scope["type"] == "http":
        time.sleep(0.5)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
"""


def test_the_commands_report_what_blocks_a_worker(start: Callable[..., Dev]) -> None:  # noqa: F811
    dev = start("--debug", source=SITE)
    dev.wait_until_ready()
    dev.get("/")
    dev.wait_for(MESSAGE)
    dev.wait_for("in app\n    time.sleep(0.5)")


async def test_another_line_of_code_is_reported_at_once(reports: Reports) -> None:
    with LoopWatch(asyncio.get_running_loop()):
        await asyncio.sleep(0.02)
        block_until(reports.heard)
        reports.heard.clear()
        await asyncio.sleep(0.02)
        assert reports.heard.wait(10)
    assert len(reports.texts) == 2
