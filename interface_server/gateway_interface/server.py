"""The interface server: joins the channel layer, listens, keeps deadlines, drains."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway_interface.admin import AdminConnection
from gateway_interface.config import InterfaceConfig
from gateway_interface.http_connection import HttpConnection
from gateway_interface.listeners import BACKLOG, Listeners, open_listeners
from gateway_interface.push_api.api import PushApi
from gateway_interface.push_api.connection import PushConnection
from gateway_interface.services import Services
from gateway_interface.websocket_client import WebSocketClient
from gateway_layer.base import ChannelLayer
from gateway_layer.node import Node
from gateway_layer.process.logs import AccessLog
from gateway_layer.redis.layer import RedisLayer

_log = logging.getLogger("gateway.interface")

_LOOK_S: Final = 0.05
"""How often a drain looks whether all connections are over."""


class InterfaceServer:
    """One interface server process, also for embedding: `await InterfaceServer(config).serve()`."""

    def __init__(
        self,
        config: InterfaceConfig,
        *,
        sockets: Sequence[socket.socket] | None = None,
        admin_socket: socket.socket | None = None,
        push_socket: socket.socket | None = None,
        pid: str | None = None,
        parent: str | None = None,
        layer: ChannelLayer | None = None,
    ) -> None:
        """Prepare; nothing is bound or connected before `serve`.

        Args:
            config: What to serve, and its limits. `processes` is for the supervising parent;
                here there is one.
            sockets: Listening sockets of a supervising parent; None binds `config.bind`.
            admin_socket: The same for `config.admin_bind`.
            push_socket: The same for `config.push_bind`.
            pid: This process's name on the layer; None draws one.
            parent: The supervisor's.
            layer: Another layer than that on `config.layer.redis`, for tests and embedding.
        """
        self._config: Final = config
        self._sockets = sockets
        self._admin_socket = admin_socket
        self._push_socket = push_socket
        self._pushing: asyncio.Task[None] | None = None
        self._layer: Final = layer or RedisLayer(config.layer, "interface", pid=pid, parent=parent)
        self._node: Final = Node(self._layer)
        self._services: Services | None = None
        self._draining: Final = asyncio.Event()
        self._at_once: Final = asyncio.Event()

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until drained.

        Args:
            on_ready: Called once when connections are accepted.

        Raises:
            BindError: An address is taken or not allowed.
            ConfigError: A server that cannot serve a channel layer.

        Cancelling it closes every connection at once.
        """
        loop = asyncio.get_running_loop()
        access_log = AccessLog(loop) if self._config.access_log else None
        services = self._services = Services(self._config, self._node, access_log)
        own: Listeners | None = None
        servers: list[asyncio.Server] = []
        ticking = loop.create_task(services.owner.run())
        try:
            if self._sockets is None:
                config = self._config
                own = open_listeners(config.bind, config.admin_bind, 1, config.push_bind)
                self._sockets, self._admin_socket = own.by_process[0], own.admin
                self._push_socket = own.push[0] if own.push else None
            if self._admin_socket is not None:
                servers.append(await self._listen(self._admin_socket, self._admin_protocol))
            # Listening begins before Redis is reached: until then requests are answered 503.
            public = [
                await self._listen(sock, lambda: HttpConnection(services)) for sock in self._sockets
            ]
            public += await self._listen_for_pushes(services)
            servers += public
            if not await self._layer.start_unless(self._draining):
                return
            if on_ready is not None:
                on_ready()
            await self._draining.wait()
            await self._finish(services, public)
        finally:
            ticking.cancel()
            for server in servers:
                server.close()
            await services.owner.close()
            await self._stop_pushing()
            await self._layer.close()
            if own is not None:
                own.close()
            if access_log is not None:
                access_log.close()

    def drain(self) -> None:
        """Accept nothing more, finish what is under way, then let `serve` return.

        The second call ends what is under way at once.
        """
        if self._draining.is_set():
            self._at_once.set()
        self._draining.set()

    async def _listen(
        self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Server:
        # Unix sockets too: create_unix_server would remove the file when one of several processes
        # closes (Python 3.13), and the file is the supervising parent's.
        return await asyncio.get_running_loop().create_server(protocol, sock=sock, backlog=BACKLOG)

    async def _listen_for_pushes(self, services: Services) -> list[asyncio.Server]:
        """Serve the push API, if there is an address for it."""
        if self._push_socket is None:
            return []
        api = PushApi(self._config)
        self._pushing = asyncio.create_task(api.run())
        return [await self._listen(self._push_socket, lambda: PushConnection(services, api))]

    async def _stop_pushing(self) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.gather(self._pushing, return_exceptions=True)

    def _admin_protocol(self) -> AdminConnection:
        assert self._services is not None, "listening begins in serve"
        return AdminConnection(self._services, self._is_ready)

    def _is_ready(self) -> bool:
        return self._layer.available and not self._draining.is_set()

    async def _finish(self, services: Services, listening: list[asyncio.Server]) -> None:
        """Close the listeners, let every exchange end, and wait for as long as is allowed."""
        services.draining = True
        for server in listening:
            server.close()
        closing = services.loop.create_task(self._close_clients(services))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.graceful_timeout_s):
                while self._busy(services) and not self._at_once.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._at_once.wait(), _LOOK_S)
        closing.cancel()
        left = sum(1 for _ in self._busy(services))
        if left:
            _log.warning("ending %d connections before their time", left)
        self._node.flush()

    async def _close_clients(self, services: Services) -> None:
        """Tell all clients; WebSockets evenly over the drain's period."""
        websockets = []
        for client in list(services.clients):
            if isinstance(client, WebSocketClient):
                websockets.append(client)
            else:
                client.drain()
        begin, period_s = services.loop.time(), self._config.drain_period_s
        for index, client in enumerate(websockets):
            wait_s = begin + period_s * index / len(websockets) - services.loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            client.drain()

    def _busy(self, services: Services) -> list[Any]:
        return [one for one in services.clients if not isinstance(one, AdminConnection)]
