"""What every connection of one interface server shares."""

import asyncio
import time
from typing import Any, Final

from gateway_interface.config import InterfaceConfig
from gateway_interface.core.http1.parsers import head_parser
from gateway_interface.core.http1.response import DateCache
from gateway_interface.routes import Routes
from gateway_layer.node import Node
from gateway_layer.owner import Bounds, Owner
from gateway_layer.process.logs import AccessLog


class Services:
    """Handed to each connection by its constructor.

    Attributes:
        owner: What connections of any protocol share, some of it also under shorter names.
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
        self.owner: Final = Owner(node, _bounds(config))
        self.clients: Final = self.owner.clients
        self.ids: Final = self.owner.ids
        self.openings: Final = self.owner.openings
        self.pushes: Final = self.owner.pushes
        self.routes: Final = Routes(config.routes)
        self.parse_head: Final = head_parser(config.http)  # type: ignore[arg-type] # checked there
        self.loop: Final = asyncio.get_running_loop()
        self.access_log: Final = access_log
        self.draining = False
        self.requests = 0
        self.websockets = 0
        self.refused: Final[dict[int, int]] = {}
        self._dates: Final = DateCache()

    def date(self) -> bytes:
        """Return the value of the Date header, formatted once a second."""
        return self._dates.value(time.time())

    def count_refusal(self, status: int) -> None:
        """Count an answer that the server gave itself."""
        self.refused[status] = self.refused.get(status, 0) + 1


def _bounds(config: InterfaceConfig) -> Bounds:
    limits = config.limits
    return Bounds(
        window_bytes=limits.window_bytes,
        queue_capacity=config.queue_capacity,
        queue_deadline_s=config.queue_deadline_s,
        response_timeout_s=limits.response_timeout_s,
        resume_timeout_s=config.resume_timeout_s,
        redis_grace_s=config.redis_grace_s,
        send_timeout_s=limits.send_timeout_s,
        max_send_buffer_bytes=limits.max_send_buffer_bytes,
    )


def log_access(
    log: AccessLog, client: Any, method: str, target: bytes, version: str, status: int
) -> None:
    """Write an access line: `127.0.0.1:54321 "GET /path?x=1 HTTP/1.1" 200`."""
    address = f"{client[0]}:{client[1]}" if client else "unix"
    log.write(f'{address} "{method} {target.decode("latin-1")} HTTP/{version}" {status}')
