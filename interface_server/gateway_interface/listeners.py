"""Bind the listening sockets in the supervising parent, so that a child's death closes none."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway_layer.process.addresses import (
    Address,
    bind_tcp,
    explained,
    parse_address,
    remove_stale,
    resolve,
)

BACKLOG = 2048
"""Connections that wait to be accepted; the kernel's somaxconn (4096 on Linux) is the limit."""


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


def _open(listeners: Listeners, address: Address, processes: int) -> list[socket.socket]:
    with explained(address):
        if address.path:
            sockets = [_open_unix(address)]
            listeners.add_file(address.path)
            return sockets
        return _open_tcp(address, processes)


def _open_tcp(address: Address, processes: int) -> list[socket.socket]:
    family, where = resolve(address)
    if processes == 1:
        return [_listen_tcp(family, where, shared=False)]
    # SO_REUSEPORT would quietly share a port with another server of the same user; a socket
    # without it is refused, and learns the port where the system chooses.
    with bind_tcp(family, where, shared=False) as probe:
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


def _listen_tcp(
    family: socket.AddressFamily, where: tuple[str, int], *, shared: bool
) -> socket.socket:
    sock = bind_tcp(family, where, shared=shared)
    try:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(address: Address) -> socket.socket:
    """Listen on a path; a socket that a dead process left there is replaced."""
    remove_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address.path)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


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
