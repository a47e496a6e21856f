"""What every connection of one interface server shares."""

import asyncio
import logging
import time
from typing import Any, Final, Protocol

from gateway_interface.config import InterfaceConfig
from gateway_interface.core.http1.parsers import head_parser
from gateway_interface.core.http1.response import DateCache
from gateway_interface.openings import Openings
from gateway_interface.pushes import Pushes
from gateway_interface.routes import Routes
from gateway_layer.names import ConnectionIds
from gateway_layer.node import Node
from gateway_layer.process.logs import AccessLog

_log = logging.getLogger("gateway.interface")

FOREVER: Final = float("inf")


class Client(Protocol):
    """One client's socket, as the server's clock and its drain see it."""

    deadline: float
    """When `on_deadline` is due, by the loop's clock."""

    def on_deadline(self, now: float) -> None:
        """The deadline has passed; sets a new one or ends the connection."""

    def drain(self) -> None:
        """The server stops: finish what is under way, then close."""

    def abort(self) -> None:
        """End now."""


class Services:
    """Handed to each connection by its constructor.

    Attributes:
        clients: Every open socket.
        draining: No connection stays open longer than its exchange.
        requests: HTTP requests begun, so far.
        websockets: WebSocket handshakes begun, so far.
        refused: Requests answered by the server itself, by status.
    """

    def __init__(self, config: InterfaceConfig, node: Node, access_log: AccessLog | None) -> None:
        """Build what `config` asks for; needs a running loop."""
        self.config: Final = config
        self.limits: Final = config.limits
        self.node: Final = node
        self.openings: Final = Openings(node.layer, config)
        self.routes: Final = Routes(config.routes)
        self.ids: Final = ConnectionIds()
        self.parse_head: Final = head_parser(config.http)  # type: ignore[arg-type] # checked there
        self.loop: Final = asyncio.get_running_loop()
        self.access_log: Final = access_log
        self.clients: Final[set[Client]] = set()
        self.draining = False
        self.requests = 0
        self.websockets = 0
        self.refused: Final[dict[int, int]] = {}
        self.pushes: Final = Pushes(node.layer, node)
        self._dates: Final = DateCache()

    def date(self) -> bytes:
        """Return the value of the Date header, formatted once a second."""
        return self._dates.value(time.time())

    def count_refusal(self, status: int) -> None:
        """Count an answer that the server gave itself."""
        self.refused[status] = self.refused.get(status, 0) + 1

    def check_deadlines(self) -> None:
        """Tell every client whose deadline has passed."""
        now = self.loop.time()
        for client in [client for client in self.clients if client.deadline <= now]:
            try:
                client.on_deadline(now)
            except Exception:  # a fault of ours: the clock goes on for all others
                _log.exception("a deadline of a client failed")
                client.abort()


def log_access(
    log: AccessLog, client: Any, method: str, target: bytes, version: str, status: int
) -> None:
    """Write an access line: `127.0.0.1:54321 "GET /path?x=1 HTTP/1.1" 200`."""
    address = f"{client[0]}:{client[1]}" if client else "unix"
    log.write(f'{address} "{method} {target.decode("latin-1")} HTTP/{version}" {status}')
