"""Bind the listening sockets in the supervising parent, so that a child's death closes none."""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway_layer.errors import ConfigError, GatewayError

BACKLOG = 2048
"""Connections that wait to be accepted; the kernel's somaxconn (4096 on Linux) is the limit."""

_PROBE_TIMEOUT_S = 1.0


class BindError(GatewayError):
    """An address that cannot be listened on, such as a port that is taken; exit status 1."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a path of a Unix socket, or a host and a port."""

    text: str
    """As it was given, for messages."""

    path: str = ""
    host: str = ""
    port: int = 0


@dataclass(slots=True)
class Listeners:
    """The sockets of all processes of one interface server.

    Attributes:
        by_process: For each process index, the sockets that it accepts on.
        admin: The socket of the admin address, which the process of index 0 serves.
        push: For each process index, the socket of the push API; empty where there is none.
        urls: What to open: `http://127.0.0.1:8000` or `unix:/path`, in the order of `bind`.
        push_url: The same for the push API; empty where there is none.
    """

    by_process: list[list[socket.socket]]
    admin: socket.socket | None = None
    push: list[socket.socket] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    push_url: str = ""
    _files: list[tuple[str, int]] = field(default_factory=list)

    def close(self) -> None:
        """Close every socket and remove the files of Unix sockets; again: nothing.

        In the parent, at the start of a drain: while it held a socket open, the system would take
        connections that no child accepts any more.
        """
        for sock in {sock for sockets in (*self.by_process, self.push) for sock in sockets}:
            sock.close()
        if self.admin is not None:
            self.admin.close()
        for path, inode in self._files:
            _remove_file(path, inode)
        self._files.clear()

    def keep_only(self, index: int) -> list[socket.socket]:
        """In the child of that index: close the other children's sockets and return its own."""
        mine = self.by_process[index]
        kept = {*mine, *self.push[index : index + 1]}
        for sockets in (*self.by_process, self.push):
            for sock in sockets:
                if sock not in kept:
                    sock.close()
        return mine

    def add_file(self, path: str) -> None:
        """Remember the file of a Unix socket, to remove it if it still is ours then."""
        self._files.append((path, os.stat(path).st_ino))


def open_listeners(
    bind: Sequence[str], admin_bind: str | None, processes: int, push_bind: str | None = None
) -> Listeners:
    """Bind and listen on every address.

    A TCP address has one SO_REUSEPORT socket for each process, so the kernel spreads connections
    over them and a process started anew finds the backlog of the one before. A Unix socket is one
    for all.

    Args:
        bind: `host:port`, `[v6]:port` or `unix:/path`; port 0 lets the system choose one port,
            the same for all processes.
        admin_bind: As one of `bind`, or None.
        processes: 1 or more.
        push_bind: As one of `bind`, or None.

    Raises:
        ConfigError: An address that is none.
        BindError: It is taken, not allowed or not of this machine. Nothing stays open.
    """
    addresses = [parse_address(text) for text in bind]
    admin = parse_address(admin_bind, "--admin-bind") if admin_bind is not None else None
    push = parse_address(push_bind, "--push-bind") if push_bind is not None else None
    listeners = Listeners([[] for _ in range(processes)])
    try:
        for address in addresses:
            sockets = _open(listeners, address, processes)
            for index in range(processes):
                listeners.by_process[index].append(sockets[index % len(sockets)])
            listeners.urls.append(_url(address, sockets[0]))
        if admin is not None:
            listeners.admin = _open(listeners, admin, 1)[0]
        if push is not None:
            # Served by all, so that pushing loads every process alike.
            sockets = _open(listeners, push, processes)
            listeners.push = [sockets[index % len(sockets)] for index in range(processes)]
            listeners.push_url = _url(push, sockets[0])
    except BaseException:
        listeners.close()
        raise
    return listeners


def parse_address(text: str, option: str = "--bind") -> Address:
    """Read `host:port`, `[v6]:port` or `unix:/path`.

    Args:
        text: The address.
        option: Named in errors.

    Raises:
        ConfigError: It is none of them.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ConfigError(f"{option} {text}: a path must follow unix:")
        return Address(text, path=path)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"{option} {text}: as in 127.0.0.1:8000, [::1]:8000 or unix:/run/gw.sock")
    if ":" in bare and bare == host:
        raise ConfigError(f"{option} {text}: an IPv6 address stands in brackets, as in [::1]:8000")
    return Address(text, host=bare, port=int(port))


def _open(listeners: Listeners, address: Address, processes: int) -> list[socket.socket]:
    try:
        if address.path:
            sockets = [_open_unix(address)]
            listeners.add_file(address.path)
            return sockets
        return _open_tcp(address, processes)
    except socket.gaierror as error:
        raise BindError(f"{address.text} is not an address of this machine") from error
    except OSError as error:
        raise BindError(_why_not(address, error)) from error


def _why_not(address: Address, error: OSError) -> str:
    """Say in one line why an address cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        return f"{address.text} is already in use"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.text} is not an address of this machine"
    return f"{address.text}: {(error.strerror or str(error)).lower()}"


def _open_tcp(address: Address, processes: int) -> list[socket.socket]:
    family, where = _resolve(address)
    if processes == 1:
        return [_listen_tcp(family, where, shared=False)]
    # SO_REUSEPORT would quietly share a port with another server of the same user; a socket
    # without it is refused, and learns the port where the system chooses.
    with _bind_tcp(family, where, shared=False) as probe:
        where = (where[0], probe.getsockname()[1])
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < processes:
            sockets.append(_listen_tcp(family, where, shared=True))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the first address of a name, IPv4 before IPv6, since one name is one socket here."""
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(where[0]), address.port)


def _bind_tcp(
    family: socket.AddressFamily, where: tuple[str, int], *, shared: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 may be beside it
        sock.bind(where)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_tcp(
    family: socket.AddressFamily, where: tuple[str, int], *, shared: bool
) -> socket.socket:
    sock = _bind_tcp(family, where, shared=shared)
    try:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(address: Address) -> socket.socket:
    """Listen on a path; a socket that a dead process left there is replaced."""
    _remove_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address.path)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(address: Address) -> None:
    """Remove what is at the path if it is a socket on which nobody answers.

    Raises:
        BindError: Somebody answers, or it is no socket.
    """
    try:
        mode = os.stat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(f"{address.text} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            Path(address.path).unlink(missing_ok=True)
            return
        except TimeoutError:
            pass  # its backlog is full: somebody is there
    raise BindError(f"{address.text} is already in use")


def _remove_file(path: str, inode: int) -> None:
    """Remove a socket's file unless another process has put its own there meanwhile."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        return  # gone, or its folder is not ours any more: nothing to clean


def _url(address: Address, sock: socket.socket) -> str:
    if address.path:
        return f"unix:{address.path}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{host}:{sock.getsockname()[1]}"
