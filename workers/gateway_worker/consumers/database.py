"""Connections of Django's ORM in a process that has Django; without it, all of this does nothing.

Django closes connections that have become unusable, or older than `CONN_MAX_AGE`, at both ends of
a request. A consumer has no requests: its handlers take their place. Connections belong to a
thread, so they are closed in the thread that opened them.
"""

import functools
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, iscoroutinefunction, sync_to_async

P = ParamSpec("P")
T = TypeVar("T")

keep_connections: Final[ContextVar[bool]] = ContextVar("keep_connections", default=False)
"""True in a test, which has a transaction open on the connection, or closes it itself."""


def _database_in_use() -> Any:
    """Return `django.db` if somebody has imported it and configured Django, else None."""
    database, conf = sys.modules.get("django.db"), sys.modules.get("django.conf")
    if database is None or conf is None or not conf.settings.configured:
        return None
    return database


def close_old_connections() -> None:
    """Have Django close what is old of this thread's connections, if Django is in use."""
    database = _database_in_use()
    if database is not None and not keep_connections.get():
        database.close_old_connections()


async def aclose_old_connections() -> None:
    """Do so in the thread of this connection's synchronous code, if it has one."""
    if _database_in_use() is None or keep_connections.get():
        return
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and context not in SyncToAsync.context_to_thread_executor:
        return  # no synchronous code has run yet: a thread would be made for nothing
    await sync_to_async(close_old_connections)()


def database_sync_to_async(
    func: Callable[P, T],
    thread_sensitive: bool = True,
    executor: ThreadPoolExecutor | None = None,
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a synchronous function that uses Django's ORM one to be awaited; also a decorator.

    `asgiref.sync.sync_to_async`, which has the same arguments, and closes old connections before
    and after each call. Without Django it is that and no more.

    Raises:
        TypeError: The function is a coroutine function.
    """
    if iscoroutinefunction(func):
        raise TypeError("database_sync_to_async can only be applied to sync functions")

    @functools.wraps(func)
    def closing(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return func(*args, **kwargs)
        finally:
            close_old_connections()

    return sync_to_async(closing, thread_sensitive=thread_sensitive, executor=executor)
