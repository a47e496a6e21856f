from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError, GatewayError
from gateway_layer.process.options import (
    GatewayCommand,
    Number,
    SectionOption,
    count_of,
    field_option,
    fields_from,
    layer_options,
    option_name,
)


@dataclass(frozen=True, kw_only=True)
class Bakery:
    bake_timeout_s: float = 30.0
    oven_bytes: int = 4096
    loaves: int = 3
    sliced: bool = True
    routes: tuple[str, ...] = ("north",)
    shop: str | None = None


def bakery_command(seen: list[dict[str, Any]], error: Exception | None = None) -> GatewayCommand:
    def run(**params: Any) -> int:
        seen.append(params)
        if error is not None:
            raise error
        return 7

    fields = ("bake_timeout_s", "oven_bytes", "loaves", "sliced", "routes", "shop")
    options = [field_option(Bakery, field, f"About {field}", "Bakery") for field in fields]
    return GatewayCommand("bakery", [*options, *layer_options()], callback=run)


def call(
    args: Sequence[str], env: dict[str, str] | None = None, error: Exception | None = None
) -> tuple[Result, dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    result = CliRunner().invoke(bakery_command(seen, error), args, env=env)
    return result, seen[0] if seen else {}


def test_defaults_are_those_of_the_dataclass() -> None:
    _, params = call([])
    assert Bakery(**fields_from(Bakery, params)) == Bakery()
    assert LayerConfig(**fields_from(LayerConfig, params)) == LayerConfig()


def test_values_have_the_type_of_the_field() -> None:
    _, params = call(["--bake-timeout", "5", "--oven", "9", "--no-sliced", "--shop", "corner"])
    fields = fields_from(Bakery, params)
    assert fields["bake_timeout_s"] == 5.0
    assert isinstance(fields["bake_timeout_s"], float)
    assert fields["oven_bytes"] == 9
    assert fields["sliced"] is False
    assert fields["shop"] == "corner"


def test_repeated_option_is_a_tuple() -> None:
    _, params = call(["--route", "east", "--route", "west"])
    assert fields_from(Bakery, params)["routes"] == ("east", "west")


def test_every_option_has_a_variable() -> None:
    env = {"GATEWAY_BAKE_TIMEOUT": "1.5", "GATEWAY_SLICED": "false", "GATEWAY_ROUTE": "east west"}
    _, params = call([], env)
    fields = fields_from(Bakery, params)
    assert (fields["bake_timeout_s"], fields["sliced"], fields["routes"]) == (
        1.5,
        False,
        ("east", "west"),
    )


def test_option_wins_over_its_variable() -> None:
    _, params = call(["--loaves", "1"], {"GATEWAY_LOAVES": "2"})
    assert params["loaves"] == 1


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ["--loaves", "many"],
            "bakery: Invalid value for '--loaves': 'many' is not a whole number",
        ),
        (["--loaves", "1.5"], "bakery: Invalid value for '--loaves': '1.5' is not a whole number"),
        (["--oven", "-1"], "bakery: Invalid value for '--oven': -1 is not a number from 0 on"),
        (
            ["--bake-timeout", "nan"],
            "bakery: Invalid value for '--bake-timeout': nan is not a number from 0 on",
        ),
        (["--oven"], "bakery: Option '--oven' requires an argument."),
    ],
)
def test_wrong_value_is_one_line_and_status_2(args: list[str], line: str) -> None:
    result, _ = call(args)
    assert (result.exit_code, result.stderr) == (2, line + "\n")


def test_unknown_option_is_one_line_and_status_2() -> None:
    result, _ = call(["--oven-size", "1"])
    assert result.exit_code == 2
    assert result.stderr.startswith("bakery: No such option")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("GATEWAY_LOAVES", "two", "'two' is not a whole number"),
        ("GATEWAY_SLICED", "maybe", "'maybe' is neither true nor false"),
    ],
)
def test_wrong_variable_is_named_in_one_line(variable: str, value: str, line: str) -> None:
    result, _ = call([], {variable: value})
    assert result.exit_code == 2
    assert result.stderr == f"bakery: Invalid value for {variable}: {line}\n"


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("GATEWAY_LOAVES", "--loaves 0: at least 1", "GATEWAY_LOAVES=0: at least 1"),
        ("GATEWAY_REDIS", "--redis: no such scheme", "GATEWAY_REDIS: no such scheme"),
        ("GATEWAY_REDIS", "--loaves 0: at least 1", "--loaves 0: at least 1"),
    ],
)
def test_configuration_error_names_the_variable_it_came_from(
    variable: str, text: str, line: str
) -> None:
    result, _ = call([], {variable: "0"}, ConfigError(text))
    assert (result.exit_code, result.stderr) == (2, f"bakery: {line}\n")


