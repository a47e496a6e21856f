"""`gateway-push` as a real command."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from tests.layer.push.conftest import Open

from gateway_layer.names import new_pid

Result = subprocess.CompletedProcess[bytes]
Run = Callable[..., Result]


@pytest.fixture
def run(url: str) -> Run:
    def run(*args: str, stdin: bytes = b"", redis: str = url) -> Result:
        return subprocess.run(
            [sys.executable, "-m", "gateway_layer.push", *args],
            input=stdin,
            capture_output=True,
            env={"GATEWAY_REDIS": redis, "PYTHONPATH": ":".join(sys.path)},
            timeout=30,
            check=False,
        )

    return run


async def test_text_comes_from_the_arguments(run: Run, open_client: Open) -> None:
    client, address = await open_client()
    assert run("send", address, "hello", "world", "--confirm").returncode == 0
    assert await client.recv() == "hello world"


async def test_text_comes_from_standard_input(run: Run, open_client: Open) -> None:
    client, address = await open_client()
    assert run("send", address, stdin="grüße\n".encode()).returncode == 0
    assert await client.recv() == "grüße"


async def test_bytes_are_sent_as_they_are(run: Run, open_client: Open) -> None:
    client, address = await open_client()
    assert run("send", address, "--bytes", stdin=b"\xff\n").returncode == 0
    assert await client.recv() == b"\xff\n"


async def test_json_is_checked(run: Run, open_client: Open) -> None:
    client, address = await open_client()
    assert run("send", address, "--json", '{"a": 1}').returncode == 0
    assert await client.recv() == '{"a": 1}'
    wrong = run("send", address, "--json", "{a: 1}")
    assert wrong.returncode == 2
    assert b"not JSON" in wrong.stderr


async def test_close_has_code_and_reason(run: Run, open_client: Open) -> None:
    client, address = await open_client()
    assert run("close", address, "4002", "moved").returncode == 0
    await client.wait_closed()
    assert (client.close_code, client.close_reason) == (4002, "moved")


async def test_groups_and_their_members_are_listed(run: Run, open_client: Open) -> None:
    client, address = await open_client()
    assert run("group-add", "cli", address).returncode == 0
    assert run("groups", address).stdout == b"cli\n"
    assert run("connections", "cli").stdout.decode() == f"{address}\n"
    assert run("group-send", "cli", "to all").stdout == b"1\n"
    assert await client.recv() == "to all"
    assert run("group-send", "cli", "but one", "--exclude", address).stdout == b"0\n"
    assert run("group-discard", "cli", address).returncode == 0
    assert run("connections", "cli").stdout == b""


async def test_info_is_json(run: Run, open_client: Open) -> None:
    _client, address = await open_client()
    info = json.loads(run("info", address).stdout)
    assert (info["reply_channel"], info["path"]) == (address, "/address")


@pytest.mark.parametrize("first", ["-", "A"])
def test_connection_that_is_gone_is_1(run: Run, first: str) -> None:
    result = run("send", f"{first}{new_pid()[1:]}!{new_pid()}", "hello")
    assert result.returncode == 1
    assert result.stderr.startswith(b"gateway-push: ")
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ("send", "nobody", "text"),
        ("send", "a!b", "text", "--jsn"),
        ("send", "a!b", "--json", "--bytes", "x"),
        ("close", "a!b", "17"),
        ("group-send", "a group", "x"),
        ("connections",),
        ("shout", "x"),
        ("count", "g", "--redis", "http://here"),
        ("connections", "g", "--redis", "http://here"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_2_with_one_line(run: Run, args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.returncode == 2
    assert result.stderr.startswith(b"gateway-push: ")
    assert result.stderr.count(b"\n") == 1


def test_text_that_is_not_utf8_is_2(run: Run) -> None:
    result = run("send", "a!b", stdin=b"\xff")
    assert (result.returncode, b"--bytes" in result.stderr) == (2, True)


def test_unreachable_redis_is_3(run: Run) -> None:
    result = run("connections", "g", redis="redis://127.0.0.1:1/0")
    assert result.returncode == 3
    assert result.stderr.count(b"\n") == 1


def test_version_and_help(run: Run) -> None:
    assert run("--version").stdout.startswith(b"gateway-push ")
    assert b"group-send" in run("--help").stdout
    assert b"GATEWAY_REDIS" in run("send", "--help").stdout
