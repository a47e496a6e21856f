"""The command `gateway-worker`: run an application for the clients of interface servers."""

import gateway_layer.process.interrupts  # noqa: F401 (before what takes long to import)

# isort: split
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from gateway_layer.config import LayerConfig
from gateway_layer.process.options import (
    GatewayCommand,
    control_option,
    count_of,
    field_option,
    fields_from,
    layer_options,
)
from gateway_worker.config import WorkerConfig


def config_from(params: Mapping[str, Any]) -> WorkerConfig:
    """Build the configuration from the values of the options.

    Raises:
        ConfigError: A value that cannot work; the text names the option.
    """
    layer = LayerConfig(**fields_from(LayerConfig, params))
    return WorkerConfig(**fields_from(WorkerConfig, params), layer=layer)


def check(config: WorkerConfig) -> tuple[str, ...]:
    """Refuse what cannot work on this machine, before anything is started.

    Returns:
        The folders to watch; empty without `reload`.

    Raises:
        ConfigError: A folder that is none, or a URL of Redis that is none.
    """
    from gateway_layer.process.reload import check_folders
    from gateway_layer.redis.address import parse_address

    parse_address(config.layer.redis)
    app_dir = check_folders("--app-dir", (config.app_dir,))
    if not config.reload:
        return ()
    return check_folders("--reload-dir", config.reload_dirs) or app_dir


def run(config: WorkerConfig, control_fd: int | None = None) -> int:
    """Supervise worker processes until they have drained.

    Args:
        config: Of all of them.
        control_fd: See `Supervisor.control_fd`.

    Returns:
        The exit status.

    Raises:
        ConfigError: As from `check`.
    """
    # Here, so that --help and mistakes answer at once. The application itself is imported by
    # the children only: a change of it needs no new parent.
    from gateway_layer.names import new_pid
    from gateway_layer.process.child import ChildContext, Server, run_server
    from gateway_layer.process.places import EXIT_FAILURE
    from gateway_layer.process.supervisor import KILL_MARGIN_S, Supervisor
    from gateway_layer.redis.liveness import announce_death
    from gateway_worker.apps import LoadError
    from gateway_worker.worker import Worker

    def serve(context: ChildContext) -> int:
        # The application, and what it starts, find the gateway's Redis where --redis put it.
        os.environ["GATEWAY_REDIS"] = config.layer.redis
        os.environ["GATEWAY_NAMESPACE"] = config.layer.namespace
        make_server: Callable[[], Server]
        if config.channels:
            from gateway_worker.channels_worker import ChannelsWorker

            make_server = partial(ChannelsWorker, config)
        else:
            make_server = partial(Worker, config, pid=context.pid, parent=context.parent)
        if config.debug:
            from gateway_worker.debug import WatchedServer

            make_server = partial(WatchedServer, make_server)
        try:
            return run_server(make_server, context)
        except LoadError as error:
            context.fail(f"gateway-worker: {error}\n{error.details}")
            return EXIT_FAILURE

    reload_folders = check(config)
    return Supervisor(
        name="gateway-worker",
        run_child=serve,
        processes=config.processes,
        graceful_timeout_s=config.graceful_timeout_s,
        kill_margin_s=KILL_MARGIN_S + config.lifespan_timeout_s,  # the application's shutdown
        ready_text=f"{config.app} ({count_of(config.processes, 'process')})",
        parent=new_pid(),
        on_child_death=partial(announce_death, config.layer),
        on_stop=lambda: None,
        reload_folders=reload_folders,
        control_fd=control_fd,
    ).run()


def _main(control_fd: int | None, log_level: str, **params: Any) -> int:
    """Run the command."""
    from gateway_layer.process.logs import set_up_logging

    set_up_logging(log_level)
    return run(config_from(params), control_fd)


_PROCESSES = "Processes"


