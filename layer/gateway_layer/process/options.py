"""Command-line options made from the fields of the configuration dataclasses.

One rule joins the three names of a setting: the field `header_timeout_s` is the option
`--header-timeout` and the variable `GATEWAY_HEADER_TIMEOUT`; the unit stands in the help. Defaults
and types are the dataclass's own.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_type_hints

import click

from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError, GatewayError
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
        super().__init__(names, **attrs)
        self.section = section


class Number(click.ParamType[float]):
    """A finite number that is not negative, whole where the field is an int."""

    def __init__(self, name: str, *, whole: bool) -> None:
        """Keep the unit, which stands in the help, and whether fractions are refused."""
        self.name = name
        self.whole = whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with one line."""
        try:
            number = int(value) if self.whole else float(value)
        except ValueError:
            kind = "whole number" if self.whole else "number"
            self.fail(f"{value!r} is not a {kind}", param, ctx)
        if not math.isfinite(number) or number < 0:
            self.fail(f"{value} is not a number from 0 on", param, ctx)
        return number


class GatewayCommand(click.Command):
    """A command with grouped help, one-line errors and an exit status that its function returns.

    Exit status: what the callback returns; 2 with one line for a wrong option or a ConfigError; 1
    with one line for any other error of the gateway, such as a port that is taken.
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
            status = super().main(args, *rest, **attrs)
        except click.ClickException as error:
            status = self._complain(error.format_message(), EXIT_CONFIG)
        except ConfigError as error:
            status = self._complain(str(error), EXIT_CONFIG)
        except GatewayError as error:
            status = self._complain(str(error), EXIT_FAILURE)
        except click.Abort:
            status = self._complain("interrupted", EXIT_FAILURE)
        sys.exit(status)

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
        help_text: One sentence without a full stop, with the unit and what 0 means.
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
            "A process that is not heard of for so long is dead, in seconds",
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
