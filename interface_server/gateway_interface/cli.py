"""The command `gateway-interface`: hold the sockets of HTTP and WebSocket clients."""

import gateway_layer.process.interrupts  # noqa: F401 (before what takes long to import)

# isort: split
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click

from gateway_interface.config import InterfaceConfig, Limits, WebSocketOptions
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError
from gateway_layer.process.options import (
    GatewayCommand,
    bind_help,
    control_option,
    count_of,
    field_option,
    fields_from,
    layer_options,
)

_WS = "ws_"


def config_from(params: Mapping[str, Any]) -> InterfaceConfig:
    """Build the configuration from the values of the options.

    Raises:
        ConfigError: A value that cannot work; the text names the option.
    """
    fields = fields_from(InterfaceConfig, params)
    fields["routes"] = _routes(params["route"])
    fields["push_keys"] = _push_keys(params["push_key"])
    return InterfaceConfig(
        **fields,
        layer=LayerConfig(**fields_from(LayerConfig, params)),
        limits=Limits(**fields_from(Limits, params)),
        websocket=WebSocketOptions(**fields_from(WebSocketOptions, params, _WS)),
    )


def run(config: InterfaceConfig, control_fd: int | None = None) -> int:
    """Supervise an interface server until it has drained.

    Args:
        config: Of all its processes.
        control_fd: See `Supervisor.control_fd`.

    Returns:
        The exit status.

    Raises:
        BindError: An address is taken or not allowed.
        ConfigError: An address, or the URL of Redis, is none.
    """
    # Here, so that --help and mistakes answer at once.
    from gateway_interface.listeners import Listeners, open_listeners
    from gateway_interface.server import InterfaceServer
    from gateway_layer.names import new_pid
    from gateway_layer.process.child import ChildContext, run_server
    from gateway_layer.process.supervisor import Supervisor
    from gateway_layer.redis.address import parse_address
    from gateway_layer.redis.liveness import announce_death

    def serve(listeners: Listeners, context: ChildContext) -> int:
        sockets = listeners.keep_only(context.index)
        # One process has the admin address, whichever is in the first place at the time.
        admin_socket = listeners.admin if context.index == 0 else None
        push_socket = listeners.push[context.index] if listeners.push else None
        make_server = partial(
            InterfaceServer,
            config,
            sockets=sockets,
            admin_socket=admin_socket,
            push_socket=push_socket,
            pid=context.pid,
            parent=context.parent,
        )
        return run_server(make_server, context)

    parse_address(config.layer.redis)  # a wrong one is said once, before anything is bound
    listeners = open_listeners(config.bind, config.admin_bind, config.processes, config.push_bind)
    ready_text = f"{' '.join(listeners.urls)} ({count_of(config.processes, 'process')})"
    if listeners.push_url:
        ready_text += f", push API on {listeners.push_url}"
    try:
        return Supervisor(
            name="gateway-interface",
            run_child=partial(serve, listeners),
            processes=config.processes,
            graceful_timeout_s=config.graceful_timeout_s,
            ready_text=ready_text,
            parent=new_pid(),
            on_child_death=partial(announce_death, config.layer),
            on_stop=listeners.close,
            control_fd=control_fd,
        ).run()
    finally:
        listeners.close()


