"""The command `gateway-dev`: Redis, an interface server and workers with one command."""

import gateway_layer.process.interrupts  # noqa: F401 (before what takes long to import)

# isort: split
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.process.addresses import check_free
from gateway_layer.process.logs import set_up_logging, tell
from gateway_layer.process.options import (
    GatewayCommand,
    Number,
    SectionOption,
    bind_help,
    count_of,
    naming_variables,
)
from gateway_layer.process.places import how_it_ended
from gateway_layer.process.signals import SignalPipe
from gateway_worker.cli import (
    app_options,
    channels_option,
    check,
    config_from,
    main as worker_command,
    on_worker_exit_option,
)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = logging.getLogger("gateway.dev")


@dataclass(slots=True)
class Part:
    """A command of the gateway that was started as a process of its own."""

    name: str
    process: subprocess.Popen[bytes]
    control: socket.socket
    """Our end: brings the ready text; each byte sent asks to stop, its end means that we ended."""

    ready_text: str | None = None

    @classmethod
    def start(cls, module: str, arguments: Sequence[str], env: Mapping[str, str]) -> "Part":
        """Start `python -m module` with a control socket.

        In a session of its own, so that Ctrl-C reaches this process alone, which ends the parts
        in their order.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: the application's folder must not hide modules that the gateway imports.
            command = [sys.executable, "-P", "-m", module, *arguments]
            process = subprocess.Popen(  # noqa: S603 (our own modules)
                [*command, "--control-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=env,
                start_new_session=True,
            )
        return cls(module, process, ours)

    def hear(self) -> bool:
        """Take what came on the control socket; False when nothing more can come."""
        try:
            raw = self.control.recv(65536)
        except ConnectionResetError:
            raw = b""
        if raw:
            self.ready_text = raw.decode().strip()
        return bool(raw)

    def ask_to_stop(self) -> None:
        """Ask for a drain; the second time to end at once."""
        with suppress(OSError):  # it has ended already
            self.control.send(b"\0")


@dataclass(slots=True, kw_only=True)
class DevServer:
    """Runs an interface server and workers until one of them ends or a signal asks for it."""

    commands: Sequence[tuple[str, Sequence[str]]]
    """(module, arguments) of each; the interface server is the first."""
    env: Mapping[str, str]
    """Of all; GATEWAY_REDIS in it tells them, and the application, where Redis is."""

    ready_text: str
    """What follows the URL in the ready line."""

    server: EmbeddedServer | None
    """Watched: when it ends by itself, everything ends."""

    _parts: list[Part] = field(init=False, default_factory=list)
    _stops: int = field(init=False, default=0)

    def run(self) -> int:
        """Run all.

        Returns:
            The exit status: 0 when told to end, else that of the part that ended by itself.
        """
        signals = SignalPipe(_SIGNALS)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(signals, selectors.EVENT_READ)
                return self._run(signals, selector)
        finally:
            for part in self._parts:
                part.control.close()
            signals.close()

    def _run(self, signals: SignalPipe, selector: selectors.BaseSelector) -> int:
        for module, arguments in self.commands:
            part = Part.start(module, arguments, self.env)
            self._parts.append(part)
            selector.register(part.control, selectors.EVENT_READ, part)
        status: int | None = None
        while not self._stops and status is None:
            self._turn(signals, selector)
            status = self._status_of_the_ended()
        for part in self._parts:
            self._end(part, signals, selector)
        return status or 0

    def _turn(self, signals: SignalPipe, selector: selectors.BaseSelector) -> None:
        """Wait for something to happen, and take note of it."""
        for key, _ in selector.select():
            if isinstance(key.data, Part):
                if not key.data.hear():
                    selector.unregister(key.fileobj)
                elif all(part.ready_text for part in self._parts):
                    url = (self._parts[0].ready_text or "").rpartition(" (")[0]
                    tell(f"gateway-dev ready: {url} ({self.ready_text})\n")
            else:
                self._stops += sum(number in _END for number in signals.read())

    def _status_of_the_ended(self) -> int | None:
        """Return the exit status that follows from a part that ended by itself; None: none did."""
        for part in self._parts:
            status = part.process.poll()
            if status is not None:
                if status < 0:
                    _log.error("%s %s", part.name, how_it_ended(status))
                return status if status >= 0 else 128 - status
        if self.server is not None and not self.server.running:
            _log.error("the embedded Redis server ended by itself")
            return 1
        return None

    def _end(self, part: Part, signals: SignalPipe, selector: selectors.BaseSelector) -> None:
        """Let a part drain and wait for it; each further signal makes it hurry more.

        It ends within its graceful time-out and some seconds: its supervisor sees to that.
        """
        asked = 0
        while part.process.poll() is None:
            while asked < max(1, self._stops):
                part.ask_to_stop()
                asked += 1
            self._turn(signals, selector)


def _main(
    bind: tuple[str, ...],
    workers: int,
    redis: str | None,
    graceful_timeout: float,
    reload: bool,
    log_level: str,
    app: str,
    app_dir: str,
    factory: bool,
    interface: str,
    lifespan: str,
    on_worker_exit: str,
    channels: tuple[str, ...],
    debug: bool,
) -> int:
    """Run the command."""
    set_up_logging(log_level)
    both = ["--log-level", log_level, "--graceful-timeout", f"{graceful_timeout:g}"]
    sockets = [*both, "--processes", "1"]
    sockets += [word for address in bind for word in ("--bind", address)]
    worker = [app, *both, "--processes", str(workers), "--app-dir", app_dir]
    worker += ["--on-worker-exit", on_worker_exit]
    worker += ["--lifespan", lifespan, "--factory" if factory else "--no-factory"]
    worker += ["--reload" if reload else "--no-reload", "--interface", interface]
    worker += ["--debug" if debug else "--no-debug"]
    _check_worker([*worker, *(("--redis", redis) if redis else ())])
    check_free(bind)
    server = EmbeddedServer() if redis is None else None
    commands = [("gateway_interface", sockets), ("gateway_worker", worker)]
    if channels:
        background = [*worker, "--processes", "1", "--channels", ",".join(channels)]
        commands.append(("gateway_worker", background))
    env = {name: value for name, value in os.environ.items() if name != "GATEWAY_CHANNELS"}
    with server or nullcontext():
        return DevServer(
            commands=commands,
            # By the environment, so that no password stands in the list of processes.
            env=env | {"GATEWAY_REDIS": server.url if server else str(redis)},
            ready_text=count_of(workers, "worker"),
            server=server,
        ).run()


def _check_worker(arguments: Sequence[str]) -> None:
    """Refuse what the worker would refuse: once, before anything starts.

    That covers what both parts take from the environment, which each of them would complain of.

    Raises:
        click.UsageError: A variable with a wrong value.
        ConfigError: As the worker's.
    """
    context = worker_command.make_context(worker_command.name, list(arguments))
    with naming_variables(context):
        check(config_from(context.params))


_SECTION = "Development server"

main = GatewayCommand(
    "gateway-dev",
    help="""Run an application with a private Redis server, an interface server and workers.

    The processes are the same as in production; changed Python files reload the workers alone.
    Every option can also be given as the variable that stands beside it; what else
    gateway-interface and gateway-worker can be told is taken from their variables.
    """,
    callback=_main,
    params=[
        SectionOption(
            "--bind",
            section=_SECTION,
            multiple=True,
            default=("127.0.0.1:8000",),
            show_default=True,
            metavar="ADDRESS",
            help=bind_help(),
        ),
        SectionOption(
            "--workers",
            section=_SECTION,
            type=Number("N", whole=True, least=1),
            default=1,
            show_default=True,
            metavar="N",
            help="Worker processes",
        ),
        SectionOption(
            "--redis",
            section=_SECTION,
            metavar="URL",
            help="Use this Redis instead of a private one",
        ),
        SectionOption(
            "--reload/--no-reload",
            section=_SECTION,
            default=True,
            show_default=True,
            help="Restart the workers when a Python file below --app-dir changes",
        ),
        SectionOption(
            "--graceful-timeout",
            section=_SECTION,
            type=Number("SECONDS", whole=False),
            default=5,
            show_default=True,
            metavar="SECONDS",
            help="How long Ctrl-C and a reload wait for what is under way",
        ),
        # While somebody edits the application, the browser's socket shall stay open.
        on_worker_exit_option(default="resume", section=_SECTION),
        channels_option(
            "Run a process for these background channels, too; may be repeated", _SECTION
        ),
        *app_options(),
    ],
)

if __name__ == "__main__":
    main()
