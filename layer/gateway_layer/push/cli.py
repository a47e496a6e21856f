"""The command `gateway-push`."""

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import click

from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError, ConnectionGone, GatewayError, MessageTooLarge
from gateway_layer.process.options import SectionOption, field_option, version_option
from gateway_layer.push.requests import split_reply_channel
from gateway_layer.push.sync import SyncPush

EXIT_GONE = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3

# A reply channel is random: one in 64 begins like an option.
_DASHED = re.compile(r"-[A-Za-z0-9_-]{21}![A-Za-z0-9_-]{22}")
_ESCAPE = "\0"


class _PushCommand(click.Command):
    """A subcommand whose reply channels may begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with such channels hidden from the parser of options."""
        return super().parse_args(
            ctx, [_ESCAPE + arg if _DASHED.fullmatch(arg) else arg for arg in args]
        )


class _PushGroup(click.Group):
    """The command: one-line errors, and an exit status for each kind of them."""

    command_class = _PushCommand

    def main(self, args: Any = None, *rest: Any, **attrs: Any) -> Any:
        """Run the command and end the process."""
        attrs.update(prog_name=self.name, standalone_mode=False)
        try:
            status = super().main(args, *rest, **attrs) or 0
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            status = EXIT_USAGE
        except click.ClickException as error:
            status = self._complain(error.format_message(), EXIT_USAGE)
        except (ConfigError, MessageTooLarge, TypeError, ValueError) as error:
            status = self._complain(str(error), EXIT_USAGE)
        except ConnectionGone as error:
            status = self._complain(str(error), EXIT_GONE)
        except (GatewayError, click.Abort) as error:
            status = self._complain(str(error) or "interrupted", EXIT_UNAVAILABLE)
        sys.exit(status)

    def _complain(self, text: str, status: int) -> int:
        click.echo(f"{self.name}: {text}", err=True)
        return status


