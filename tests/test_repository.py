"""The repository as a whole: what must be in it, and what must not."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
FOLDERS = (
    *("layer", "interface_server", "workers"),
    *("deploy", "docs", "examples", "benchmarks", "tests", ".ci"),
)
PRODUCT = ("layer", "interface_server", "workers", "docs", "deploy", "examples")

LEFT_BY_TOOLS = {"__pycache__", "node_modules"}


def files_of(folders: tuple[str, ...]) -> Iterator[Path]:
    """Find the text files of some folders; nothing that tools left there."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and LEFT_BY_TOOLS.isdisjoint(path.parts) and path.suffix != ".pyc":
                yield path


def everything() -> Iterator[Path]:
    yield from files_of(FOLDERS)
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix != ".pyc")


def found_in(files: Iterator[Path], pattern: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if re.search(pattern, line)
    ]


def test_no_path_of_a_machine_is_in_any_file() -> None:
    # In brackets, so that this line is not found.
    places = r"[/](work|root|home|Users)/\w|[/]tmp/\w+/\w"
    assert found_in(everything(), places) == []


def test_nothing_outside_the_repository_is_referred_to() -> None:
    assert found_in(files_of(PRODUCT), r"[.][.]/shared") == []


def test_nothing_is_left_to_be_done() -> None:
    assert found_in(everything(), r"\b(TOD[O]|FIXM[E]|XX[X])\b") == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    assert (
        found_in(files_of(("tests",)), r"pytest[.](skip|xfail|importorskip)|mark[.](skip|xfail)")
        == []
    )


def test_ci_script_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    result = subprocess.run(
        ["bash", "-n", str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr


def test_ci_tries_every_python_that_is_supported() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert versions[0] == PROJECT["requires-python"].removeprefix(">=")
    (tried,) = re.findall(r"^for version in (.*); do$", script, re.MULTILINE)
    assert tried.split() == versions[1:]


def foreign_modules(path: Path) -> Iterator[str]:
    """Name the top of each module that a file imports from outside the repository."""
    folders = [folder for folder in path.parents if folder.is_relative_to(ROOT)]
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.append(str(node.module))
        for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
            local = any(
                (folder / file).exists() for folder in folders for file in (top, f"{top}.py")
            )
            if not local and not top.startswith("gateway_"):
                yield top


def test_every_package_that_is_imported_is_installed_by_make_venv() -> None:
    extras, groups = PROJECT["optional-dependencies"], SETTINGS["dependency-groups"]
    lists = [PROJECT["dependencies"], *extras.values(), *groups.values()]
    named = {re.split(r"[^\w-]", line)[0].lower() for lines in lists for line in lines}
    named |= {"botocore", "urllib3", "werkzeug"}  # boto3 and flask are made of them
    providers = packages_distributions()
    sources = (path for path in files_of(FOLDERS) if path.suffix == ".py")
    imported = {name for path in sources for name in foreign_modules(path)}
    assert imported
    unnamed = {
        name for name in imported if named.isdisjoint(map(str.lower, providers.get(name, ())))
    }
    assert unnamed == set()


def test_version_is_in_the_changelog() -> None:
    assert f"\n## {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_license_is_the_one_that_the_package_names() -> None:
    assert (ROOT / "LICENSE").read_text().startswith(f"{PROJECT['license']} License\n")


def test_setting_up_is_announced_once() -> None:
    command = ["make", "--dry-run", "--always-make", "run"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r"setting up \S+, once", planned)) == 1
    assert planned.index("setting up") < planned.index("pip install")
