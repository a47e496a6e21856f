"""The documents say what the code does."""

import ast
import re
from inspect import getsource
from pathlib import Path
from typing import Any

import click
import pytest
from benchmarks.run import BENCHMARKS

from gateway_interface import cli as interface_cli
from gateway_interface.config import InterfaceConfig, Limits
from gateway_layer import wire
from gateway_layer.channels import RedisChannelLayer
from gateway_layer.codec import pack
from gateway_layer.owner import Owner, SocketSession
from gateway_layer.push import cli as push_cli, frames as push_frames
from gateway_layer.push.requests import PUSH_SCRIPT
from gateway_layer.redis.keys import Keys
from gateway_worker import cli as worker_cli, dev
from gateway_worker.consumers import configure, get_channel_layer
from gateway_worker.core.schedule import MAX_BATCH
from tests.model.mutants import MUTANTS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
LINKED = [*DOCUMENTS, *sorted((ROOT / "examples").glob("*/README.md"))]
ABOUT_COMMANDS = [path for path in DOCUMENTS if path.stem != "performance"]
"""That one is about the options of the benchmarks, too."""

CONFIGURATION = (DOCS / "configuration.md").read_text()
PROTOCOL = (DOCS / "protocol.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()
SESSIONS = (DOCS / "sessions.md").read_text()
GUARANTEES = DOCS / "guarantees.md"
COMMANDS: dict[str, click.Command] = {
    "gateway-interface": interface_cli.main,
    "gateway-worker": worker_cli.main,
    "gateway-dev": dev.main,
}
FRAMES: dict[str, tuple[int, tuple[str, ...]]] = {
    "Open": (wire.OPEN, wire.Open._fields),
    "Claim": (wire.CLAIM, wire.Claim._fields),
    "Data": (wire.DATA, wire.Data._fields),
    "Refuse": (wire.REFUSE, wire.Refuse._fields),
    "Done": (wire.DONE, wire.Done._fields),
    "Release": (wire.RELEASE, wire.Release._fields),
    "Detach": (wire.DETACH, wire.Detach._fields),
    "Handled": (wire.HANDLED, wire.Handled._fields),
    "Listen": (wire.LISTEN, wire.Listen._fields),
    "Released": (wire.RELEASED, wire.Released._fields),
    "Events": (wire.EVENTS, wire.Events._fields),
    "Credit": (wire.CREDIT, wire.Credit._fields),
    "Reset": (wire.RESET, wire.Reset._fields),
}
EXAMPLES = re.findall(r"^```hex\n(.*?)```\n```python\n(.*?)```$", PROTOCOL, re.M | re.S)


def section_of(text: str, heading: str) -> str:
    """Return what stands under a heading, down to the next of its level or above."""
    level = heading.partition(" ")[0]
    rest = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{2,{len(level)}}} ", rest, maxsplit=1, flags=re.M)[0]


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of all table rows, without headings."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    rules = {index for index, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [row for index, row in enumerate(cells) if not {index, index + 1} & rules]


# Configuration.


def unit_of(option: click.Option) -> str:
    if option.is_flag:
        return "flag"
    if isinstance(option.type, click.Choice):
        return " ".join(f"`{choice}`" for choice in option.type.choices)
    return option.metavar or "TEXT"


def default_of(command: click.Command, option: click.Option) -> str:
    value = option.get_default(click.Context(command))
    if isinstance(value, bool):
        return "on" if value else "off"
    values = value if isinstance(value, tuple) else (value,)
    known = [str(one) for one in values if one is not None and not repr(one).startswith("Sent")]
    return " ".join(f"`{one}`" for one in known) or "–"  # noqa: RUF001 (as the document has it)


def documented(name: str) -> dict[str, list[str]]:
    """Return variable, unit and default of each option of a command, as documented."""
    rows = rows_of(section_of(CONFIGURATION, f"## {name}"))
    return {row[0].replace("`", ""): row[1:4] for row in rows}


