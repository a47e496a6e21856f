"""The clients under fault: WebSockets that count, HTTP connections that ask one after another.

Small protocols of our own, since hundreds of sockets must not be what limits the machine.
"""

import asyncio
import base64
import os
import struct
import time
from collections import deque
from typing import cast

CLOSE, PING = 0x88, 0x89
_PONG_HEAD, _TEXT_HEAD, _BINARY_HEAD = 0x8A, 0x81, 0x82  # FIN and opcode, RFC 6455 5.2
_NO_MASK = b"\0\0\0\0"  # a mask of zeros leaves the payload as it is, RFC 6455 5.3


def handshake(path: str) -> bytes:
    """Return the head of a WebSocket handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET {path} HTTP/1.1",
        "host: here",
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        f"sec-websocket-key: {key}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Socket(asyncio.Protocol):
    """One WebSocket that never reconnects: what it loses, is lost.

    Attributes:
        sent: The last number sent.
        answered: The last number answered, all before it too.
        channel: Reply channel, as its application says.
        worker: Number (of the system) of the worker process that served last.
        repeats: (number, when) of answers that had come before.
        wrong: Texts that cannot be: counts that are wrong, answers that skip a number.
        lost: Numbers that were skipped.
        hellos: (when, worker before, worker now) of each further instance.
        others: (when, kind, worker) of all that is no answer.
        close: (when, code) of the end; code 0: without a close frame.
        latencies: (when sent, seconds until answered).
        opened: Done after the application's first word; an error if there is none.
    """

    def __init__(self, path: str) -> None:
        self.sent = 0
        self.answered = 0
        self.channel = ""
        self.worker = 0
        self.repeats: list[tuple[int, float]] = []
        self.wrong: list[str] = []
        self.lost = 0
        self.hellos: list[tuple[float, int, int]] = []
        self.others: list[tuple[float, str, int]] = []
        self.close: tuple[float, int] | None = None
        self.latencies: list[tuple[float, float]] = []
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.leaving = False
        self._path = path
        self._sent_at: deque[float] = deque()
        self._buffer = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(handshake(self._path))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._end(int(head.split(b" ", 2)[1]))
                return
            self._open, self._buffer = True, rest
        self._take_frames()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(0)

    def _end(self, code: int) -> None:
        if self.close is None and not self.leaving:
            self.close = (time.monotonic(), code)
        if not self.opened.done():
            self.opened.set_exception(RuntimeError(f"not opened: {code}"))

    def _take_frames(self) -> None:
        # Servers do not mask; what ours send here is under 126 bytes (RFC 6455 5.2).
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2 and len(buffer) - at >= 2 + buffer[at + 1]:
            opcode, begin = buffer[at], at + 2
            at = begin + buffer[at + 1]
            self._on_frame(opcode, buffer[begin:at])
        self._buffer = buffer[at:]

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._write(_PONG_HEAD, payload)
        elif opcode == CLOSE:
            self._end(struct.unpack("!H", payload[:2])[0] if payload else 1005)
        else:
            kind, *words = payload.decode().split(" ")
            if kind == "answer":
                self._on_answer(int(words[0]), int(words[1]), int(words[2]))
            elif kind == "hello":
                self._on_hello(int(words[0]), words[2])
            else:
                self.others.append((time.monotonic(), kind, int(words[0])))

    def _on_hello(self, worker: int, channel: str) -> None:
        if self.worker:
            self.hellos.append((time.monotonic(), self.worker, worker))
        self.worker, self.channel = worker, channel
        if not self.opened.done():
            self.opened.set_result(None)

    def _on_answer(self, number: int, count: int, worker: int) -> None:
        now = time.monotonic()
        if worker != self.worker:
            self.others.append((now, "answered", worker))
        if count != number:
            self.wrong.append(f"message {number} was counted as {count}")
        if number <= self.answered:
            if number != self.answered:
                self.wrong.append(f"answer {number} came again after {self.answered}")
            self.repeats.append((number, now))
            return
        if number != self.answered + 1:
            self.lost += number - self.answered - 1
        while self.answered < number:
            self.answered += 1
            self.latencies.append((sent := self._sent_at.popleft(), now - sent))

    def send(self) -> None:
        """Send the next number."""
        if self.close is None:
            self.sent += 1
            self._sent_at.append(time.monotonic())
            self._write(_TEXT_HEAD, b"%d" % self.sent)

    def _write(self, head: int, payload: bytes) -> None:
        self.transport.write(bytes((head, 0x80 | len(payload))) + _NO_MASK + payload)

    def leave(self) -> None:
        """Close without a word."""
        self.leaving = True
        self.transport.abort()


class Reader(asyncio.Protocol):
    """A client that asks for an endless answer and reads nothing of it."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._head)
        # uvloop begins to read after this, whatever is said here.
        asyncio.get_running_loop().call_soon(self.transport.pause_reading)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class Writer(asyncio.Protocol):
    """A WebSocket client that sends as much as it may."""

    def __init__(self, path: str) -> None:
        size = 10_000
        # 126: the length follows in two bytes (RFC 6455 5.2).
        frame = bytes((_BINARY_HEAD, 0x80 | 126)) + struct.pack("!H", size) + _NO_MASK + bytes(size)
        self._path = path
        self._frame = frame
        self._may = True
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(handshake(self._path))

    def data_received(self, data: bytes) -> None:
        """Begin with the server's first word."""
        self._write_on()

    def pause_writing(self) -> None:
        self._may = False

    def resume_writing(self) -> None:
        self._may = True
        self._write_on()

    def _write_on(self) -> None:
        while self._may and not self.lost:
            self.transport.write(self._frame)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


CUT, HUNG, MIXED = 0, -1, -2
"""What stands for the status of a request that got no whole answer, none in time, another's."""

_HANG_S = 40.0
"""Beyond every deadline of the gateway."""


class Asker:
    """One keep-alive connection, requests one after another, GET and POST in turn.

    Attributes:
        done: (method, when sent, when answered, status) of each request.
        under_way: (method, when sent) of the one that is not answered.
    """

    def __init__(self, port: int, name: str) -> None:
        self.done: list[tuple[str, float, float, int]] = []
        self.under_way: tuple[str, float] | None = None
        self._port = port
        self._name = name
        self._number = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, pause_s: float, stopped: asyncio.Event) -> None:
        """Ask until `stopped`; the last request is still waited for."""
        while not stopped.is_set():
            method = "POST" if self._number % 2 else "GET"
            sent = time.monotonic()
            self.under_way = (method, sent)
            try:
                async with asyncio.timeout(_HANG_S):
                    status = await self._ask(method)
            except TimeoutError:
                status = HUNG
            except (OSError, asyncio.IncompleteReadError):
                status = CUT
            self.under_way = None
            self.done.append((method, sent, time.monotonic(), status))
            if status in (CUT, HUNG):
                self._disconnect()
            await asyncio.sleep(pause_s)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, method: str) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        self._number += 1
        body = f"{self._name}-{self._number}".encode() if method == "POST" else b""
        head = f"{method} /{self._number} HTTP/1.1\r\nhost: here\r\ncontent-length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        raw = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(raw.split(b" ", 2)[1])
        length = int(raw.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        answer = await reader.readexactly(length)
        if b"connection: close" in raw:
            self._disconnect()
        if status == 200 and answer != f"{method} ".encode() + body:
            return MIXED
        return status
