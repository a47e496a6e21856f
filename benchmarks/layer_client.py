"""One process of `benchmarks.layer`: holds channels, or sends; commands come on standard input."""

import asyncio
import importlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.commands import answer_commands

CLASSES = {
    "gateway": "gateway_layer.channels.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


def make_layer(kind: str, url: str) -> Any:
    module, _, name = CLASSES[kind].rpartition(".")
    options = {} if kind == "pubsub" else {"capacity": 100_000}
    return getattr(importlib.import_module(module), name)(hosts=[url], prefix=kind, **options)


def memory_bytes() -> int:
    """Return the private memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) * 1024


class Holder:
    """Receives on channels that it made; echoes or counts."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.received = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def handle(self, command: str, number: float) -> dict[str, Any]:
        if command == "hold":
            return await self._hold(int(number))
        if command == "echo":
            channel = await self.layer.new_channel()
            self.tasks.append(asyncio.create_task(self._echo(channel)))
            await asyncio.sleep(0.1)
            return {"channel": channel}
        if command == "reset":
            self.received = 0
            return {}
        deadline = time.perf_counter() + 10
        while self.received < number and time.perf_counter() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return {"received": self.received}

    async def _hold(self, count: int) -> dict[str, Any]:
        before = memory_bytes()
        channels = [await self.layer.new_channel() for _ in range(count)]
        self.tasks += [asyncio.create_task(self._count(channel)) for channel in channels]
        await asyncio.sleep(0.1)
        for channel in channels:
            await self.layer.group_add(f"group-{count}", channel)
        return {"channels": channels[:1], "bytes_each": (memory_bytes() - before) / count}

    async def _count(self, channel: str) -> None:
        while True:
            await self.layer.receive(channel)
            self.received += 1

    async def _echo(self, channel: str) -> None:
        while True:
            message = await self.layer.receive(channel)
            await self.layer.send(message["to"], message)


class Sender:
    """Sends to the channels of the other process, and times it."""

    def __init__(self, layer: Any, target: str) -> None:
        self.layer = layer
        self.target = target

    async def handle(self, command: str, number: float) -> dict[str, Any]:
        if command == "round_trips":
            return await self._round_trips(number)
        if command == "sends":
            return await self._sends(number)
        return await self._group_sends(f"group-{int(number)}", int(number))

    async def _round_trips(self, seconds: float) -> dict[str, Any]:
        own = await self.layer.new_channel()
        answer = asyncio.ensure_future(self.layer.receive(own))
        await asyncio.sleep(0.1)
        times = []
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            await self.layer.send(self.target, {"type": "echo", "to": own, "text": "x" * 64})
            await answer
            times.append(time.perf_counter() - start)
            answer = asyncio.ensure_future(self.layer.receive(own))
        answer.cancel()
        await asyncio.wait([answer])
        return {"rate": len(times) / seconds, "p50_us": _median(times) * 1e6}

    async def _sends(self, seconds: float) -> dict[str, Any]:
        counter = itertools.count()
        end = time.perf_counter() + seconds

        async def send() -> None:
            while time.perf_counter() < end:
                await self.layer.send(self.target, {"type": "note", "n": next(counter)})

        await asyncio.gather(*(send() for _ in range(64)))
        sent = next(counter)
        return {"rate": sent / seconds, "sent": sent}

    async def _group_sends(self, group: str, members: int) -> dict[str, Any]:
        """Send about 60,000 deliveries, at least 20 messages."""
        times = []
        count = max(20, 60_000 // members)
        start = time.perf_counter()
        for _ in range(count):
            before = time.perf_counter()
            await self.layer.group_send(group, {"type": "note", "text": "x" * 64})
            times.append(time.perf_counter() - before)
        return {
            "p50_us": _median(times) * 1e6,
            "sent": count,
            "seconds": time.perf_counter() - start,
        }


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


async def main() -> None:
    role, kind, url, *target = sys.argv[1:]
    layer = make_layer(kind, url)
    actor = Holder(layer) if role == "hold" else Sender(layer, target[0])
    await answer_commands(actor.handle)


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    uvloop.run(main())