def test_number_may_have_a_least_one() -> None:
    ovens = SectionOption("--ovens", type=Number("N", whole=True, least=1))
    command = GatewayCommand("bakery", [ovens], callback=lambda **_params: 0)
    result = CliRunner().invoke(command, ["--ovens", "0"])
    assert result.stderr == "bakery: Invalid value for '--ovens': 0 is not a number from 1 on\n"


@pytest.mark.parametrize("option", ["--host", "--port"])
def test_option_of_uvicorn_is_answered_with_ours(option: str) -> None:
    listening = GatewayCommand("street", [SectionOption("--bind")], callback=lambda **_params: 0)
    result = CliRunner().invoke(listening, [option, "8000"])
    line = f"street: No such option {option}; use --bind HOST:PORT\n"
    assert (result.exit_code, result.stderr) == (2, line)


def test_option_of_uvicorn_is_answered_with_the_command_that_listens() -> None:
    result, _ = call(["--port", "8000"])
    line = "No such option --port; gateway-interface and gateway-dev have --bind HOST:PORT"
    assert result.stderr == f"bakery: {line}\n"


def test_interrupt_is_status_130_without_a_traceback() -> None:
    def interrupted(**_params: Any) -> int:
        raise KeyboardInterrupt

    result = CliRunner().invoke(GatewayCommand("bakery", [], callback=interrupted), [])
    assert (result.exit_code, result.stderr.strip()) == (130, "")


def test_configuration_error_is_one_line_and_status_2() -> None:
    result, _ = call([], error=ConfigError("--loaves 0: at least 1"))
    assert (result.exit_code, result.stderr) == (2, "bakery: --loaves 0: at least 1\n")


def test_other_error_of_the_gateway_is_one_line_and_status_1() -> None:
    result, _ = call([], error=GatewayError("127.0.0.1:8000 is already in use"))
    assert (result.exit_code, result.stderr) == (1, "bakery: 127.0.0.1:8000 is already in use\n")


def test_status_is_what_the_function_returns() -> None:
    result, _ = call([])
    assert result.exit_code == 7


def test_version_names_the_command() -> None:
    result, _ = call(["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("bakery ")


def test_help_stands_under_headings_with_variables_and_defaults() -> None:
    result, _ = call(["--help"])
    text = " ".join(result.stdout.split())
    assert result.stdout.index("Bakery:") < result.stdout.index("Channel layer:")
    assert result.stdout.index("Channel layer:") < result.stdout.index("General:")
    assert "--bake-timeout SECONDS" in text
    assert "GATEWAY_BAKE_TIMEOUT; default: 30]" in text
    assert "--oven BYTES" in text
    assert "--sliced / --no-sliced" in text
    assert "default: north]" in text


def test_help_of_a_pipe_has_no_colour() -> None:
    result, _ = call(["--help"])
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("header_timeout_s", "header_timeout"),
        ("window_bytes", "window"),
        ("max_headers", "max_headers"),
        ("routes", "route"),
        ("reload_dirs", "reload_dir"),
    ],
)
def test_option_has_the_name_of_the_field_without_its_unit(field: str, name: str) -> None:
    assert option_name(field) == name


def test_prefix_comes_before_the_name() -> None:
    assert option_name("ping_interval_s", "ws_") == "ws_ping_interval"


def test_log_level_is_an_option_of_every_command() -> None:
    _, params = call(["--log-level", "debug"])
    assert params["log_level"] == "debug"


def test_plurals() -> None:
    assert count_of(1, "process") == "1 process"
    assert count_of(2, "process") == "2 processes"
    assert count_of(2, "worker") == "2 workers"
