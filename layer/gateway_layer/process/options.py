"""Command-line options made from the fields of the configuration dataclasses.

One rule joins the three names of a setting: the field `header_timeout_s` is the option
`--header-timeout` and the variable `GATEWAY_HEADER_TIMEOUT`; the unit stands in the help. Defaults
and types are the dataclass's own.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, get_type_hints

import click
from click.core import ParameterSource

from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError, GatewayError
from gateway_layer.process import interrupts
from gateway_layer.process.logs import LEVELS
from gateway_layer.process.places import EXIT_CONFIG, EXIT_FAILURE

ENV_PREFIX = "GATEWAY"
_UNITS = {"_s": "SECONDS", "_bytes": "BYTES"}
_SINGULAR = {
    "routes": "route",
    "reload_dirs": "reload_dir",
    "push_keys": "push_key",
    "push_tokens": "push_token",
}  # given once for each value
_GENERAL = "General"


class SectionOption(click.Option):
    """An option that stands under a heading of `--help`, with its variable and its default."""

    def __init__(self, *names: str, section: str = _GENERAL, **attrs: Any) -> None:
        """Take what click.Option takes, and the heading."""
        attrs.setdefault("show_envvar", True)
        if any("/--no-" in name for name in names):
            attrs.setdefault("type", Flag())
        super().__init__(names, **attrs)
        self.section = section

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name what was wrong: the variable where the value came from it, else the option."""
        return _variable_of(self, ctx) or super().get_error_hint(ctx)


class Flag(click.types.BoolParamType):
    """A flag; only the text of its variable can be wrong."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return the bool, or fail with one line."""
        answer = self.str_to_bool(value)
        if answer is None:
            self.fail(f"{value!r} is neither true nor false", param, ctx)
        return answer


