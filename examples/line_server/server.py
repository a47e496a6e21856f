"""An interface server for lines of text over TCP, on `gateway_layer` alone.

    python -m examples.line_server.server --redis redis://127.0.0.1:6379/0 --bind 127.0.0.1:7000

An application gets a scope of type `line`, then `line.connect`, a `line.receive` with `text` for
each line, and `line.disconnect`. It sends `line.accept`, `line.send` with `text` or `bytes`, and
`line.close`.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
from typing import ClassVar, cast

from gateway_layer.codec import Message
from gateway_layer.config import LayerConfig
from gateway_layer.names import DEFAULT_POOL, queue_name
from gateway_layer.node import Node
from gateway_layer.owner import About, Bounds, Owner, SocketSession
from gateway_layer.redis.layer import RedisLayer

MAX_LINE_BYTES = 1_048_576
FAREWELL_S = 5.0

NORMAL, ABNORMAL, TOO_LARGE = 1000, 1006, 1009  # RFC 6455 7.4.1, as the application hears them


class LineClient(SocketSession):
    """One client, who speaks UTF-8 lines that end with LF or CRLF."""

    KIND: ClassVar[str] = "line"

    __slots__ = ("_begun",)

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._begun = b""  # of a line whose end has not come

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = cast(asyncio.Transport, transport)
        host, port = sock.get_extra_info("peername")[:2]
        self.take_socket(sock, About(int(time.time() * 1000), (host, port)))
        self.start(queue_name(DEFAULT_POOL, self.KIND), {"client": [host, port]})

    def receive(self, data: bytes) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r").decode("utf-8", "replace")
            self.say({"type": "line.receive", "text": text}, "text")
        if len(self._begun) > MAX_LINE_BYTES:
            self.close_client(TOO_LARGE, "a line is too long")

    def eof_received(self) -> None:
        self.close_client(NORMAL, "")

    # What the application, and the gateway, want of the client.

    def accept(self, event: Message) -> None:
        self.opened()

    def encode(self, payload: str | bytes) -> bytes:
        return (payload.encode() if isinstance(payload, str) else payload) + b"\n"

    def refuse(self, status: int, reason: str) -> None:
        self._part(reason)
        self.end_session(ABNORMAL, reason)

    def close_client(self, code: int, reason: str, *, told: bool = False) -> None:
        self._part(reason)
        self.end_session(code, reason, told=told)

    def _part(self, reason: str) -> None:
        if reason:
            self.write(self.encode(f"! {reason}"))
        self.close_transport()


async def serve(config: LayerConfig, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then tell all clients and workers."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    layer = RedisLayer(config, "interface")
    owner = Owner(Node(layer), Bounds())
    clock = loop.create_task(owner.run())
    try:
        if await layer.start_unless(stopped):
            listening = await loop.create_server(lambda: LineClient(owner), host, port)
            name = "{}:{}".format(*listening.sockets[0].getsockname()[:2])
            print(f"line_server ready: {name}", file=sys.stderr, flush=True)
            await stopped.wait()
            listening.close()
            await owner.drain(FAREWELL_S)
    finally:
        clock.cancel()
        await owner.close()
        await layer.close()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="line_server", description="Lines of text over TCP.")
    parser.add_argument("--redis", default=LayerConfig().redis)
    parser.add_argument("--namespace", default=LayerConfig().namespace)
    parser.add_argument("--lease", type=float, default=LayerConfig().lease_s)
    parser.add_argument("--bind", default="127.0.0.1:7000")
    options = parser.parse_args()
    config = LayerConfig(redis=options.redis, namespace=options.namespace, lease_s=options.lease)
    host, _, port = options.bind.rpartition(":")
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(config, host, int(port)))


if __name__ == "__main__":
    main()
