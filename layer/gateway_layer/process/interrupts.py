"""Ctrl-C before a command serves: exit status 130 and no traceback.

A command imports this module before all others, because it spends most of its start in imports,
where Python would answer SIGINT with a traceback. In a program that is none of the commands,
nothing here does anything: its signals are its own.
"""

# The C half of `signal`: the other makes its enums for 10 ms, in which SIGINT would find nothing.
import _signal  # type: ignore[import-not-found]
import os
import sys

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""

_PROGRAMS = (
    "/gateway-interface",
    "/gateway-worker",
    "/gateway-dev",
    "/gateway_interface/__main__.py",
    "/gateway_worker/__main__.py",
    "/gateway_worker/dev.py",
)
_IS_COMMAND = any(name.endswith(_PROGRAMS) for name in sys.argv[:1])


def raise_as_usual() -> None:
    """Let SIGINT be a KeyboardInterrupt again, now that somebody catches it."""
    if _IS_COMMAND:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def ignore() -> None:
    """Ignore SIGINT: the command has ended, and its exit status is decided."""
    if _IS_COMMAND:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


def _end(*_arguments: object) -> None:
    os._exit(EXIT_INTERRUPTED)


if _IS_COMMAND:
    _signal.signal(_signal.SIGINT, _end)
