"""A real browser: Debian's Chromium, or the one that CHROMIUM names, driven by Playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.browser.tabs import Tab
from tests.end_to_end.processes import Launcher

from gateway_layer.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each tab has a profile of its own."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "no chromium: `apt-get install chromium`, or say in CHROMIUM where one is"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[[str], Tab]]:
    """Opens a tab with a page; no script of it may have failed at the end."""
    tabs: list[Tab] = []

    def open_tab(url: str) -> Tab:
        tabs.append(Tab(browser))
        tabs[-1].open(url)
        return tabs[-1]

    yield open_tab
    errors = [error for tab in tabs for error in tab.errors]
    for tab in tabs:
        tab.context.close()
    assert errors == []


@pytest.fixture(scope="module")
def redis_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def launch(redis_server: EmbeddedServer, tmp_path: Path) -> Iterator[Launcher]:
    """Starts the commands of one test, and shows what they wrote."""
    launcher = Launcher(tmp_path, redis_server.url, namespace=tmp_path.name)
    try:
        yield launcher
    finally:
        launcher.close()
        print(launcher.everything_written())  # noqa: T201 (pytest shows it where a test failed)
