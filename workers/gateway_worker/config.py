"""What a worker can be told."""

import re
from dataclasses import dataclass, field

from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError

_CHANNEL = re.compile(r"[A-Za-z0-9_.-]{1,99}")
_PROTOCOL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_NOT_CONNECTIONS = ("lifespan", "channel")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Everything about one worker process; the defaults are those of `gateway-worker`.

    Raises:
        ConfigError: A value is outside its range; the text names the option.
    """

    app: str
    """`module:attribute`; the attribute may be dotted."""

    app_dir: str = "."
    """Put in front of the import path."""

    factory: bool = False
    """The attribute is called without arguments and returns the application."""

    interface: str = "auto"
    """`asgi3`, `asgi2` or `wsgi`; `auto`: tell by its arguments (`apps.detect_interface`)."""

    threads: int = 10
    """Requests that a WSGI application serves at the same time in one process."""

    layer: LayerConfig = field(default_factory=LayerConfig)
    processes: int = 1
    queue: str = "default"
    """The pool whose openings this worker takes; see the interface's `--route`."""

    channels: tuple[str, ...] = ()
    """Background channels to read in place of connections; empty: serve connections."""

    protocols: tuple[str, ...] = ("http", "websocket")
    """Kinds of connections to serve: the types of their scopes. Beside those two, the names of
    protocols for which there is an interface server."""

    concurrency: int = 1000
    """HTTP requests under way in one process at most."""

    websocket_concurrency: int = 10_000
    """Connections open in one process at most, of each protocol that is not HTTP."""

    lifespan: str = "auto"
    """`on`: an application without lifespan does not start; `off`: it is never asked."""

    lifespan_timeout_s: float = 60.0
    """How long start-up and shutdown of the application may take, each."""

    window_bytes: int = 262_144
    """Credit that a connection's client has: payload + 256 bytes an event not yet consumed."""

    on_worker_exit: str = "auto"
    """What becomes of open WebSockets when a worker stops or dies: `resume` gives them to another,
    `close` closes them with 1012, `auto` resumes those whose `websocket.accept` has `resume`."""

    hibernate_after_s: float = 0.0
    """Let go of the instance of a WebSocket that was idle for so long; its next event opens a new
    one with its state. Only of those that can be resumed. 0: never."""

    limit_max_requests: int = 0
    """Connections served before the process is replaced; 0: never."""

    limit_max_requests_jitter: int = 0
    """At most so many are added to the limit, drawn at start, so that workers do not go at once."""

    graceful_timeout_s: float = 30.0
    """How long SIGTERM waits for what is under way."""

    reload: bool = False
    """Restart when a Python file under `reload_dirs` changes."""

    reload_dirs: tuple[str, ...] = ()
    """Folders to watch; empty: `app_dir`."""

    debug: bool = False
    """Report, with its stack, what keeps the event loop longer than 100 ms."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.lifespan not in ("auto", "on", "off"):
            raise ConfigError(f"--lifespan {self.lifespan!r}: one of auto, on, off")
        if self.on_worker_exit not in ("auto", "resume", "close"):
            raise ConfigError(f"--on-worker-exit {self.on_worker_exit!r}: auto, resume or close")
        if self.interface not in ("auto", "asgi3", "asgi2", "wsgi"):
            raise ConfigError(f"--interface {self.interface!r}: one of auto, asgi3, asgi2, wsgi")
        for option, value in (
            ("--processes", self.processes),
            ("--threads", self.threads),
            ("--concurrency", self.concurrency),
            ("--websocket-concurrency", self.websocket_concurrency),
            ("--window", self.window_bytes),
        ):
            if value < 1:
                raise ConfigError(f"{option} {value}: at least 1")
        if not self.queue:
            raise ConfigError("--queue: a name is needed")
        for name in self.channels:
            if not _CHANNEL.fullmatch(name):
                raise ConfigError(
                    f"--channels {name!r}: fewer than 100 letters, digits, '-', '_' or '.'"
                )
        if len(set(self.channels)) < len(self.channels):
            raise ConfigError("--channels: a channel is named twice")
        self._check_protocols()

    def _check_protocols(self) -> None:
        """Refuse what is the name of no protocol."""
        for name in self.protocols:
            if not _PROTOCOL.fullmatch(name) or name in _NOT_CONNECTIONS:
                raise ConfigError(
                    f"--protocols {name!r}: http, websocket, or the name of another protocol: "
                    "at most 32 of a-z, 0-9, '-' and '_'"
                )
        if not self.protocols:
            raise ConfigError("--protocols: at least one")
        if len(set(self.protocols)) < len(self.protocols):
            raise ConfigError("--protocols: a protocol is named twice")