def _routes(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `PREFIX=POOL`, the last `=` being the one that parts them."""
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"--route {text}: as in /admin=admin")
    return tuple((prefix, pool) for prefix, _, pool in (text.rpartition("=") for text in texts))


def _push_keys(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `ACCESS=SECRET`; a secret may hold `=`. No error shows any of it."""
    if not all("=" in text for text in texts):
        raise ConfigError("--push-key: as in ACCESS=SECRET")
    return tuple((access, secret) for access, _, secret in (text.partition("=") for text in texts))


def _main(control_fd: int | None, log_level: str, **params: Any) -> int:
    """Run the command."""
    from gateway_layer.process.logs import set_up_logging

    set_up_logging(log_level)
    return run(config_from(params), control_fd)


def _interface(field: str, help_text: str, section: str, **attrs: Any) -> click.Parameter:
    return field_option(InterfaceConfig, field, help_text, section, **attrs)


def _limit(field: str, help_text: str, **attrs: Any) -> click.Parameter:
    return field_option(Limits, field, help_text, "Limits of one client", **attrs)


def _websocket(field: str, help_text: str, **attrs: Any) -> click.Parameter:
    return field_option(WebSocketOptions, field, help_text, "WebSocket", prefix=_WS, **attrs)


_LISTEN = "Listening"
_PUSH = "Push API"
_QUEUES = "Queues"
_SURVIVAL = "When a worker or Redis is gone"

main = GatewayCommand(
    "gateway-interface",
    help="""Hold the sockets of HTTP and WebSocket clients and hand their events to workers.

    Every option can also be given as the variable that stands beside it; values of an option that
    may be repeated are then parted by spaces.
    """,
    callback=_main,
    params=[
        _interface("bind", bind_help(), _LISTEN, metavar="ADDRESS"),
        _interface(
            "admin_bind",
            "Where to serve /healthz and /readyz; nowhere if not given",
            _LISTEN,
            metavar="ADDRESS",
        ),
        _interface("processes", "Processes that share the addresses", _LISTEN),
        _interface(
            "http",
            "Parser of heads; auto: httptools where it is installed",
            _LISTEN,
            type=click.Choice(["auto", "h11", "httptools"]),
        ),
        _interface("access_log", "Write a line for each request to stdout", _LISTEN),
        _interface(
            "graceful_timeout_s",
            "How long SIGTERM waits for what is under way",
            _LISTEN,
        ),
        _interface(
            "drain_period_s",
            "Over how long SIGTERM closes WebSockets, evenly; 0: at once",
            _LISTEN,
        ),
        _interface(
            "push_bind",
            "Where to serve the HTTP API for pushing, on no other listener; nowhere if not given",
            _PUSH,
            metavar="ADDRESS",
        ),
        _interface(
            "push_keys",
            "Access key and secret that may sign requests (SigV4); may be repeated",
            _PUSH,
            metavar="ACCESS=SECRET",
        ),
        _interface(
            "push_tokens", "Bearer token that may push; may be repeated", _PUSH, metavar="TOKEN"
        ),
        *layer_options(),
        _interface(
            "routes",
            "Paths under a prefix go to that pool of workers, the longest prefix wins; "
            "may be repeated",
            _QUEUES,
            metavar="PREFIX=POOL",
        ),
        _interface(
            "queue_capacity",
            "Requests that may wait in one queue; beyond it 503 with Retry-After",
            _QUEUES,
        ),
        _interface(
            "queue_deadline_s",
            "How long a request may wait for a worker; then 504",
            _QUEUES,
        ),
        _interface(
            "resume_timeout_s",
            "How long a WebSocket waits for another worker when its own is gone; then 1013",
            _SURVIVAL,
        ),
        _interface(
            "redis_grace_s",
            "How long sockets stay open without Redis; then 1013",
            _SURVIVAL,
        ),
        _interface(
            "retry_body_bytes",
            "Largest body of an idempotent request that is repeated when its worker dies; 0: no "
            "request is, with or without a body",
            _SURVIVAL,
        ),
        _interface(
            "retry_idempotency_key",
            "Repeat any request with an Idempotency-Key as if it were idempotent",
            _SURVIVAL,
        ),
        _interface(
            "sse_resume",
            "Go on with an event stream on another worker, by Last-Event-ID, in the same response",
            _SURVIVAL,
        ),
        _limit("max_head_bytes", "Request line and headers together; then 431"),
        _limit("max_headers", "Header lines of a request; then 431"),
        _limit("header_timeout_s", "Until the head of a request is complete; then 408"),
        _limit("keep_alive_timeout_s", "Idle time between two requests"),
        _limit("body_timeout_s", "Until the next byte of an awaited body; then 408"),
        _limit("send_timeout_s", "How long a client may read nothing; then it is cut"),
        _limit(
            "response_timeout_s",
            "From a worker's claim to its response; then 504; 0: for ever",
        ),
        _limit(
            "max_send_buffer_bytes",
            "What may wait for a client that takes less than is pushed to it; then 1013",
        ),
        _limit("window_bytes", "What may be under way in each direction"),
        _websocket("max_size", "Largest message; then close 1009", metavar="BYTES"),
        _websocket("ping_interval_s", "Silence after which to ping; 0: never"),
        _websocket("ping_timeout_s", "How long a pong may take; 0: for ever"),
        _websocket("deflate", "Offer permessage-deflate"),
        control_option(),
    ],
)
