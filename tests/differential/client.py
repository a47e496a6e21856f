"""A client of raw sockets that notes all that can be seen from outside, in types of JSON."""

import base64
import hashlib
import json
import select
import socket
import struct
import zlib
from types import TracebackType
from typing import Any

from tests.differential.apps.recorder import digest, plain

TIMEOUT_S = 10.0
"""Longest wait for anything: far above what either server takes."""

KEY = base64.b64encode(bytes(16)).decode()
HANDSHAKE = (
    "upgrade: websocket",
    "connection: upgrade",
    "sec-websocket-version: 13",
    f"sec-websocket-key: {KEY}",
)
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40
_NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_ACCEPT = base64.b64encode(
    hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
).decode()
_SMALL = 2000


class Visit:
    """One exchange against one server: makes connections, and names itself in requests."""

    def __init__(self, address: tuple[str, int], key: str) -> None:
        self._address = address
        self.key = key

    def connect(self) -> "Client":
        return Client(socket.create_connection(self._address, timeout=TIMEOUT_S))

    def head(self, path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
        """Return the head of a request that is recorded."""
        lines = [f"{method} {path} HTTP/{version}", "host: here", f"x-exchange: {self.key}"]
        return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1")

    def ask(
        self,
        path: str,
        *fields: str,
        method: str = "GET",
        version: str = "1.1",
        body: bytes | None = None,
    ) -> dict[str, Any]:
        """Send one request on a connection of its own; a body gets its Content-Length."""
        if body is not None:
            fields = (*fields, f"content-length: {len(body)}")
        data = self.head(path, *fields, method=method, version=version) + (body or b"")
        return self.send(data, method)

    def send(self, data: bytes, method: str = "GET") -> dict[str, Any]:
        """Send these bytes on a connection of their own; return the answer, and what follows it."""
        with self.connect() as client:
            client.send(data)
            answer = client.answer(method)
            return {**answer, "connection": client.after(answer)}

    def websocket(self, path: str, *fields: str) -> "WebSocket":
        """Shake hands."""
        client = self.connect()
        client.send(self.head(path, *HANDSHAKE, *fields))
        return WebSocket(client)

    def recorded(self) -> Any:
        """Return what the application was given in this exchange, when all of it is over."""
        with self.connect() as client:
            client.send(f"GET /recorded/{self.key} HTTP/1.1\r\nhost: here\r\n\r\n".encode())
            return client.answer()["body"]


class Client:
    """A connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._ended = False

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send; a server that has closed meanwhile is seen when its answer is read."""
        try:
            self._sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._ended = True

    def leave(self) -> None:
        """Cut the connection with a reset, as a client that dies does."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(262_144)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def until(self, end: bytes) -> bytes:
        """Read up to and without `end`; to the end of the connection, if it does not come."""
        start = 0
        while (at := self._buffer.find(end, start)) < 0:
            start = max(0, len(self._buffer) - len(end))
            if not self._receive():
                return self.rest()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return found

    def exactly(self, size: int) -> bytes:
        """Read so many bytes, fewer at the end of the connection."""
        while len(self._buffer) < size and self._receive():
            pass
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def rest(self) -> bytes:
        """Read to the end of the connection."""
        while self._receive():
            pass
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    def comes_within(self, seconds: float) -> bool:
        """Tell whether anything is there to read, or comes in this time."""
        return bool(self._buffer or select.select([self._sock], [], [], seconds)[0])

    def answer(self, method: str = "GET") -> dict[str, Any]:
        """Read one response; `{"status": None}` if the connection ended without one."""
        answer = self.head()
        status = answer["status"]
        if status is None or status == 101:
            return answer
        if status == 100:
            return {**self.answer(method), "continue": "100 Continue came first"}
        body, framing = self._body(method, answer)
        answer["framing"] = framing
        answer["body"] = _readable(body, answer["headers"])
        return answer

    def head(self) -> dict[str, Any]:
        """Read a status line and fields; Date is only checked to be there."""
        raw = self.until(b"\r\n\r\n")
        if not raw:
            return {"status": None}
        first, *lines = raw.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        headers: dict[str, list[str]] = {}
        for name, _, value in (line.partition(":") for line in lines):
            headers.setdefault(name.lower(), []).append(value.strip())
        if "date" in headers:
            headers["date"] = ["…"] * len(headers["date"])
        status, reason = int(rest[:3]), rest[4:]
        return {"version": version, "status": status, "reason": reason, "headers": headers}

    def _body(self, method: str, answer: dict[str, Any]) -> tuple[bytes, str]:
        """Return the body, and how it was framed and ended (RFC 9112 6.3)."""
        headers = answer["headers"]
        if method == "HEAD" or answer["status"] in (204, 304) or answer["status"] < 200:
            return b"", "none"
        if headers.get("transfer-encoding") == ["chunked"]:
            body, whole = self._chunks()
            return body, "chunked" if whole else "chunked, cut"
        if "content-length" in headers:
            size = int(headers["content-length"][0])
            body = self.exactly(size)
            return body, "length" if len(body) == size else "length, cut"
        return self.rest(), "until close"

    def chunk(self) -> bytes | None:
        """Read one chunk, empty for the last; None if the connection ended instead."""
        line = self.until(b"\r\n")
        if not line:
            return None
        size = int(line, 16)
        piece = self.exactly(size + 2)
        return piece[:-2] if len(piece) == size + 2 else None

    def _chunks(self) -> tuple[bytes, bool]:
        pieces = []
        while piece := self.chunk():
            pieces.append(piece)
        return b"".join(pieces), piece is not None

    def after(self, answer: dict[str, Any]) -> str:
        """Say whether the connection serves another request."""
        if answer["status"] is None:
            return "closed"
        if "close" not in answer["headers"].get("connection", [""])[0]:
            self.send(b"GET /plain HTTP/1.1\r\nhost: here\r\n\r\n")
            status = self.answer()["status"]
            return "closed" if status is None else f"serves on: {status}"
        rest = self.rest()
        return f"closed after {plain(rest)}" if rest else "closed"


class WebSocket:
    """A connection that asked for an upgrade."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answer = client.answer()
        fields = self.answer.get("headers", {})
        if "sec-websocket-accept" in fields:
            right = fields["sec-websocket-accept"] == [_ACCEPT]
            fields["sec-websocket-accept"] = "right" if right else "wrong"

    def frame(self, opcode: int, payload: bytes = b"", *, flags: int = FIN) -> None:
        self.client.send(frame(opcode, payload, flags=flags))

    def text(self, text: str) -> None:
        self.frame(TEXT, text.encode())

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self.frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())

    def raw(self) -> tuple[int, bytes] | None:
        """Read a frame: its first octet and its payload; None at the end of the connection."""
        head = self.client.exactly(2)
        if len(head) < 2:
            return None
        size = head[1]
        if size == 126:
            (size,) = struct.unpack("!H", self.client.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.client.exactly(8))
        return head[0], self.client.exactly(size)

    def read(self) -> Any:
        """Read a frame and say what it is; "end" at the end of the connection."""
        found = self.raw()
        if found is None:
            return "end"
        first, payload = found
        name = _NAMES.get(first & 0x0F, "reserved")
        if name == "close":
            if not payload:
                return {"close": None}
            return {"close": struct.unpack("!H", payload[:2])[0], "reason": payload[2:].decode()}
        flags = first & 0xF0
        return {name: plain(payload), **({} if flags == FIN else {"flags": flags})}

    def read_all(self) -> list[Any]:
        """Answer the server's close frame, and read to the end of the connection."""
        found = []
        while (one := self.read()) != "end":
            found.append(one)
            if "close" in one:
                self.close(one["close"])
        return found

    def end(self, code: int | None = 1000, reason: str = "") -> list[Any]:
        """Close, and return what comes then."""
        self.close(code, reason)
        with self.client:
            found = []
            while (one := self.read()) != "end":
                found.append(one)
            return found

    def finish(self, *seen: Any) -> dict[str, Any]:
        """Return all that was seen: the handshake, what was read, and what comes yet."""
        with self.client:
            came = self.read_all() if self.answer["status"] == 101 else []
            return {"handshake": self.answer, "frames": [*seen, *came]}


def frame(opcode: int, payload: bytes = b"", *, flags: int = FIN, masked: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    size = len(payload)
    mask = 0x80 if masked else 0
    first = flags | opcode
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 2**16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + (bytes(4) if masked else b"") + payload


def deflate(data: bytes) -> bytes:
    """Compress as permessage-deflate does (RFC 7692 7.2.1)."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(data: bytes) -> bytes:
    """Undo `deflate`."""
    return zlib.decompressobj(-15).decompress(data + b"\0\0\xff\xff")


def _readable(body: bytes, headers: dict[str, list[str]]) -> Any:
    if headers.get("content-type", [""])[0].startswith("application/json") and body:
        try:
            return json.loads(body)
        except ValueError:
            return f"no JSON: {plain(body)}"
    if len(body) < _SMALL:
        return body.decode("latin-1")
    return f"{len(body)} bytes {digest(body)}"
