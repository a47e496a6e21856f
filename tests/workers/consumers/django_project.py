"""What consumers do in a process where Django is set up; prints what it found as JSON.

To be run as a process of its own, with the path of a database that does not exist yet.
"""

# mypy: disable-error-code="import-untyped"

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import django
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.conf import settings
from django.test.utils import override_settings

REDIS = "gateway_layer.channels.RedisChannelLayer"
settings.configure(
    CHANNEL_LAYERS={
        "default": {"BACKEND": REDIS, "CONFIG": {"prefix": "project"}},
        "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    },
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
)
django.setup()

from django.db import connection  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402

from gateway_worker.consumers import (  # noqa: E402
    AsyncConsumer,
    BaseConsumer,
    StopConsumer,
    SyncConsumer,
    database_sync_to_async,
    get_channel_layer,
)
from gateway_worker.testing import ApplicationCommunicator  # noqa: E402

Event = dict[str, Any]
opened: list[Any] = []
connection_created.connect(lambda **event: opened.append(event), weak=False)


def query() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])


class Sync(SyncConsumer):
    """Asks the database twice for each message."""

    channel_layer_alias = None

    def test_query(self, message: Event) -> None:
        self.send({"type": "test.answer", "answer": query() + query()})

    def test_stop(self, message: Event) -> None:
        raise StopConsumer


class Async(AsyncConsumer):
    """The same as a coroutine, which calls what is for a thread as Django's own methods do."""

    channel_layer_alias = None

    async def test_query(self, message: Event) -> None:
        thread = SyncToAsync(query)
        await self.send({"type": "test.answer", "answer": await thread() + await thread()})

    async def test_idle(self, message: Event) -> None:
        await self.send({"type": "test.answer"})

    async def test_stop(self, message: Event) -> None:
        raise StopConsumer


async def serve(consumer: type[BaseConsumer], *kinds: str) -> int:
    """Give a consumer messages as a worker does; return how many threads were made for it."""
    messages = [{"type": kind} for kind in (*kinds, "test.stop")]
    threads: list[int] = []

    async def receive() -> Event:
        return messages.pop(0)

    async def send(message: Any) -> None:
        threads.append(len(SyncToAsync.context_to_thread_executor))

    async with ThreadSensitiveContext():
        await consumer()({"type": "test"}, receive, send)
        threads.append(len(SyncToAsync.context_to_thread_executor))
    return max(threads)


async def counted(function: Callable[[], Any]) -> int:
    """Return how many connections to the database a coroutine function opens."""
    before = len(opened)
    await function()
    return len(opened) - before


async def tested(consumer: type[BaseConsumer]) -> None:
    client = ApplicationCommunicator(consumer.as_asgi(), {"type": "test"})
    for _ in range(3):
        await client.send_input({"type": "test.query"})
        assert (await client.receive_output())["answer"] == 2
    await client.send_input({"type": "test.stop"})
    await client.wait()


def layers() -> Event:
    found: Event = {"channels_imported_first": "channels.layers" in sys.modules}
    default = get_channel_layer()
    found["default"] = [type(default).__module__.partition(".")[0], default.prefix]
    found["made_once"] = get_channel_layer() is default
    found["unknown"] = get_channel_layer("unknown")
    memory = get_channel_layer("memory")
    from channels.layers import get_channel_layer as of_channels

    found["memory_is_of_channels"] = memory is of_channels("memory") is not None
    found["default_is_of_channels"] = get_channel_layer() is of_channels() is not None
    with override_settings(CHANNEL_LAYERS={}):
        found["overridden"] = get_channel_layer()
    return found


async def database() -> Event:
    @database_sync_to_async
    def twice() -> int:
        return query() + query()

    async def in_function() -> None:
        assert await twice() == 2

    three = ("test.query",) * 3
    return {
        "sync_served": await counted(lambda: serve(Sync, *three)),
        "async_served": await counted(lambda: serve(Async, *three)),
        "sync_tested": await counted(lambda: tested(Sync)),
        "async_tested": await counted(lambda: tested(Async)),
        "function_called_twice": await counted(in_function) + await counted(in_function),
        "open_between_handlers": await open_between_handlers(),
        "threads_without_queries": await serve(Async, "test.idle", "test.idle"),
        "threads_with_queries": await serve(Async, "test.query"),
    }


async def open_between_handlers() -> list[bool]:
    """Whether the thread of a connection has the database open, before each message."""
    messages = [{"type": "test.query"}, {"type": "test.query"}, {"type": "test.stop"}]
    found: list[bool] = []

    async def receive() -> Event:
        found.append(await SyncToAsync(lambda: connection.connection is not None)())
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    async with ThreadSensitiveContext():
        await Async()({"type": "test"}, receive, send)
    return found


async def main() -> None:
    json.dump({"layers": layers(), "database": await database()}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
