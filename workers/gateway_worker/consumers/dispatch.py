"""From messages to methods, and from several sources of messages to one consumer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NoReturn, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Source: TypeAlias = Callable[[], Awaitable[Message]]


def get_handler_name(message: Mapping[str, Any]) -> str:
    """Return the name of the method for a message: its type, each `.` as `_`.

    Raises:
        ValueError: The message has no type, or one that begins with `_` or `.`: what others send
            must not reach methods that are not meant for it.
    """
    if "type" not in message:
        raise ValueError("Incoming message has no 'type' attribute")
    kind = message["type"]
    if not isinstance(kind, str):
        raise ValueError(f"Malformed type in message ({kind!r:.80} is no str)")  # noqa: TRY004 - as for other types
    name = kind.replace(".", "_")
    if name.startswith("_"):
        raise ValueError("Malformed type in message (leading underscore)")
    return name


def find_handler(consumer: object, message: Mapping[str, Any]) -> Callable[[Message], Any]:
    """Return the method of a consumer for a message.

    Raises:
        ValueError: There is none, or no name for it; the text names consumer and method.
    """
    name = get_handler_name(message)
    handler = getattr(consumer, name, None)
    if not callable(handler):
        _refuse(consumer, name, message["type"])
    found: Callable[[Message], Any] = handler
    return found


def _refuse(consumer: object, name: str, kind: str) -> NoReturn:
    raise ValueError(
        f"No handler for message type {kind}: {type(consumer).__qualname__} has no method {name}"
    )


async def await_many_dispatch(
    sources: Sequence[Source], dispatch: Callable[[Message], Awaitable[None]]
) -> None:
    """Wait for messages of several sources together, and handle one at a time.

    A source is asked for the next message when the last one has been handled, not before: a
    gateway takes a WebSocket's event for done when the application asks for the next, and gives
    an instance that takes over those that are not. A message that comes while another is handled
    is kept, so all are handled, those of each source in order, and in turn where several wait.

    Args:
        sources: Coroutine functions without arguments, such as ASGI's `receive`.
        dispatch: Called with each message.

    Raises:
        Exception: What a source or `dispatch` raises ends it; it returns in no other way.
            Sources that still wait are cancelled then, as they are when it is cancelled.
    """
    if len(sources) == 1:
        while True:
            await dispatch(await sources[0]())
    waiting = [asyncio.ensure_future(source()) for source in sources]
    try:
        while True:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for index, task in enumerate(waiting):
                if task.done():
                    await dispatch(task.result())
                    waiting[index] = asyncio.ensure_future(sources[index]())
    finally:
        for task in waiting:
            task.cancel()
        # Not one's own exceptions: what ended this is the one to be seen.
        await asyncio.gather(*waiting, return_exceptions=True)
