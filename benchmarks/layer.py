"""The channel layer beside channels_redis' two, in one run.

    python -m benchmarks.layer [--quick]

The layers of channels_redis are measured where it is installed. It is not part of the `bench`
extra, for it does not work with every redis-py; a pair that works:

    python -m venv .venv-layer
    .venv-layer/bin/pip install -e '.[embedded]' 'channels_redis==4.3.0' 'redis==7.4.1' uvloop
    .venv-layer/bin/python -m benchmarks.layer
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway_layer.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
SIZES = (10, 1_000, 10_000)
_ROUND_TRIP_ROUNDS = 11
"""More than of the rest, and all layers in turn: on a busy machine no second is like another."""

_ROUNDS = 5
_BURSTS = 3
"""Of messages to a group, in each round: one takes a third of a second, and machines have moods."""

_MISSING = "channels_redis is not installed: only ours is measured (see the head of this file)"


class Client:
    """A process of `benchmarks.layer_client`."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.layer_client", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process has ended"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, command: str, number: float = 0) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command} {number}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def pair(kind: str, url: str, target: str = "") -> Iterator[tuple[Client, Client]]:
    """Run a process that holds an echoing channel, and one that sends to it."""
    holder = Client("hold", kind, url)
    try:
        sender = Client("send", kind, url, target or holder.ask("echo")["channel"])
        try:
            yield holder, sender
        finally:
            sender.close()
    finally:
        holder.close()


def measure_round_trips(kind: str, url: str, seconds: float) -> dict[str, float]:
    """Measure how fast one layer carries a message there and another back, once."""
    with pair(kind, url) as (_holder, sender):
        trips = sender.ask("round_trips", seconds)
    return {"round trips/s": trips["rate"], "round trip p50 us": trips["p50_us"]}


def measure_sends(kind: str, url: str, seconds: float) -> dict[str, float]:
    """Measure what one layer carries in one direction, to one channel and to groups, once."""
    figures: dict[str, float] = {}
    holder = Client("hold", kind, url)
    try:
        channel = holder.ask("hold", 1)["channels"][0]
        sender = Client("send", kind, url, channel)
        try:
            sends = sender.ask("sends", seconds)
            figures["sends/s, 64 under way"] = sends["rate"]
            got = holder.ask("wait", sends["sent"])["received"]
            figures["lost of sends"] = sends["sent"] - got
            for size in SIZES:
                figures.update(measure_group(holder, sender, size, kind))
        finally:
            sender.close()
    finally:
        holder.close()
    return figures


def measure_group(holder: Client, sender: Client, size: int, kind: str) -> dict[str, float]:
    """Measure groups of one size: the sender's wait, deliveries to the last, memory."""
    if kind == "core" and size > 1_000:
        return {}  # 200 ms a message, and its reader drops what its buffers do not hold
    memory = holder.ask("hold", size)["bytes_each"]
    waits, rates, lost = [], [], 0
    for _ in range(_BURSTS):
        holder.ask("reset")
        start = time.perf_counter()
        sent = sender.ask("group_sends", size)
        got = holder.ask("wait", sent["sent"] * size)["received"]
        rates.append(got / (time.perf_counter() - start))
        waits.append(sent["p50_us"])
        lost += sent["sent"] * size - got
    figures = {
        f"group_send to {size} p50 us": statistics.median(waits),
        f"deliveries/s to {size}": statistics.median(rates),
        f"lost of {size}": lost,
    }
    if size == max(SIZES):
        figures["bytes a channel"] = memory
    return figures


def main() -> int:
    """Print one table; 0 even where targets are missed, for machines differ."""
    parser = argparse.ArgumentParser(description="the channel layer beside channels_redis'")
    parser.add_argument("--quick", action="store_true", help="one short round")
    quick = parser.parse_args().quick
    kinds = ["gateway"]
    if importlib.util.find_spec("channels_redis") is None:
        print(_MISSING, file=sys.stderr)
    else:
        kinds += ["pubsub", "core"]
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with EmbeddedServer(port=0) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        for measure, rounds in (
            (measure_round_trips, _ROUND_TRIP_ROUNDS),
            (measure_sends, _ROUNDS),
        ):
            for number in range(1 if quick else rounds):
                for kind in kinds if number % 2 == 0 else reversed(kinds):
                    for name, value in measure(kind, url, 1.0 if quick else 2.0).items():
                        found[name][kind].append(value)
    print(f"{'figure':32}", *(f"{kind:>12}" for kind in kinds))
    for name, by_kind in found.items():
        cells = [
            f"{statistics.median(by_kind[kind]):12,.0f}" if by_kind[kind] else f"{'-':>12}"
            for kind in kinds
        ]
        print(f"{name:32}", *cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