class Number(click.ParamType[float]):
    """A finite number, not under the least one, whole where the field is an int."""

    def __init__(self, name: str, *, whole: bool, least: int = 0) -> None:
        """Keep the unit, which stands in the help, and what is refused."""
        self.name = name
        self.whole = whole
        self.least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with one line."""
        try:
            number = int(value) if self.whole else float(value)
        except ValueError:
            kind = "whole number" if self.whole else "number"
            self.fail(f"{value!r} is not a {kind}", param, ctx)
        if not math.isfinite(number) or number < self.least:
            self.fail(f"{value} is not a number from {self.least} on", param, ctx)
        return number


class GatewayCommand(click.Command):
    """A command with grouped help, one-line errors and an exit status that its function returns.

    Exit status: what the callback returns; 2 with one line for a wrong option or a ConfigError; 1
    with one line for any other error of the gateway, such as a port that is taken; 130 without a
    word for Ctrl-C before the callback handles it.
    """

    def __init__(self, name: str, params: Sequence[click.Parameter], **attrs: Any) -> None:
        """Take what click.Command takes; the variables' prefix and --version are added."""
        settings = {"auto_envvar_prefix": ENV_PREFIX, "max_content_width": 100}
        params = [*params, _log_level(), version_option()]
        super().__init__(name, params=params, context_settings=settings, **attrs)

    def main(self, args: Any = None, *rest: Any, **attrs: Any) -> Any:
        """Run the command and end the process."""
        attrs.update(prog_name=self.name, standalone_mode=False)
        try:
            interrupts.raise_as_usual()
            status = super().main(args, *rest, **attrs)
        except click.NoSuchOption as error:
            status = self._complain(self._advice_on(error), EXIT_CONFIG)
        except click.ClickException as error:
            status = self._complain(error.format_message(), EXIT_CONFIG)
        except ConfigError as error:
            status = self._complain(str(error), EXIT_CONFIG)
        except GatewayError as error:
            status = self._complain(str(error), EXIT_FAILURE)
        except (click.Abort, KeyboardInterrupt):
            status = interrupts.EXIT_INTERRUPTED
        interrupts.ignore()
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the callback."""
        with naming_variables(ctx):
            return super().invoke(ctx)

    def _advice_on(self, error: click.NoSuchOption) -> str:
        """Name the option that has the place of one of uvicorn's."""
        if error.option_name not in ("--host", "--port"):
            return error.format_message()
        listens = any("--bind" in param.opts for param in self.params)
        advice = "use" if listens else "gateway-interface and gateway-dev have"
        return f"No such option {error.option_name}; {advice} --bind HOST:PORT"

    def _complain(self, text: str, status: int) -> int:
        click.echo(f"{self.name}: {text}", err=True)
        return status

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section under its heading, in the order in which they first occur."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                section = getattr(param, "section", _GENERAL)
                sections.setdefault(section, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


@contextmanager
def naming_variables(ctx: click.Context) -> Iterator[None]:
    """Let a ConfigError name the variable in the place of the option, if that was where from.

    Args:
        ctx: Has the values that the configuration is made from.
    """
    try:
        yield
    except ConfigError as error:
        found = re.match(r"(--[a-z-]+)( ?)", str(error))
        for param in ctx.command.params if found else ():
            variable = _variable_of(param, ctx)
            if found and variable and found[1] in param.opts:
                rest = str(error)[found.end() :]
                raise ConfigError(f"{variable}{'=' if found[2] else ''}{rest}") from error
        raise


def _variable_of(param: click.Parameter, ctx: click.Context | None) -> str | None:
    """Return the variable that a parameter has its value from; None: not from one."""
    if ctx is None or ctx.get_parameter_source(param.name or "") is not ParameterSource.ENVIRONMENT:
        return None
    return f"{ENV_PREFIX}_{str(param.name).upper()}"


def option_name(field: str, prefix: str = "") -> str:
    """Return the name of a field's option with underscores: `lease_s` -> `lease`.

    Args:
        field: A field of a configuration dataclass.
        prefix: Put before it, such as `ws_`.
    """
    for unit in _UNITS:
        field = field.removesuffix(unit)
    return prefix + _SINGULAR.get(field, field)


def field_option(
    config: type, field: str, help_text: str, section: str, *, prefix: str = "", **attrs: Any
) -> SectionOption:
    """Make the option of one field; default, type, flag pair and repetition come from the field.

    Args:
        config: The dataclass.
        field: Its field.
        help_text: One sentence without a full stop, with what 0 means; the metavar is the unit.
        section: The heading in `--help`.
        prefix: See `option_name`.
        attrs: More for click.Option; wins over what the field says.
    """
    name = option_name(field, prefix)
    flag = "--" + name.replace("_", "-")
    hint = get_type_hints(config)[field]
    default = default_of(config, field)
    attrs = {"help": help_text, "section": section, "default": default} | attrs
    if hint is bool:
        return SectionOption(f"{flag}/--no-{flag[2:]}", show_default=True, **attrs)
    if hint in (int, float):
        unit = next((unit for end, unit in _UNITS.items() if field.endswith(end)), "N")
        attrs = {
            "type": Number(unit, whole=hint is int),
            "metavar": unit,
            "show_default": True,
        } | attrs
        if hint is float and default == int(default):
            attrs["default"] = int(default)  # `30`, as people write it; `Number` makes it a float
    elif getattr(hint, "__origin__", None) is tuple:
        attrs = {"multiple": True, "show_default": bool(default)} | attrs
    else:
        attrs = {"show_default": default is not None} | attrs
    return SectionOption(flag, **attrs)


def default_of(config: type, field: str) -> Any:
    """Return the default of a dataclass's field, None where there is none."""
    found = next(f for f in dataclasses.fields(config) if f.name == field)
    if found.default_factory is not dataclasses.MISSING:
        return found.default_factory()
    return None if found.default is dataclasses.MISSING else found.default


def fields_from(config: type, params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of a dataclass that options gave a value, as keyword arguments."""
    return {
        field.name: params[option_name(field.name, prefix)]
        for field in dataclasses.fields(config)
        if option_name(field.name, prefix) in params
    }


def bind_help() -> str:
    """Return what --bind takes, in the same words for every command."""
    return "host:port, [v6]:port or unix:/path, port 0: any free one; may be repeated"


def layer_options() -> list[click.Parameter]:
    """Return the options of the channel layer, which all processes have alike."""
    section = "Channel layer"
    return [
        field_option(
            LayerConfig,
            "redis",
            "Redis or Valkey >= 7: redis://, rediss:// or unix://, with user, password, database",
            section,
            metavar="URL",
        ),
        field_option(
            LayerConfig,
            "namespace",
            "Prefix of every key, so that several gateways share one Redis",
            section,
        ),
        field_option(
            LayerConfig,
            "lease_s",
            "A process that is not heard of for so long is dead",
            section,
        ),
    ]


def control_option() -> click.Parameter:
    """Return the hidden option by which a starting process hears that all is ready.

    It is the number of an inherited socket; see `Supervisor.control_fd`. No variable, since the
    environment goes on to the application's own processes, which do not have the socket.
    """
    return SectionOption(
        "--control-fd", type=int, default=None, hidden=True, allow_from_autoenv=False
    )


def count_of(number: int, noun: str) -> str:
    """Return `1 process`, `2 processes`, `1 worker`, `2 workers`."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def _log_level() -> click.Parameter:
    return SectionOption(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        show_default=True,
        help="The least severe lines to log, on stderr",
    )


def version_option() -> click.Parameter:
    """Return `--version`, which prints the version of the distribution and exits."""

    def show(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            click.echo(f"{ctx.info_name} {version('channel-gateway')}")
            ctx.exit()

    return SectionOption(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        show_envvar=False,
        allow_from_autoenv=False,
        callback=show,
        help="Show the version and exit",
    )
