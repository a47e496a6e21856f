"""The supervising parent, as a real process with real children."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway_layer.process.places import Child, Place, back_off_s, how_it_ended

PROGRAM = Path(__file__).parent / "supervised.py"


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def is_running(os_pid: int) -> bool:
    """Whether the process is there; one that only waits to be reaped is not."""
    try:
        return Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Line:
    what: str
    index: str
    pid: str
    os_pid: int


class Program:
    """One run of supervised.py in a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def set_mode(self, mode: str) -> None:
        (self.folder / "mode.new").write_text(mode)
        (self.folder / "mode.new").rename(self.folder / "mode")

    def start(
        self,
        processes: int,
        *options: str,
        mode: str = "serve",
        graceful_s: float = 10.0,
        pass_fds: tuple[int, ...] = (),
        stderr_is_read: bool = True,
    ) -> None:
        self.set_mode(mode)
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(processes), str(graceful_s), *options],
                cwd=self.folder,
                stdout=out,
                stderr=err if stderr_is_read else subprocess.PIPE,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        if self.process.stderr is not None:
            self.process.stderr.close()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(15)

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def lines(self, what: str) -> list[Line]:
        found = [line.split() for line in self.out.splitlines() if line.startswith(what + " ")]
        return [Line(words[0], words[1], words[2], int([*words, "0"][3])) for words in found]

    def wait_for(self, what: str, count: int = 1) -> list[Line]:
        wait_until(lambda: len(self.lines(what)) >= count)
        return self.lines(what)

    def wait_for_err(self, text: str, count: int = 1) -> None:
        wait_until(lambda: self.err.count(text) >= count)

    def wait_until_ready(self) -> None:
        self.wait_for_err("program ready: here\n")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    if program.process is not None:
        if program.process.poll() is None:
            program.process.kill()
        program.process.wait()
        for line in program.lines("start"):
            if is_running(line.os_pid):
                os.kill(line.os_pid, signal.SIGKILL)


def test_is_ready_once_when_all_children_are(program: Program) -> None:
    program.start(3)
    program.wait_until_ready()
    assert len(program.lines("ready")) == 3
    assert program.err == "program ready: here\n"


def test_children_have_an_index_and_a_name_of_their_own(program: Program) -> None:
    program.start(3)
    program.wait_until_ready()
    children = program.lines("ready")
    assert {line.index for line in children} == {"0", "1", "2"}
    assert len({line.pid for line in children}) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drains_with_status_0(program: Program, number: signal.Signals) -> None:
    program.start(2)
    program.wait_until_ready()
    program.send(number)
    assert program.end() == 0
    assert len(program.lines("end")) == 2
    assert not program.lines("death")


def test_stop_is_told_before_children_drain(program: Program) -> None:
    program.start(1)
    program.wait_until_ready()
    program.send(signal.SIGTERM)
    program.end()
    assert program.out.index("stop\n") < program.out.index("drain ")


def test_ctrl_c_in_a_terminal_drains_each_child_once(program: Program) -> None:
    program.start(2)
    program.wait_until_ready()
    program.send_group(signal.SIGINT)
    assert program.end() == 0
    assert len(program.lines("drain")) == 2


def test_sigterm_to_every_process_drains_each_child_once(program: Program) -> None:
    program.start(2)
    program.wait_until_ready()
    program.send_group(signal.SIGTERM)
    assert program.end() == 0
    assert len(program.lines("drain")) == 2


def test_second_signal_ends_at_once(program: Program) -> None:
    program.start(2, mode="slow")
    program.wait_until_ready()
    program.send(signal.SIGINT)
    program.wait_for("drain", 2)
    program.send(signal.SIGINT)
    assert program.end() == 0
    assert len(program.lines("end")) == 2


def test_child_that_does_not_drain_is_killed(program: Program) -> None:
    program.start(1, mode="slow", graceful_s=0.1)
    program.wait_until_ready()
    program.send(signal.SIGTERM)
    assert program.end() == 0
    assert len(program.lines("death")) == 1
    assert "process 0 did not end in time, killed" in program.err


def test_second_signal_kills_what_still_starts(program: Program) -> None:
    program.start(2, mode="stuck")
    program.wait_for("start", 2)
    program.send(signal.SIGTERM)
    wait_until(lambda: "stop\n" in program.out)
    program.send(signal.SIGTERM)
    assert program.end() == 0


