"""From the URL of a Redis to what a connection needs."""

from dataclasses import dataclass, field
from ssl import (
    CERT_NONE,
    CERT_OPTIONAL,
    CERT_REQUIRED,
    SSLContext,
    TLSVersion,
    create_default_context,
)
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from gateway_layer.errors import ConfigError

_COMMON_OPTIONS = frozenset({"db", "username", "password", "client_name"})
_TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_password",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_min_version",
    }
)
_CERT_REQS = {
    "none": CERT_NONE,
    "optional": CERT_OPTIONAL,
    "required": CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """One Redis server and how to be let in."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    """Of a Unix socket; when it is given, host and port mean nothing."""

    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl: SSLContext | None = field(default=None, repr=False)
    """None: no TLS."""

    client_name: str = ""
    """In front of each connection's name in CLIENT LIST."""

    url_for_logs: str = ""
    """The URL without password and TLS options."""

    def same_server(self, other: "RedisAddress | None") -> bool:
        """Whether both name the same database of the same server, as far as names tell."""
        return other is not None and self._place == other._place

    @property
    def _place(self) -> tuple[object, ...]:
        if self.path is not None:
            return self.path, self.db
        host = "127.0.0.1" if self.host == "localhost" else self.host
        return host, self.port, self.db


def parse_address(url: str) -> RedisAddress:
    """Read a `redis://`, `rediss://` or `unix://` URL as redis-py does, but strictly.

    Args:
        url: User, password and database as usual; options in the query: db, username, password,
            client_name, and for rediss:// redis-py's ssl_….

    Raises:
        ConfigError: In one line, without the password: the URL is nonsense, an option unknown, or
            a certificate cannot be read.
    """
    try:
        # redis-py reads the URL after we have refused what it would silently pass over.
        parts = _check_url(url)
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigError(f"--redis: {error}") from None
    secure = parts.scheme == "rediss"
    address = RedisAddress(
        host=options.get("host", "localhost"),
        port=options.get("port", 6379),
        path=options.get("path"),
        db=options.get("db", 0),
        username=options.get("username"),
        password=options.get("password"),
        ssl=_tls_context(options) if secure else None,
        client_name=options.get("client_name", ""),
        url_for_logs=_hide_password(parts.scheme, options),
    )
    if address.db < 0:
        raise ConfigError(f"--redis: database {address.db}: from 0 up")
    return address


def sync_client(url: str, *, timeout_s: float = 2.0) -> redis.Redis:
    """Make a blocking redis-py client for work off the hot path: leases, scripts, checks.

    Args:
        url: As for `parse_address`.
        timeout_s: Longest wait for a connection and for a reply, each.

    Raises:
        ConfigError: As `parse_address`. Nothing connects before the first command.
    """
    parse_address(url)
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        protocol=2,
        # A connection that died while idle is worth one new try; a time-out is an answer.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def _check_url(url: str) -> SplitResult:
    """Refuse what redis-py would read as something else.

    Raises:
        ValueError: With a text that holds no part of the URL that may be a password.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - the property raises, with a text that may hold a password
    except ValueError:
        raise ValueError(
            "host or port of the URL cannot be read (is a '/', '@' or '#' of the password not "
            "percent-encoded?)"
        ) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("the URL must begin with redis://, rediss:// or unix://")
    if parts.fragment:
        raise ValueError("the URL has a '#'; in a password it is written %23")
    if parts.scheme == "unix":
        if parts.hostname or parts.path in ("", "/"):
            raise ValueError("a Unix socket is written unix:///path/to/redis.sock")
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError("the path of the URL must be the number of a database, as in /0")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        _check_option(name, value, parts.scheme)
    return parts


def _check_option(name: str, value: str, scheme: str) -> None:
    if name in _TLS_OPTIONS and scheme != "rediss":
        raise ValueError(f"option {name} of the URL needs rediss://")
    if name not in _TLS_OPTIONS and name not in _COMMON_OPTIONS:
        raise ValueError(f"unknown option {name} in the URL")
    if not value:
        raise ValueError(f"option {name} in the URL has no value")


def _tls_context(options: dict[str, Any]) -> SSLContext:
    """Build the context that redis-py's SSLConnection would build from the same options."""
    cert_reqs = options.get("ssl_cert_reqs", "required")
    if cert_reqs not in _CERT_REQS:
        raise ConfigError(f"--redis: ssl_cert_reqs {cert_reqs}: one of none, optional, required")
    context = create_default_context()
    # In this order: a context that checks names cannot be told not to verify at all.
    context.check_hostname = cert_reqs != "none" and options.get("ssl_check_hostname", True)
    context.verify_mode = _CERT_REQS[cert_reqs]
    certfile, keyfile = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if keyfile and not certfile:
        raise ConfigError("--redis: ssl_keyfile needs ssl_certfile")
    cafile, capath = options.get("ssl_ca_certs"), options.get("ssl_ca_path")
    try:
        if certfile:
            context.load_cert_chain(certfile, keyfile, options.get("ssl_password"))
        if cafile or capath or options.get("ssl_ca_data"):
            context.load_verify_locations(cafile, capath, options.get("ssl_ca_data"))
        if "ssl_min_version" in options:
            context.minimum_version = TLSVersion(options["ssl_min_version"])
        if "ssl_ciphers" in options:
            context.set_ciphers(options["ssl_ciphers"])
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = ", ".join(str(name) for name in (certfile, keyfile, cafile, capath) if name)
        raise ConfigError(f"--redis: TLS options: {error} ({names})") from error
    return context


def _hide_password(scheme: str, options: dict[str, Any]) -> str:
    user = quote(options.get("username", ""), safe="")
    secret = ":***" if options.get("password") else ""
    login = f"{user}{secret}@" if user or secret else ""
    db = options.get("db", 0)
    if scheme == "unix":
        return f"unix://{login}{options['path']}" + (f"?db={db}" if db else "")
    host = options.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{login}{host}:{options.get('port', 6379)}/{db}"
