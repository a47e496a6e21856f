"""Tabs of a real browser, and what the test can see of their WebSockets."""

import json
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

TIMEOUT_MS = 20_000
"""Longest wait for anything in a page: a limit for a slow machine, never a delay."""

# Runs before the scripts of every page: keeps a note of each WebSocket that the page opens.
WATCH = """
window.sockets = [];
window.closes = [];
window.WebSocket = class extends WebSocket {
  constructor(...words) {
    super(...words);
    window.sockets.push(this);
    this.addEventListener("close", ({ code }) => window.closes.push(code));
  }
};
"""


class Tab:
    """One tab in a profile of its own, as of another person."""

    def __init__(self, browser: Browser) -> None:
        self.context: BrowserContext = browser.new_context()
        self.context.set_default_timeout(TIMEOUT_MS)
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, url: str) -> None:
        """Show a page."""
        self.page.goto(url)

    def wait_for_socket(self) -> None:
        """Wait until the page has an open WebSocket."""
        self.wait_until("window.sockets.some((one) => one.readyState === WebSocket.OPEN)")

    def wait_until(self, expression: str) -> None:
        """Wait until a JavaScript expression holds in a page that has no content security policy.

        Such a policy forbids what Playwright does to evaluate it again; `see` needs no script.
        """
        self.page.wait_for_function(expression, timeout=TIMEOUT_MS)

    def see(self, selector: str, text: str) -> None:
        """Wait until an element shows a text."""
        expect(self.page.locator(selector)).to_contain_text(text, timeout=TIMEOUT_MS)

    def sockets(self) -> dict[str, Any]:
        """How many WebSockets the page has opened, and the codes with which any closed."""
        seen: dict[str, Any] = self.page.evaluate(
            "({ opened: window.sockets.length, closes: window.closes })"
        )
        return seen

    def report(self) -> str:
        """What went on in the tab, for a test that failed."""
        return f"{self.page.url} {json.dumps(self.sockets())} {self.errors}"