def test_killed_child_is_announced_and_started_again(program: Program) -> None:
    program.start(2)
    program.wait_until_ready()
    victim = program.lines("ready")[0]
    os.kill(victim.os_pid, signal.SIGKILL)
    heir = program.wait_for("told", 3)[2]
    assert heir.index == victim.index
    assert heir.pid != victim.pid
    assert [line.pid for line in program.lines("death")] == [victim.pid]
    assert program.out.index("death ") < program.out.rindex("start ")
    assert f"process {victim.index} was killed by SIGKILL, next start in 0 s" in program.err


def test_death_is_announced_within_100_ms(program: Program) -> None:
    program.start(1)
    program.wait_until_ready()
    killed_at = time.monotonic()
    os.kill(program.lines("ready")[0].os_pid, signal.SIGKILL)
    death = program.wait_for("death")[0]
    assert float(death.index) - killed_at < 0.1


def test_child_that_dies_young_again_waits_longer(program: Program) -> None:
    program.start(1)
    program.wait_until_ready()
    for count in (1, 2, 3):
        os.kill(program.wait_for("told", count)[-1].os_pid, signal.SIGKILL)
        program.wait_for("death", count)
    program.wait_for("ready", 4)
    assert re.findall(r"next start in (\S+) s", program.err) == ["0", "0.1", "0.2"]


def test_child_that_has_done_its_share_is_replaced_without_a_word(program: Program) -> None:
    program.start(1)
    program.wait_until_ready()
    os.kill(program.lines("ready")[0].os_pid, signal.SIGUSR1)
    program.wait_for("ready", 2)
    assert not program.lines("death")
    assert program.err == "program ready: here\n"


def test_wrong_configuration_is_one_line_and_status_2(program: Program) -> None:
    program.start(3, mode="config")
    assert program.end() == 2
    assert program.err == "program: no such application\n"


def test_failed_start_up_ends_with_its_status(program: Program) -> None:
    program.start(1, mode="exit3")
    assert program.end() == 3
    assert len(program.lines("start")) == 1
    assert not program.lines("death")


def test_exception_at_start_keeps_its_traceback(program: Program) -> None:
    program.start(2, mode="raise")
    assert program.end() == 1
    assert program.err.count("Traceback") == 1
    assert program.err.endswith("RuntimeError: broken while it started\n")


def test_child_that_ends_with_0_before_it_was_ready_is_a_failure(program: Program) -> None:
    program.start(1, mode="exit0")
    assert program.end() == 1


def test_child_killed_before_it_was_ready_is_started_again(program: Program) -> None:
    program.start(1, mode="stuck")
    child = program.wait_for("start")[0]
    program.set_mode("serve")
    os.kill(child.os_pid, signal.SIGKILL)
    program.wait_until_ready()
    assert not program.lines("death")


def test_later_failure_to_start_is_tried_again(program: Program) -> None:
    program.start(1)
    program.wait_until_ready()
    program.set_mode("exit3")
    os.kill(program.lines("ready")[0].os_pid, signal.SIGKILL)
    program.wait_for_err("process 0 exited with status 3, next start in 0.1 s")
    program.set_mode("serve")
    program.wait_for("ready", 2)


def test_hangup_replaces_one_after_another(program: Program) -> None:
    program.start(2)
    program.wait_until_ready()
    program.send(signal.SIGHUP)
    program.wait_for("end", 2)
    program.wait_for("ready", 4)
    order = [line.split()[:2] for line in program.out.splitlines()]
    order = [words for words in order if words[0] in ("ready", "drain")][2:]
    assert order == [["ready", "0"], ["drain", "0"], ["ready", "1"], ["drain", "1"]]
    assert not program.lines("death")


def test_replacement_that_fails_leaves_the_old_one(program: Program) -> None:
    program.start(2)
    program.wait_until_ready()
    program.set_mode("raise")
    program.send(signal.SIGHUP)
    program.wait_for_err("new process 0 exited with status 1, the old one goes on")
    assert "RuntimeError: broken while it started" in program.err
    assert not program.lines("drain")
    assert len(program.lines("start")) == 3


def test_old_child_that_dies_while_its_replacement_starts_is_succeeded_by_it(
    program: Program,
) -> None:
    program.start(1)
    program.wait_until_ready()
    program.set_mode("stuck")
    program.send(signal.SIGHUP)
    program.wait_for("start", 2)
    os.kill(program.lines("ready")[0].os_pid, signal.SIGKILL)
    program.wait_for("death")
    assert len(program.lines("start")) == 2


def test_change_of_a_file_replaces_the_children(program: Program) -> None:
    program.start(2, "reload")
    program.wait_until_ready()
    (program.folder / "views.py").write_text("answer = 42\n")
    program.wait_for("ready", 4)
    program.wait_for("end", 2)
    assert "views.py changed, replacing the processes" in program.err


