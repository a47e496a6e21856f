"""Ctrl-C while a command starts: real processes whose imports are held up."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent
COMMANDS = [
    [str(SCRIPTS / "gateway-interface")],
    [str(SCRIPTS / "gateway-worker"), "m:app"],
    [str(SCRIPTS / "gateway-dev"), "m:app"],
    [sys.executable, "-m", "gateway_interface"],
    [sys.executable, "-m", "gateway_worker", "m:app"],
    [sys.executable, "-m", "gateway_worker.dev", "m:app"],
]
HELD_UP = "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(60)\n"


def interrupt(command: list[str], module: str, folder: Path) -> tuple[int, str]:
    """Send SIGINT while the command imports a module; return its status and what it said."""
    (folder / f"{module}.py").write_text(HELD_UP)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while not (folder / "importing").exists():
            assert time.monotonic() < deadline, "it did not import the module in time"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    return process.returncode, stderr.strip()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: Path(words[0]).name + words[-1])
def test_interrupt_before_the_command_runs_is_status_130_without_a_word(
    command: list[str], tmp_path: Path
) -> None:
    assert interrupt(command, "click", tmp_path) == (130, "")


@pytest.mark.parametrize("command", COMMANDS[3:5], ids=lambda words: words[2])
def test_interrupt_before_the_command_serves_is_status_130_without_a_word(
    command: list[str], tmp_path: Path
) -> None:
    assert interrupt(command, "redis", tmp_path) == (130, "")


def test_signals_of_another_program_are_left_alone() -> None:
    # In the background of a script, SIGINT would be ignored.
    before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    check = "sys.exit(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)"
    program = f"{before}; import sys, gateway_interface.cli, gateway_worker.dev; {check}"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
