"""The child's half of `benchmarks.load.Client`; imports nothing that a client does not need."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any


async def answer_commands(handle: Callable[[str, float], Awaitable[dict[str, Any]]]) -> None:
    """Be a client: carry out the lines `command number` of standard input until it ends.

    An exception of `handle` is answered as `{"error": text}`.
    """
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command, number = line.split()
        try:
            answer = await handle(command.decode(), float(number))
        except (OSError, RuntimeError, TimeoutError) as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