def test_change_of_another_file_replaces_nothing(program: Program) -> None:
    program.start(1, "reload")
    program.wait_until_ready()
    (program.folder / "notes.txt").write_text("nothing")
    (program.folder / "views.py").write_text("")
    program.wait_for("ready", 2)
    assert program.err.count("changed") == 1


def test_change_that_breaks_the_application_is_shown_and_repaired(program: Program) -> None:
    program.start(1, "reload")
    program.wait_until_ready()
    program.set_mode("raise")
    (program.folder / "views.py").write_text("broken")
    program.wait_for_err("the old one goes on")
    assert not program.lines("drain")
    program.set_mode("serve")
    (program.folder / "views.py").write_text("repaired")
    program.wait_for("end")
    assert len(program.lines("ready")) == 2


def test_with_reload_a_place_that_cannot_be_filled_waits_for_a_change(program: Program) -> None:
    program.start(1, "reload")
    program.wait_until_ready()
    program.set_mode("exit3")
    os.kill(program.lines("ready")[0].os_pid, signal.SIGKILL)
    program.wait_for_err("process 0 exited with status 3, waiting for a change")
    program.set_mode("serve")
    (program.folder / "views.py").write_text("repaired")
    program.wait_for("ready", 2)


def test_children_drain_when_the_parent_is_killed(program: Program) -> None:
    program.start(2)
    program.wait_until_ready()
    program.send(signal.SIGKILL)
    program.wait_for("end", 2)
    wait_until(lambda: not any(is_running(line.os_pid) for line in program.lines("ready")))


def test_child_with_a_blocked_loop_ends_when_the_parent_is_killed(program: Program) -> None:
    program.start(1, mode="deaf", graceful_s=0.2)
    child = program.wait_for("told")[0]
    program.send(signal.SIGKILL)
    wait_until(lambda: not is_running(child.os_pid))


def test_watcher_ends_when_the_parent_is_killed(program: Program) -> None:
    program.start(1, "reload")
    program.wait_until_ready()
    assert program.process is not None
    tasks = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
    children = [int(word) for word in tasks.read_text().split()]
    assert len(children) == 2
    program.send(signal.SIGKILL)
    wait_until(lambda: not any(is_running(os_pid) for os_pid in children))


def test_child_keeps_no_descriptor_of_its_siblings(program: Program) -> None:
    program.start(4)
    program.wait_until_ready()
    open_files = [len(os.listdir(f"/proc/{line.os_pid}/fd")) for line in program.lines("ready")]
    assert len(set(open_files)) == 1


def test_what_an_application_registered_at_exit_runs_once(program: Program) -> None:
    program.start(1)
    program.wait_until_ready()
    program.send(signal.SIGTERM)
    program.end()
    assert len(program.lines("atexit")) == 1


def test_stderr_that_nobody_reads_ends_nothing(program: Program) -> None:
    program.start(1, stderr_is_read=False)
    program.wait_for("ready")
    os.kill(program.lines("ready")[0].os_pid, signal.SIGKILL)
    program.wait_for("ready", 2)
    program.send(signal.SIGTERM)
    assert program.end() == 0


@pytest.fixture
def controlled(program: Program) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(15)
    with ours:
        with theirs:
            program.start(1, f"control={theirs.fileno()}", mode="slow", pass_fds=(theirs.fileno(),))
        assert ours.recv(100) == b"here\n"
        yield ours


def test_control_socket_hears_instead_of_stderr(
    program: Program, controlled: socket.socket
) -> None:
    assert program.err == ""


def test_bytes_on_the_control_socket_ask_to_stop(
    program: Program, controlled: socket.socket
) -> None:
    controlled.send(b"\0")
    program.wait_for("drain")
    controlled.send(b"\0")
    assert program.end() == 0


def test_end_of_the_control_socket_drains(program: Program, controlled: socket.socket) -> None:
    controlled.close()
    program.wait_for("drain")
    program.send(signal.SIGTERM)
    assert program.end() == 0


def test_back_off_grows_from_0_to_5_seconds() -> None:
    delays = [back_off_s(failures) for failures in range(1, 9)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert back_off_s(10_000) == 5.0


def test_failure_after_a_long_life_counts_as_the_first() -> None:
    place = Place(0, failures=6)
    child = Child(0, "pid", 1, -1, 0, started_at=100.0)
    assert place.count_failure(child, now=110.0) == 0.0
    assert place.start_at == 110.0


def test_end_of_a_process_in_words() -> None:
    assert how_it_ended(3) == "exited with status 3"
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(-40) == "was killed by signal 40"
