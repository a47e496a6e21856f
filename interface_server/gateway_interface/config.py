"""What an interface server can be told."""

from dataclasses import dataclass, field

from gateway_interface.push_api.auth import is_loopback
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError
from gateway_layer.process.addresses import parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one client may make the interface server hold or wait for."""

    max_head_bytes: int = 65_536
    """Request line and headers together; more is answered 431."""

    max_headers: int = 128
    """Header lines of a request; more is answered 431."""

    header_timeout_s: float = 20.0
    """From the first byte of a request, or a new connection, to the end of its head; then 408."""

    keep_alive_timeout_s: float = 20.0
    """How long a connection may idle between two requests."""

    body_timeout_s: float = 60.0
    """How long the next byte of a body that the application wants may take; then 408."""

    send_timeout_s: float = 60.0
    """How long a client may take nothing of what waits for it; then it is cut."""

    response_timeout_s: float = 60.0
    """From a worker's claim to the start of the response; then 504. 0 waits for ever."""

    max_send_buffer_bytes: int = 1_048_576
    """What may wait for one client that takes less than is pushed to it; over it: 1013."""

    window_bytes: int = 262_144
    """Credit of one connection in each direction: payload + 256 bytes an event."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for option, value in (
            ("--max-head", self.max_head_bytes),
            ("--max-headers", self.max_headers),
            ("--window", self.window_bytes),
        ):
            if value < 1:
                raise ConfigError(f"{option} {value}: at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """How WebSocket connections are spoken."""

    max_size: int = 16 * 2**20
    """Largest message, in bytes after inflation; a larger one closes with 1009."""

    ping_interval_s: float = 20.0
    """A ping goes to a client that was silent for so long. 0 sends none."""

    ping_timeout_s: float = 20.0
    """A client whose pong takes longer is gone (1006 to the application). 0 waits for ever."""

    deflate: bool = True
    """Offer permessage-deflate, without context takeover either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceConfig:
    """Everything about one interface server; the defaults are those of `gateway-interface`.

    Raises:
        ConfigError: A value is outside its range; the text names the option.
    """

    bind: tuple[str, ...] = ("127.0.0.1:8000",)
    """`host:port`, `[v6]:port` or `unix:/path`; port 0 lets the system choose."""

    admin_bind: str | None = None
    """Where /healthz and /readyz are served; None: nowhere."""

    push_bind: str | None = None
    """Where the HTTP API for pushing is served; None: nowhere. Never one of `bind`."""

    push_keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(access key id, secret key): who may sign requests to the push API."""

    push_tokens: tuple[str, ...] = field(default=(), repr=False)
    """Bearer tokens for the push API."""

    layer: LayerConfig = field(default_factory=LayerConfig)
    http: str = "auto"
    """Head parser: `httptools`, `h11`, or `auto` (httptools where it is installed)."""

    processes: int = 1
    access_log: bool = True
    routes: tuple[tuple[str, str], ...] = ()
    """(path prefix, pool): paths under the prefix go to that pool; the longest prefix wins."""

    queue_capacity: int = 1000
    """Openings that one queue may hold; when full, 503 with Retry-After."""

    queue_deadline_s: float = 10.0
    """How long an opening may wait for a worker; then 504."""

    graceful_timeout_s: float = 30.0
    """How long SIGTERM waits for what is under way."""

    drain_period_s: float = 0.0
    """Over how long SIGTERM closes WebSockets with 1012, evenly, so that their clients do not all
    come back at once; 0: at once. Within `graceful_timeout_s`."""

    resume_timeout_s: float = 30.0
    """How long a WebSocket whose instance is gone waits for another worker; then 1013."""

    redis_grace_s: float = 30.0
    """How long sockets stay open without Redis; then WebSockets are closed with 1013."""

    retry_body_bytes: int = 65_536
    """An idempotent request whose worker died is repeated if its body is no larger; with 0 no
    request is."""

    retry_idempotency_key: bool = False
    """Repeat requests of any method that carry an Idempotency-Key, too."""

    sse_resume: bool = True
    """Have another worker go on with an event stream (`text/event-stream`) whose worker is gone,
    within the same response; False: the response is cut, and the client comes back by itself."""

    limits: Limits = field(default_factory=Limits)
    websocket: WebSocketOptions = field(default_factory=WebSocketOptions)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.http not in ("auto", "h11", "httptools"):
            raise ConfigError(f"--http {self.http!r}: one of auto, h11, httptools")
        if self.processes < 1:
            raise ConfigError(f"--processes {self.processes}: at least 1")
        if not self.bind:
            raise ConfigError("--bind: at least one address")
        if not 1 <= self.queue_capacity <= 1_000_000:
            raise ConfigError(f"--queue-capacity {self.queue_capacity}: from 1 to 1000000")
        if self.queue_deadline_s <= 0:
            raise ConfigError(f"--queue-deadline {self.queue_deadline_s:g}: more than 0 seconds")
        self._check_push()
        for prefix, pool in self.routes:
            if not prefix.startswith("/") or not pool:
                raise ConfigError(f"--route {prefix}={pool}: as in /admin=admin")

    def _check_push(self) -> None:
        """Refuse a push API that anybody could use, and credentials that nobody could."""
        if not all(access and secret for access, secret in self.push_keys):
            raise ConfigError("--push-key: as in ACCESS=SECRET, neither of them empty")
        if len(dict(self.push_keys)) != len(self.push_keys):
            raise ConfigError("--push-key: an access key is given twice")
        if any(not token or not token.isprintable() or " " in token for token in self.push_tokens):
            raise ConfigError("--push-token: visible characters only, at least one")
        if self.push_bind is None:
            if self.push_keys or self.push_tokens:
                raise ConfigError("--push-key and --push-token need --push-bind")
            return
        address = parse_address(self.push_bind, "--push-bind")
        is_local = bool(address.path) or is_loopback(address.host)
        if not (is_local or self.push_keys or self.push_tokens):
            raise ConfigError(
                f"--push-bind {self.push_bind}: without --push-key and --push-token only on "
                "loopback or a Unix socket"
            )