class _ReplyChannel(click.ParamType[str]):
    """The address of a connection."""

    name = "reply channel"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it, or fail with one line."""
        channel = str(value).removeprefix(_ESCAPE)
        try:
            split_reply_channel(channel)
        except TypeError as error:
            self.fail(str(error), param, ctx)
        return channel


def _layer_options() -> list[click.Parameter]:
    section = "Channel layer"
    return [
        field_option(
            LayerConfig,
            "redis",
            "Redis or Valkey >= 7: redis://, rediss:// or unix://, with user, password, database",
            section,
            metavar="URL",
            envvar="GATEWAY_REDIS",
        ),
        field_option(
            LayerConfig, "namespace", "Prefix of every key", section, envvar="GATEWAY_NAMESPACE"
        ),
        SectionOption(
            "--timeout",
            section=section,
            type=click.FloatRange(min=0, min_open=True),
            default=5,
            metavar="SECONDS",
            show_default=True,
            envvar="GATEWAY_PUSH_TIMEOUT",
            help="How long to wait for the interface server's answer, in seconds",
        ),
    ]


def _message_options() -> list[click.Parameter]:
    section = "Message"
    return [
        SectionOption(
            "--json", is_flag=True, section=section, show_envvar=False, help="TEXT is JSON"
        ),
        SectionOption(
            "--bytes",
            is_flag=True,
            section=section,
            show_envvar=False,
            help="Send a binary message: standard input as it is, or TEXT as UTF-8",
        ),
        SectionOption(
            "--idempotency-key",
            section=section,
            metavar="KEY",
            show_envvar=False,
            help="A repetition within 60 s is not sent again",
        ),
    ]


def _channel() -> click.Argument:
    return click.Argument(["reply_channel"], type=_ReplyChannel(), metavar="REPLY_CHANNEL")


def _group() -> click.Argument:
    return click.Argument(["group"], metavar="GROUP")


def _text() -> click.Argument:
    return click.Argument(["words"], nargs=-1, metavar="[TEXT]...")


main = _PushGroup(
    "gateway-push",
    params=[version_option()],
    context_settings={"max_content_width": 100},
    help="Push to clients of the gateway. Exit status: 0 done, 1 the connection is gone, "
    "2 wrong use, 3 unavailable, timed out or full.",
)


def _command(
    name: str, help_text: str, *params: click.Parameter
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a subcommand: its function gets a SyncPush and the values of `params`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def run(redis: str, namespace: str, timeout: float, **values: Any) -> None:
            with SyncPush(redis, namespace=namespace, timeout_s=timeout) as push:
                function(push, **values)

        main.add_command(
            _PushCommand(name, callback=run, params=[*params, *_layer_options()], help=help_text)
        )
        return function

    return decorate


@_command(
    "send",
    "Send a message to a client: TEXT, or standard input without its last newline.",
    *(_channel(), _text(), *_message_options()),
    SectionOption(
        "--confirm",
        is_flag=True,
        section="Message",
        show_envvar=False,
        help="Wait until the interface server's kernel has the bytes",
    ),
)
def _send(
    push: SyncPush,
    reply_channel: str,
    words: tuple[str, ...],
    json: bool,
    bytes: bool,
    idempotency_key: str | None,
    confirm: bool,
) -> None:
    message = message_of(words, is_json=json, is_bytes=bytes)
    push.send(reply_channel, **message, confirm=confirm, idempotency_key=idempotency_key)


@_command(
    "group-send",
    "Send a message to all members of a group; print how many it was written to.",
    *(_group(), _text(), *_message_options()),
    SectionOption(
        "--exclude",
        multiple=True,
        type=_ReplyChannel(),
        section="Message",
        metavar="REPLY_CHANNEL",
        show_envvar=False,
        help="A member that does not get it; may be repeated",
    ),
)
def _group_send(
    push: SyncPush,
    group: str,
    words: tuple[str, ...],
    json: bool,
    bytes: bool,
    idempotency_key: str | None,
    exclude: tuple[str, ...],
) -> None:
    message = message_of(words, is_json=json, is_bytes=bytes)
    count = push.group_send(group, **message, exclude=exclude, idempotency_key=idempotency_key)
    click.echo(count)


@_command(
    "close",
    "Close a client's WebSocket.",
    _channel(),
    click.Argument(["code"], type=int, default=1000, required=False, metavar="[CODE]"),
    click.Argument(["reason"], default="", required=False, metavar="[REASON]"),
)
def _close(push: SyncPush, reply_channel: str, code: int, reason: str) -> None:
    push.close(reply_channel, code, reason)


@_command("info", "Print what is known of a connection, as JSON.", _channel())
def _info(push: SyncPush, reply_channel: str) -> None:
    click.echo(json.dumps(dataclasses.asdict(push.info(reply_channel)), indent=2))


@_command("groups", "Print the groups of a connection, one a line.", _channel())
def _groups(push: SyncPush, reply_channel: str) -> None:
    for group in push.info(reply_channel).groups:
        click.echo(group)


@_command("connections", "Print the reply channels of a group's members, one a line.", _group())
def _connections(push: SyncPush, group: str) -> None:
    for channel in push.connections(group):
        click.echo(channel)


@_command("group-add", "Let a connection join a group.", _group(), _channel())
def _group_add(push: SyncPush, group: str, reply_channel: str) -> None:
    push.group_add(group, reply_channel)


@_command("group-discard", "Let a connection leave a group.", _group(), _channel())
def _group_discard(push: SyncPush, group: str, reply_channel: str) -> None:
    push.group_discard(group, reply_channel)


def message_of(
    words: tuple[str, ...], *, is_json: bool, is_bytes: bool, source: BinaryIO | None = None
) -> dict[str, Any]:
    """Return the message as an argument of `send`: `text`, `bytes` or `json`.

    Args:
        words: From the command line; joined by spaces. Empty: `source` is read to its end.
        is_json: It has to be JSON, and is sent as a text message.
        is_bytes: It is sent as a binary message.
        source: Standard input if not given.

    Raises:
        ValueError: Not JSON, not UTF-8, or both kinds at once.
    """
    if is_json and is_bytes:
        raise ValueError("--json and --bytes are of two kinds")
    if words:
        raw = " ".join(words).encode("utf-8", "surrogateescape")
    else:
        raw = (source or sys.stdin.buffer).read()
    if is_bytes:
        return {"bytes": raw}
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError("the message is not UTF-8: --bytes sends it as it is") from error
    if not words:
        text = text.removesuffix("\n")
    if not is_json:
        return {"text": text}
    try:
        # Checked only: it is sent as it was written.
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"the message is not JSON: {error}") from error
    return {"text": text}
