"""Addresses to listen on: read, bound, and explained where that cannot be."""

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway_layer.errors import ConfigError, GatewayError

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


def parse_address(text: str, option: str = "--bind") -> Address:
    """Read `host:port`, `[v6]:port` or `unix:/path`.

    Args:
        text: The address.
        option: The one that it was given with, for the message.

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
        raise ConfigError(
            f"{option} {text}: write host:port, as in 127.0.0.1:8000, [::1]:8000, "
            "or unix:/path, as in unix:/run/gw.sock"
        )
    if ":" in bare and bare == host:
        raise ConfigError(f"{option} {text}: an IPv6 address stands in brackets, as in [::1]:8000")
    return Address(text, host=bare, port=int(port))


def check_free(bind: Sequence[str]) -> None:
    """Try whether the addresses can be listened on now; none stays bound.

    Raises:
        ConfigError: An address that is none.
        BindError: It is taken, not allowed or not of this machine.
    """
    for address in [parse_address(text) for text in bind]:
        with explained(address):
            if address.path:
                remove_stale(address)
            else:
                bind_tcp(*resolve(address), shared=False).close()


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn what the system raises for this address into a BindError of one line."""
    try:
        yield
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


def resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the first address of a name, IPv4 before IPv6, since one name is one socket here."""
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(where[0]), address.port)


def bind_tcp(
    family: socket.AddressFamily, where: tuple[str, int], *, shared: bool
) -> socket.socket:
    """Bind without listening; `shared`: others of this user may bind the same with SO_REUSEPORT."""
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


def remove_stale(address: Address) -> None:
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