def actual(name: str) -> dict[str, list[str]]:
    """The same, as click has it."""
    command = COMMANDS[name]
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {
        " / ".join(option.opts + option.secondary_opts): [
            f"`GATEWAY_{str(option.name).upper()}`",
            unit_of(option),
            default_of(command, option),
        ]
        for option in options
        if not option.hidden and option.name != "version"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_as_it_is(name: str) -> None:
    options = documented(name)
    options.pop("MODULE:ATTRIBUTE (argument)", None)
    assert options == actual(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_does_not_repeat_the_unit(name: str) -> None:
    options = [param for param in COMMANDS[name].params if isinstance(param, click.Option)]
    measured = [option for option in options if option.metavar in ("SECONDS", "BYTES")]
    assert measured
    assert not [o.name for o in measured if f"in {o.metavar}".lower() in str(o.help)]


def test_bind_is_explained_in_the_same_words_by_every_command() -> None:
    options = [param for command in COMMANDS.values() for param in command.params]
    helps = [o.help for o in options if isinstance(o, click.Option) and o.name == "bind"]
    assert len(helps) == 2
    assert len(set(helps)) == 1


@pytest.mark.parametrize("name", ["gateway-worker", "gateway-dev"])
def test_argument_is_documented_with_its_variable(name: str) -> None:
    (argument,) = (p for p in COMMANDS[name].params if isinstance(p, click.Argument))
    assert argument.metavar == "MODULE:ATTRIBUTE"
    assert documented(name)["MODULE:ATTRIBUTE (argument)"][0] == f"`{argument.envvar}`"


def test_every_option_of_pushing_is_documented_as_it_is() -> None:
    command = push_cli.main
    found: dict[str, list[str]] = {}
    users: dict[str, list[str]] = {}
    for name, sub in command.commands.items():
        for option in (param for param in sub.params if isinstance(param, click.Option)):
            variable = f"`{option.envvar}`" if option.envvar else "–"  # noqa: RUF001
            users.setdefault(option.opts[0], []).append(name)
            found[option.opts[0]] = [variable, unit_of(option), default_of(sub, option)]
    rows = rows_of(section_of(CONFIGURATION, "## gateway-push"))
    assert {row[0].strip("`"): row[1:4] for row in rows} == found
    for row in rows:
        named = users[row[0].strip("`")]
        assert row[4] == ("all" if len(named) == len(command.commands) else ", ".join(named))


def test_every_subcommand_of_pushing_is_documented() -> None:
    lines = section_of(CONFIGURATION, "## gateway-push").splitlines()
    named = {line.split()[1] for line in lines if line.startswith("    gateway-push ")}
    assert named == set(push_cli.main.commands)


# Protocol.


@pytest.mark.parametrize(("raw_text", "value_text"), EXAMPLES)
def test_example_of_the_protocol_is_read_as_shown(raw_text: str, value_text: str) -> None:
    envelope = wire.read_entry(bytes.fromhex(raw_text))
    assert as_lists(envelope) == as_lists(ast.literal_eval(value_text))


@pytest.mark.parametrize(("raw_text", "value_text"), EXAMPLES)
def test_example_of_the_protocol_is_what_is_written(raw_text: str, value_text: str) -> None:
    _version, sender, link, frames = ast.literal_eval(value_text)
    header = wire.LinkHeader._make(link) if link else None
    entry = wire.write_entry(wire.envelope_head(sender), header, [pack(f) for f in frames])
    assert entry.hex() == bytes.fromhex(raw_text).hex()


def as_lists(value: Any) -> Any:
    """Turn tuples within a decoded value into lists, to compare it with a literal."""
    if isinstance(value, (list, tuple)):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return value


def test_every_frame_of_the_protocol_has_an_example() -> None:
    frames = [frame for _, text in EXAMPLES for frame in ast.literal_eval(text)[3]]
    ops = {op for op, _ in FRAMES.values()} | {wire.MESSAGE, wire.DEAD, wire.LOST}
    assert {frame[1] for frame in frames} - {push_frames.PUSH} == ops


@pytest.mark.parametrize("name", FRAMES)
def test_fields_of_a_frame_are_documented(name: str) -> None:
    op, fields = FRAMES[name]
    rows = rows_of(section_of(PROTOCOL, f"### {name}"))[: len(fields)]
    assert tuple(row[0] for row in rows) == fields
    assert rows[1][1] == str(op)


def test_list_of_frames_is_complete() -> None:
    rows = rows_of(section_of(PROTOCOL, "## 2 Entries"))
    listed = {row[1]: int(row[0]) for row in rows if len(row) == 4}
    others = {"message": wire.MESSAGE, "dead": wire.DEAD, "lost": wire.LOST}
    assert listed == {name: op for name, (op, _) in FRAMES.items()} | others


def test_fields_of_the_link_header_are_documented() -> None:
    rows = rows_of(section_of(PROTOCOL, "## 3 Links"))
    assert tuple(row[1] for row in rows) == wire.LinkHeader._fields


def test_every_key_is_documented() -> None:
    keys = Keys("gw")
    names = [keys.alive, keys.dead, keys.incarnation, keys.renewed, keys.sweep]
    names += [keys.queue("NAME"), keys.inbox("PID"), keys.pushes("PID"), keys.lease("PID")]
    names += [keys.group("GROUP"), keys.replies("ID")]
    listed = {row[0].strip("`") for row in rows_of(section_of(PROTOCOL, "## 1 Keys"))}
    assert {name.decode().removeprefix("gw:") for name in names} == listed


def test_bounds_are_those_of_the_code() -> None:
    bounds = " ".join(row[1] for row in rows_of(section_of(PROTOCOL, "## 10 Bounds")))
    for bound in (
        wire.MAX_ENTRY_BYTES,
        wire.CHUNK_BYTES,
        Limits().window_bytes,
        InterfaceConfig().queue_capacity,
        MAX_BATCH,
        int(InterfaceConfig().queue_deadline_s),
    ):
        assert re.search(rf"\b{bound}\b", bounds), bound


def code_of(script: str) -> list[str]:
    return [line for line in script.splitlines() if line and not line.startswith("--")]


def test_script_of_pushing_is_that_of_the_code() -> None:
    (shown,) = re.findall(r"^```lua\n(.*?)^```$", PROTOCOL, re.M | re.S)
    assert code_of(shown) == code_of(PUSH_SCRIPT)


def test_script_of_the_node_example_is_that_of_the_code() -> None:
    example = (ROOT / "examples" / "push-from-node" / "push.mjs").read_text()
    (script,) = re.findall(r"const SCRIPT = `(.*?)`;", example, re.S)
    assert code_of(script) == code_of(PUSH_SCRIPT)


def test_frames_of_pushing_are_documented() -> None:
    rows = rows_of(section_of(PROTOCOL, "## 11 Pushing"))
    listed = {int(row[1]): row[2] for row in rows if len(row) == 4}
    assert listed == {op: ", ".join(frame._fields[3:]) for op, frame in push_frames.FRAMES.items()}


def test_version_is_that_of_the_code() -> None:
    assert PROTOCOL.startswith(f"# Protocol, version {wire.VERSION}\n")


# Interface servers of one's own.


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```$", SESSIONS, re.M | re.S))
def test_code_of_sessions_is_that_of_the_example(block: str) -> None:
    folder = ROOT / "examples" / "line_server"
    assert any(block in (folder / name).read_text() for name in ("server.py", "app.py"))


@pytest.mark.parametrize(
    ("heading", "documented"),
    [
        ("## The server's side", Owner),
        ("### What a protocol says of itself", SocketSession),
        ("### What it gets for that", SocketSession),
    ],
)
def test_names_of_sessions_are_those_of_the_code(heading: str, documented: type) -> None:
    section = section_of(SESSIONS, heading).partition("\n### ")[0]
    names = {name for row in rows_of(section) for name in re.findall(r"`(\w+)`", row[0])}
    assert names
    members = set(dir(documented)) | set(re.findall(r"self\.(\w+): ", getsource(documented)))
    assert names <= members


def test_every_hook_that_a_protocol_must_have_is_documented() -> None:
    rows = rows_of(section_of(SESSIONS, "### What a protocol says of itself"))
    hooks = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert SocketSession.__abstractmethods__ <= hooks


# All documents.


def test_every_benchmark_is_described() -> None:
    performance = (DOCS / "performance.md").read_text()
    rows = rows_of(section_of(performance, "## The benchmarks and their targets"))
    assert {row[0] for row in rows if row[0]} == set(BENCHMARKS)


def places_in_the_architecture() -> list[Path]:
    """A place without a folder of its own is beside the one before it."""
    found: list[Path] = []
    for row in rows_of(section_of(ARCHITECTURE, "## Where things are")):
        folder = ROOT
        for place in re.findall(r"`([^`]+)`", row[1]):
            found.append(ROOT / place if (ROOT / place).exists() else folder / place)
            folder = found[-1].parent
    return found


def test_places_in_the_architecture_exist() -> None:
    assert [path for path in places_in_the_architecture() if not path.exists()] == []


@pytest.mark.parametrize("package", ["layer", "interface_server", "workers"])
def test_every_module_has_its_place_in_the_architecture(package: str) -> None:
    places = set(places_in_the_architecture())
    modules = [path for path in (ROOT / package).rglob("*.py") if path.stem.strip("_") == path.stem]
    assert modules
    assert [path for path in modules if places.isdisjoint((path, *path.parents))] == []


def anchors_of(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors_of(path.read_text()), target


@pytest.mark.parametrize("document", ABOUT_COMMANDS, ids=lambda path: str(path.name))
def test_options_that_are_mentioned_exist(document: Path) -> None:
    known = {name for command in COMMANDS.values() for p in command.params for name in p.opts}
    pushing = push_cli.main.commands.values()
    known |= {name for command in pushing for p in command.params for name in p.opts}
    known |= {
        name for command in COMMANDS.values() for p in command.params for name in p.secondary_opts
    }
    foreign = {"--build", "--scale", "--help", "--host", "--port"}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", document.read_text()))
    assert mentioned <= known | foreign


def test_tests_that_show_the_guarantees_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", GUARANTEES.read_text()))
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in sources for name in re.findall(r"def (test_\w+)\(", text)}
    assert named
    assert named <= defined, named - defined


async def test_example_of_the_guarantees_counts_on_with_its_state() -> None:
    (source,) = re.findall(r"```python\n# counter.py\n(.*?)```", GUARANTEES.read_text(), re.S)
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    state = {"count": 41}
    scope = {"type": "websocket", "extensions": {"gateway": {"state": state}}}
    events = [{"type": f"websocket.{kind}"} for kind in ("connect", "receive", "disconnect")]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await namespace["app"](scope, receive, send)
    assert sent[0] == {"type": "websocket.accept", "resume": True}
    assert sent[1]["text"] == "42"
    assert state == {"count": 42}


def test_setting_of_channels_makes_the_layer() -> None:
    found = re.search(
        r"```python\n(CHANNEL_LAYERS.*?)```", (DOCS / "channels.md").read_text(), re.S
    )
    assert found is not None
    namespace: dict[str, Any] = {}
    exec(found[1], namespace)
    configure(namespace["CHANNEL_LAYERS"])
    try:
        assert isinstance(get_channel_layer(), RedisChannelLayer)
    finally:
        configure({})


def test_mutations_are_those_that_are_tried() -> None:
    rows = rows_of(section_of(GUARANTEES.read_text(), "## Mutations"))
    assert [row[0] for row in rows] == [mutant.name for mutant in MUTANTS]
