"""Watch Python files from a process of its own, so that the supervising parent has no thread."""

import os
from collections.abc import Sequence
from pathlib import Path

from gateway_layer.errors import ConfigError


def check_folders(option: str, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the folders that were given with an option as absolute paths.

    Raises:
        ConfigError: One of them is not a folder.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(f"{option} {folder}: there is no such folder")
    return tuple(str(Path(folder).resolve()) for folder in folders)


def watch(folders: Sequence[str], report_fd: int) -> None:
    """Write the path of a changed `*.py` file and a newline for each burst of changes, for ever.

    An empty line comes first, when changes are seen from then on. watchfiles gathers what changes
    within 50 ms of each other (an editor's save, a git checkout) and leaves out caches, virtual
    environments and editors' temporary files.

    Args:
        folders: Watched with everything below them.
        report_fd: Write end of a pipe; a line is short enough to be written whole.
    """
    # Here, since only this process shall pay for the import (anyio and a Rust library).
    from watchfiles import PythonFilter, watch as watch_files

    started = False
    # The time-out makes the first round end without a change, which says that the watch is set up.
    for changes in watch_files(
        *folders,
        watch_filter=PythonFilter(),
        debounce=400,
        step=50,
        rust_timeout=100,
        yield_on_timeout=True,
    ):
        if not started:
            started = True
            os.write(report_fd, b"\n")
        if changes:
            path = min(path for _, path in changes)
            os.write(report_fd, path.encode("utf-8", "replace")[-500:] + b"\n")
