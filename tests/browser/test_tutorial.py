"""The chat of Django Channels' tutorial, under two interface servers and two workers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.tabs import TIMEOUT_MS, Tab
from tests.end_to_end.processes import Command, Launcher

from gateway_layer.embedded import EmbeddedServer

TUTORIAL = Path(__file__).parent / "tutorial"

OpenTab = Callable[[str], Tab]

# Types a line into the page and presses its button, again and again: what a hand would do, but
# without a pause in which nothing is under way. `talked` counts the lines.
TALK = """
(name) => {
  window.talked = 0;
  window.talking = setInterval(() => {
    document.querySelector("#chat-message-input").value = `${name} ${++window.talked}`;
    document.querySelector("#chat-message-submit").click();
  }, 25);
}
"""


LINES = "document.querySelector('#chat-log').value.split('\\n')"


class Site:
    """The tutorial's project behind two interface servers."""

    def __init__(self, launch: Launcher, redis_url: str, *options: str, part: str = "3") -> None:
        self._launch = launch
        self._options = options
        self._env = {
            "TUTORIAL_PART": part,
            "TUTORIAL_REDIS": redis_url,
            "TUTORIAL_DATABASE": str(launch.folder / "db.sqlite3"),
        }
        self._migrate()
        self.workers = [self.start_worker(), self.start_worker()]
        self.urls = [launch.interface().urls[0] for _ in range(2)]
        for worker in self.workers:
            worker.wait_ready()

    def _migrate(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._env.items():
                patch.setenv(name, value)
            command = [sys.executable, "manage.py", "migrate"]
            subprocess.run(command, cwd=TUTORIAL, check=True, capture_output=True, timeout=50)

    def start_worker(self) -> Command:
        """Start a worker, without waiting for it."""
        app = ("mysite.asgi:application", "--app-dir", str(TUTORIAL))
        return self._launch.run(
            "gateway-worker", *app, *self._options, *self._launch.layer, **self._env
        )

    def restart_worker(self, number: int) -> None:
        """End a worker as a deployment does it, while the other goes on, and start a new one."""
        assert self.workers[number].end() == 0
        self.workers[number] = self.start_worker()
        self.workers[number].wait_ready()


def enter(open_tab: OpenTab, url: str, room: str) -> Tab:
    """Go through the index page into a room."""
    tab = open_tab(f"{url}/chat/")
    tab.page.keyboard.type(room)  # the page has put the cursor into its field
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(f"{url}/chat/{room}/")
    tab.wait_for_socket()
    return tab


def say(tab: Tab, text: str) -> None:
    tab.page.keyboard.type(text)
    tab.page.keyboard.press("Enter")


def log_of(tab: Tab) -> list[str]:
    return tab.page.locator("#chat-log").input_value().splitlines()


def wait_for_log(tab: Tab, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    expect(tab.page.locator("#chat-log")).to_have_value(text, timeout=TIMEOUT_MS)


def hear_more(tabs: dict[str, Tab]) -> None:
    """Wait until each tab has shown a line that each of them says from now on."""
    said = {name: tab.page.evaluate("window.talked") for name, tab in tabs.items()}
    for tab in tabs.values():
        for name, number in said.items():
            later = f"line => line.startsWith({json.dumps(name)}) && line.split(' ')[1] > {number}"
            tab.wait_until(f"window.closes.length || {LINES}.some({later})")
        assert tab.sockets() == {"opened": 1, "closes": []}


@pytest.mark.parametrize("part", ["2", "3"])
def test_two_tabs_at_two_interface_servers_talk(
    launch: Launcher, redis_server: EmbeddedServer, open_tab: OpenTab, part: str
) -> None:
    site = Site(launch, redis_server.url, part=part)
    ada, grace = (enter(open_tab, url, "lobby") for url in site.urls)
    say(ada, "good morning")
    wait_for_log(grace, "good morning")
    say(grace, "grüß dich")
    for tab in (ada, grace):
        wait_for_log(tab, "good morning", "grüß dich")


def test_what_is_said_in_another_room_is_not_heard(
    launch: Launcher, redis_server: EmbeddedServer, open_tab: OpenTab
) -> None:
    site = Site(launch, redis_server.url)
    lobby, cellar = (
        enter(open_tab, url, room) for url, room in zip(site.urls, ("lobby", "cellar"), strict=True)
    )
    say(cellar, "anybody here?")
    wait_for_log(cellar, "anybody here?")
    say(lobby, "hello")
    wait_for_log(lobby, "hello")


@pytest.mark.parametrize("part", ["2", "3"])
def test_two_tabs_go_on_talking_while_every_worker_is_restarted(
    launch: Launcher, redis_server: EmbeddedServer, open_tab: OpenTab, part: str
) -> None:
    site = Site(launch, redis_server.url, "--on-worker-exit", "resume", part=part)
    tabs = {
        name: enter(open_tab, url, "lobby")
        for name, url in zip(("ada", "grace"), site.urls, strict=True)
    }
    for name, tab in tabs.items():
        tab.page.evaluate(TALK, name)
    hear_more(tabs)
    for number in (0, 1):  # one after the other, so that each socket has to move at least once
        site.restart_worker(number)
        hear_more(tabs)
    for tab in tabs.values():
        tab.page.evaluate("clearInterval(window.talking)")
    said = {name: tab.page.evaluate("window.talked") for name, tab in tabs.items()}
    for tab in tabs.values():
        for name, number in said.items():
            last = json.dumps(f"{name} {number}")
            tab.wait_until(f"window.closes.length || {LINES}.includes({last})")
            heard = [int(line.split()[1]) for line in log_of(tab) if line.startswith(f"{name} ")]
            assert heard == list(range(1, number + 1))
        assert tab.sockets() == {"opened": 1, "closes": []}
