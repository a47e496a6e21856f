"""Push: one message to a group of 5,000 WebSockets, and many messages to some, from outside."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benchmarks.harness import Settings, Subject, gateway
from benchmarks.load import Client, client
from benchmarks.report import Row, Target, ratio_row
from gateway_layer.errors import ConnectionGone
from gateway_layer.push import Push

_GROUP = "everybody"
_TEXT_BYTES = 64
_SLICE = 1_000


def run(settings: Settings) -> list[Row]:
    """Measure a group send beside a bare loop over transports, then pushes to single sockets."""
    sockets = 500 if settings.quick else 5_000
    with (
        gateway("address") as subject,
        client("push_client", subject.port) as ours,
        client("push_bare", 0) as bare,
        client("push_client", bare.ask("port 0", timeout_s=10)["port"]) as theirs,
    ):
        for receivers in (ours, theirs):
            receivers.ask(f"plain {sockets}", timeout_s=120)
        channels = _channels(ours, sockets)
        return asyncio.run(_measure(settings, subject, channels, ours, bare, theirs))


def _channels(ours: Client, sockets: int) -> list[str]:
    """Return the reply channels, which the application tells each client first."""
    until = time.monotonic() + 30
    while len(said := ours.ask("said 0", timeout_s=10)["said"]) < sockets:
        assert time.monotonic() < until, f"{len(said)} of {sockets} were told their channel"
    return list(said)


async def _measure(
    settings: Settings,
    subject: Subject,
    channels: list[str],
    ours: Client,
    bare: Client,
    theirs: Client,
) -> list[Row]:
    assert subject.redis_url is not None, "the gateway has a Redis"
    async with Push(subject.redis_url, timeout_s=30) as push:
        for at in range(0, len(channels), _SLICE):
            joining = [push.group_add(_GROUP, one) for one in channels[at : at + _SLICE]]
            await asyncio.gather(*joining)

        async def send() -> Mapping[str, Any]:
            began = time.monotonic()
            sent = await push.group_send(_GROUP, text="x" * _TEXT_BYTES)
            assert sent == len(channels), f"{sent} of {len(channels)} were reached"
            return {"began": began}

        async def bare_send() -> Mapping[str, Any]:
            return bare.ask(f"send {_TEXT_BYTES}", timeout_s=30)

        loop_ms: list[float] = []
        group_ms: list[float] = []
        for number in range(settings.rounds + 1):
            sides = [(group_ms, ours, send), (loop_ms, theirs, bare_send)]
            for into, receivers, sender in sides if number % 2 else reversed(sides):
                into.append(await _until_all_have_it(receivers, sender))
        name = f"push, group send to {len(channels):,} WebSockets: until the last has it"
        rows = [
            # The first of each warms up.
            ratio_row(name, group_ms[1:], loop_ms[1:], unit="ms", target=Target("<=", 1.7))
        ]
        return rows + await _single(settings, push, channels)


async def _until_all_have_it(
    receivers: Client, send: Callable[[], Awaitable[Mapping[str, Any]]]
) -> float:
    """Return ms from the beginning of a send to the arrival at the last receiver."""
    receivers.ask("arm 0", timeout_s=10)
    began = (await send())["began"]
    last = receivers.ask("wait 0", timeout_s=30)["last"]
    return float((last - began) * 1000)


async def _single(settings: Settings, push: Push, channels: list[str]) -> list[Row]:
    """Measure `send_many`, awaited sends, and how soon a dead connection is known to be."""
    some = channels[:100]
    many = [
        (some[number % len(some)], {"type": "websocket.send", "text": "x" * _TEXT_BYTES})
        for number in range(2_000 if settings.quick else 20_000)
    ]
    many_per_s, one_per_s, gone_ms = [], [], []
    for _ in range(settings.rounds):
        began = time.perf_counter()
        results = await push.send_many(many)
        many_per_s.append(len(many) / (time.perf_counter() - began))
        assert not any(results), "every push was taken"
        began = time.perf_counter()
        for number in range(500):
            await push.send(some[number % len(some)], text="x" * _TEXT_BYTES)
        one_per_s.append(500 / (time.perf_counter() - began))
        gone_ms.append(await _gone_ms(push, some[0].partition("!")[0] + "!" + "x" * 22))
    return [
        Row(name="push, send_many", values=many_per_s, unit="/s", target=Target(">=", 20_000)),
        Row(name="push, awaited sends", values=one_per_s, unit="/s", target=Target(">=", 2_000)),
        Row(name="push, dead connection", values=gone_ms, unit="ms", target=Target("<=", 5)),
    ]


async def _gone_ms(push: Push, channel: str) -> float:
    """Return the median time of ten answers that a connection does not exist."""
    times = []
    for _ in range(10):
        began = time.perf_counter()
        try:
            await push.send(channel, text="x")
        except ConnectionGone:
            times.append((time.perf_counter() - began) * 1000)
    assert len(times) == 10, "it does not exist"
    return statistics.median(times)