def app_options() -> list[click.Parameter]:
    """Return the argument and the options that say which application to run, and how."""
    section = "Application"
    return [
        click.Argument(["app"], metavar="MODULE:ATTRIBUTE", envvar="GATEWAY_APP"),
        field_option(
            WorkerConfig,
            "app_dir",
            "Folder to put in front of the import path",
            section,
            metavar="FOLDER",
        ),
        field_option(
            WorkerConfig,
            "factory",
            "The attribute is a function without arguments that returns the application",
            section,
        ),
        field_option(
            WorkerConfig,
            "interface",
            "What the application speaks; auto: tell by its arguments",
            section,
            type=click.Choice(["auto", "asgi3", "asgi2", "wsgi"]),
        ),
        field_option(
            WorkerConfig,
            "lifespan",
            "on: an application without lifespan does not start; off: it is never asked",
            section,
            type=click.Choice(["auto", "on", "off"]),
        ),
        field_option(
            WorkerConfig,
            "debug",
            "Report, with its stack, what keeps the event loop longer than 100 ms",
            section,
        ),
    ]


def on_worker_exit_option(section: str = _PROCESSES, **attrs: Any) -> click.Parameter:
    """Return the option that says what becomes of WebSockets when a worker goes."""
    return field_option(
        WorkerConfig,
        "on_worker_exit",
        "What becomes of open WebSockets; auto: resume those whose accept says so",
        section,
        type=click.Choice(["auto", "resume", "close"]),
        **attrs,
    )


def _worker(field: str, help_text: str, section: str, **attrs: Any) -> click.Parameter:
    return field_option(WorkerConfig, field, help_text, section, **attrs)


def _split_names(
    _context: click.Context, _param: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """Take names parted by commas, as well as the option given several times."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def channels_option(help_text: str, section: str) -> click.Parameter:
    """Return the option that names background channels."""
    return field_option(
        WorkerConfig,
        "channels",
        help_text,
        section,
        metavar="NAME,…",
        callback=_split_names,
    )


_LOAD = "Load"
_DEVELOPMENT = "Development"

main = GatewayCommand(
    "gateway-worker",
    help="""Run an ASGI or WSGI application for the clients of interface servers.

    MODULE:ATTRIBUTE names the application, as in examples.hello:app; the attribute may be dotted.
    Every option can also be given as the variable that stands beside it (the application as
    GATEWAY_APP); values of an option that may be repeated are then parted by spaces.
    """,
    callback=_main,
    params=[
        *app_options(),
        _worker(
            "lifespan_timeout_s",
            "How long start-up and shutdown of the application may take, each",
            "Application",
        ),
        on_worker_exit_option(),
        _worker(
            "hibernate_after_s",
            "Let go of the instance of a WebSocket that idles for so long; 0: never",
            _PROCESSES,
        ),
        _worker("threads", "Requests that a WSGI application serves at a time", "Application"),
        _worker("processes", "Processes, each with the application", _PROCESSES),
        _worker(
            "limit_max_requests",
            "Connections after which a process is replaced; 0: never",
            _PROCESSES,
        ),
        _worker(
            "limit_max_requests_jitter",
            "At most so many more, drawn at start, so that not all are replaced at once",
            _PROCESSES,
        ),
        _worker(
            "graceful_timeout_s",
            "How long SIGTERM waits for what is under way",
            _PROCESSES,
        ),
        *layer_options(),
        channels_option(
            "Read these background channels and serve no connections; may be repeated", _LOAD
        ),
        _worker(
            "protocols",
            "Serve these connections: http, websocket, or a protocol of its own; may be repeated",
            _LOAD,
            metavar="NAME,…",
            callback=_split_names,
        ),
        _worker("queue", "Pool to work for; see --route of gateway-interface", _LOAD),
        _worker("concurrency", "HTTP requests under way in one process at most", _LOAD),
        _worker(
            "websocket_concurrency",
            "WebSockets, or connections of another protocol, open in one process at most",
            _LOAD,
        ),
        _worker("window_bytes", "What one client may have sent and not yet read", _LOAD),
        _worker("reload", "Restart the application when a Python file changes", _DEVELOPMENT),
        _worker(
            "reload_dirs",
            "Folder to watch, --app-dir if not given; may be repeated",
            _DEVELOPMENT,
            metavar="FOLDER",
        ),
        control_option(),
    ],
)
