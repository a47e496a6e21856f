"""Files that are sent by their path: read in blocks, closed whatever happens."""

import os
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.workers.wsgi.driver import until

from gateway_layer.errors import ApplicationError
from gateway_worker.files import BLOCK_BYTES, read_file


async def blocks_of(path: Path, limit: int | None = None) -> list[tuple[bytes, bool]]:
    async with aclosing(read_file(str(path), limit)) as blocks:
        return [one async for one in blocks]


def write(path: Path, content: bytes) -> None:
    """Make the file anew."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def open_files(path: Path) -> int:
    """How many times this process has a file open."""
    links = (os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
    return sum(os.path.realpath(link) == str(path) for link in links)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "file"


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        (0, None, [(0, False)]),
        (5, None, [(5, False)]),
        (5, 5, [(5, False)]),
        (5, 3, [(3, False)]),
        (5, 0, [(0, False)]),
        (5, 9, [(5, False)]),
        (BLOCK_BYTES, None, [(BLOCK_BYTES, True), (0, False)]),
        (BLOCK_BYTES, BLOCK_BYTES, [(BLOCK_BYTES, False)]),
        (BLOCK_BYTES + 1, None, [(BLOCK_BYTES, True), (1, False)]),
        (BLOCK_BYTES + 9, BLOCK_BYTES + 1, [(BLOCK_BYTES, True), (1, False)]),
    ],
)
async def test_a_file_comes_in_blocks_up_to_the_limit(
    file: Path, size: int, limit: int | None, expected: list[tuple[int, bool]]
) -> None:
    content = os.urandom(size)
    write(file, content)
    blocks = await blocks_of(file, limit)
    assert [(len(block), more) for block, more in blocks] == expected
    assert b"".join(block for block, _more in blocks) == content[:limit]
    assert open_files(file) == 0


async def test_a_file_that_is_replaced_meanwhile_is_sent_as_it_was(file: Path) -> None:
    write(file, b"a" * (BLOCK_BYTES + 1))
    async with aclosing(read_file(str(file), None)) as blocks:
        await anext(blocks)
        write(file, b"b" * (BLOCK_BYTES + 1))
        assert await anext(blocks) == (b"a", False)


async def test_a_file_that_is_left_early_is_closed(file: Path) -> None:
    write(file, bytes(2 * BLOCK_BYTES))
    async with aclosing(read_file(str(file), None)) as blocks:
        await anext(blocks)
        assert open_files(file) == 1
    await until(lambda: open_files(file) == 0)


@pytest.mark.parametrize("name", ["missing", ".", "pipe", "nul\0byte"])
async def test_what_is_no_readable_file_is_an_error_that_names_it(
    tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ApplicationError, match="cannot be sent: "):
        await blocks_of(tmp_path / name)
