"""Every difference between uvicorn and the gateway, and why it is one.

`docs/compatibility.md` shows this list; a test compares both.
"""

from tests.differential.differences.application import APPLICATION
from tests.differential.differences.difference import Difference
from tests.differential.differences.http import HTTP, REFUSALS
from tests.differential.differences.scope import SCOPE
from tests.differential.differences.websocket import WEBSOCKET

SECTIONS: dict[str, tuple[Difference, ...]] = {
    "What the application is given": SCOPE,
    "Requests and answers": HTTP,
    "Requests that are refused": REFUSALS,
    "What the application sends": APPLICATION,
    "WebSocket": WEBSOCKET,
}
"""The list as the document has it, by heading."""

DIFFERENCES = tuple(one for section in SECTIONS.values() for one in section)
