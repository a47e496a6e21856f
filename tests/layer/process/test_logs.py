import asyncio
import io
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_layer.process.logs import FLUSH_CHARS, MAX_PENDING_CHARS, AccessLog, set_up_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logger() -> Iterator[None]:
    logger = logging.getLogger("gateway")
    before = (logger.handlers, logger.propagate, logger.level)
    yield
    logger.handlers, logger.propagate, level = before
    logger.setLevel(level)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def read_now(fd: int) -> bytes:
    try:
        return os.read(fd, 2**21)
    except BlockingIOError:
        return b""


async def read_soon(fd: int) -> bytes:
    async with asyncio.timeout(5):
        while not (raw := read_now(fd)):  # noqa: ASYNC110 (the other end is a pipe)
            await asyncio.sleep(0.005)
    return raw


def test_line_has_time_level_and_message() -> None:
    stream = io.StringIO()
    set_up_logging("info", stream)
    logging.getLogger("gateway.interface").warning("client %s cut", "10.0.0.1")
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning client 10\.0\.0\.1 cut\n", stream.getvalue())


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    set_up_logging("warning", stream)
    logging.getLogger("gateway.worker").info("hardly worth it")
    assert stream.getvalue() == ""


def test_traceback_follows_its_line() -> None:
    stream = io.StringIO()
    set_up_logging("info", stream)
    try:
        dict[str, str]()["user"]
    except KeyError:
        logging.getLogger("gateway").exception("application failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("error application failed")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "KeyError: 'user'"


def test_levels_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    set_up_logging("info", stream)
    logging.getLogger("gateway").error("lost")
    assert "\x1b[31merror\x1b[0m lost" in stream.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    set_up_logging("info", stream)
    logging.getLogger("gateway").error("lost")
    assert "\x1b" not in stream.getvalue()


def test_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging("info", first)
    set_up_logging("info", second)
    logging.getLogger("gateway").info("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)


def test_root_logger_is_left_to_the_application() -> None:
    before = list(logging.getLogger().handlers)
    set_up_logging("info", io.StringIO())
    assert logging.getLogger().handlers == before


async def test_access_lines_of_a_while_are_written_together(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    log.write("GET / 200")
    log.write("GET /favicon.ico 404")
    assert read_now(pipe[0]) == b""
    assert await read_soon(pipe[0]) == b"GET / 200\nGET /favicon.ico 404\n"
    log.close()


async def test_access_lines_after_a_flush_are_written_too(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    log.write("first")
    assert await read_soon(pipe[0]) == b"first\n"
    log.write("second")
    assert await read_soon(pipe[0]) == b"second\n"
    log.close()


async def test_many_access_lines_do_not_wait(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    line = "x" * 1023
    for _ in range(FLUSH_CHARS // 1024 + 1):
        log.write(line)
    assert read_now(pipe[0]).startswith(b"xxx")
    log.close()


async def test_close_writes_what_is_left(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    log.write("last")
    log.close()
    assert read_now(pipe[0]) == b"last\n"


async def test_reader_that_does_not_keep_up_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    line = "x" * 1023
    written = 2 * MAX_PENDING_CHARS // 1024
    for _ in range(written):
        log.write(line)
    assert 0 < log.dropped < written
    received = b""
    async with asyncio.timeout(10):
        while len(received) < (written - log.dropped) * 1024:
            received += read_now(pipe[0])
            await asyncio.sleep(0)
    assert received == (line + "\n").encode() * (written - log.dropped)
    log.close()


async def test_reader_that_is_gone_costs_lines_only() -> None:
    read_fd, write_fd = os.pipe()
    log = AccessLog(asyncio.get_running_loop(), write_fd)
    os.close(read_fd)
    log.write("nobody")
    log.flush()
    assert log.dropped == 1
    log.close()
    os.close(write_fd)


async def test_stdout_keeps_its_blocking_mode(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    assert os.get_blocking(pipe[1])
    log.close()


async def test_access_lines_are_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with path.open("wb", buffering=0) as file:
        file.write(b"before\n")
        log = AccessLog(asyncio.get_running_loop(), file.fileno())
        log.write("GET / 200")
        log.close()
        file.write(b"after\n")
    assert path.read_text() == "before\nGET / 200\nafter\n"


async def test_socket_that_takes_nothing_does_not_block() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log = AccessLog(asyncio.get_running_loop(), ours.fileno())
        for _ in range(2 * MAX_PENDING_CHARS // 1024):
            log.write("x" * 1023)
        assert log.dropped
        assert theirs.recv(4) == b"xxxx"
        log.close()


async def test_text_that_is_no_unicode_is_escaped(pipe: tuple[int, int]) -> None:
    log = AccessLog(asyncio.get_running_loop(), pipe[1])
    log.write("GET /\udcff")
    log.close()
    assert read_now(pipe[0]) == b"GET /\\udcff\n"


def test_stderr_is_the_default_stream(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    logging.getLogger("gateway").info("here")
    sys.stderr.flush()
    assert "info here" in capsys.readouterr().err
