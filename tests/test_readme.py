"""Everything that the README shows is run as it is shown, but for the ports."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from gateway_interface import cli as interface_cli
from gateway_layer.embedded import EmbeddedServer
from gateway_worker import cli as worker_cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
TRANSCRIPTS = [text for language, text in BLOCKS if language == "console"]
SHELL = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
TIMEOUT_S = 30.0
DEFAULTS = {
    param.opts[0]: param.default
    for command in (worker_cli.main, interface_cli.main)
    for param in command.params
}


class Session:
    """A shell in which a transcript is typed."""

    def __init__(self, folder: Path, redis_port: int) -> None:
        self._folder = folder
        self._ports = {"127.0.0.1:6379": f"127.0.0.1:{redis_port}"}
        inherited = {name: text for name, text in os.environ.items() if "GATEWAY_" not in name}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
        self._env = inherited | {"PATH": path}
        self._background: list[subprocess.Popen[bytes]] = []

    def local(self, text: str) -> str:
        """Put ports that are free here in the place of those shown."""
        for shown in sorted(set(re.findall(r"127\.0\.0\.1:\d+", text))):
            if shown not in self._ports:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    self._ports[shown] = f"127.0.0.1:{free.getsockname()[1]}"
        return re.sub(r"127\.0\.0\.1:\d+", lambda found: self._ports[found[0]], text)

    def write_files(self) -> None:
        """Write every Python block to the file that its first line names."""
        for language, text in BLOCKS:
            if language == "python":
                name = text.partition("\n")[0].removeprefix("# ")
                (self._folder / name).write_text(self.local(text))

    def type(self, line: str, expected: str) -> None:
        """Run one line, and compare what it prints."""
        words = shlex.split(self.local(line))
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self._env[name] = value
        elif words[0] == "curl":
            assert self._fetch(words[1]) == expected
        elif words[-1] == "&":
            self._start(words[:-1], expected)
        else:
            assert self._run(words) == expected

    def _fetch(self, url: str) -> str:
        return httpx.get(url, timeout=TIMEOUT_S).text

    def _run(self, words: list[str]) -> str:
        return subprocess.run(
            words,
            cwd=self._folder,
            env=self._env,
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        ).stdout

    def _start(self, words: list[str], expected: str) -> None:
        output = self._folder / f"output-{len(self._background)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                words, cwd=self._folder, env=self._env, stdout=file, stderr=subprocess.STDOUT
            )
        self._background.append(process)
        deadline = time.monotonic() + TIMEOUT_S
        while not output.read_text().endswith(expected):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, f"no {expected!r} in {output.read_text()!r}"
            time.sleep(0.01)
        assert output.read_text() == expected

    def end(self) -> list[int]:
        """Drain what runs in the background; return the exit statuses."""
        for process in reversed(self._background):
            process.send_signal(signal.SIGTERM)
        return [process.wait(TIMEOUT_S) for process in self._background]

    def kill(self) -> None:
        for process in self._background:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    with EmbeddedServer(port=0) as server:
        yield server.port


def lines_of(transcript: str) -> list[tuple[str, str]]:
    """Return each line that is typed, with what is printed after it."""
    return [
        (line, printed)
        for line, _, printed in (part.partition("\n") for part in transcript.split("$ ")[1:])
    ]


def title_of(transcript: str) -> str:
    """Return the heading under which a transcript stands, and its number there."""
    before = README.partition(transcript)[0]
    heading = re.findall(r"^##+ (.*)$", before, re.MULTILINE)[-1]
    return f"{heading}-{TRANSCRIPTS.index(transcript)}"


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=title_of)
def test_transcript_happens_as_shown(transcript: str, tmp_path: Path, redis_port: int) -> None:
    session = Session(tmp_path, redis_port)
    session.write_files()
    try:
        for line, printed in lines_of(transcript):
            session.type(line, session.local(printed))
        assert not any(session.end())
    finally:
        session.kill()


def test_every_python_block_is_part_of_a_transcript() -> None:
    typed = " ".join(TRANSCRIPTS)
    for language, text in BLOCKS:
        if language == "python":
            module = text.partition("\n")[0].removeprefix("# ").removesuffix(".py")
            assert f" {module}:app" in typed or f" {module}.py" in typed


def test_blocks_are_of_kinds_that_are_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python", "console"}


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [line.split()[1] for line in SHELL if line.startswith("make ")]
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_chaos_takes_as_long_as_the_makefile_says() -> None:
    (said,) = re.findall(r"^chaos: .*## .*(about [^,]*),", (ROOT / "Makefile").read_text(), re.M)
    for name in ("README.md", "CONTRIBUTING.md"):
        (line,) = re.findall(r"^ *make chaos .*", (ROOT / name).read_text(), re.M)
        assert line.endswith(said), name


def amount_of(text: str) -> float:
    """Read an amount as a table shows it, such as `64 KiB`."""
    number, _, unit = text.partition(" ")
    return float(number) * {"KiB": 2**10, "MiB": 2**20}.get(unit, 1)


def test_limits_are_the_defaults_of_the_options() -> None:
    section = README.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .* \| (.*) \| (`--.*`) \|$", section, re.M)
    assert rows
    for shown, names in rows:
        for amount, name in zip(shown.split(", "), names.split(", "), strict=True):
            assert amount_of(amount) == DEFAULTS[name.strip("`")], name


def test_services_that_are_scaled_exist() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    scaled = re.findall(r"--scale (\w+)=", "\n".join(SHELL))
    assert scaled
    assert set(scaled) <= set(services)


def test_version_is_that_of_the_project() -> None:
    (shown,) = re.findall(r"This is version (\d+\.\d+\.\d+)\.", README)
    assert f'version = "{shown}"' in (ROOT / "pyproject.toml").read_text()
