"""WebSocket: 100 connections that each have one 64-byte text under way, beside uvicorn."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.harness import Settings, Subject, in_turn, under_test, uvicorn
from benchmarks.load import Client, client
from benchmarks.report import Row, Target, cpu_row, ratio_row

CONNECTIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketRound:
    """What one side of a round did, and what it cost the server."""

    messages_per_s: float
    cpu_us: Mapping[str, float]
    p99_us: float


def run(settings: Settings) -> list[Row]:
    """Measure; the connections stay open, and those of one server at a time carry messages."""
    with (
        under_test(settings, "echo") as ours,
        uvicorn("echo") as theirs,
        client("ws_client", ours.port) as our_client,
        client("ws_client", theirs.port) as their_client,
    ):
        for subject, one in ((ours, our_client), (theirs, their_client)):
            one.ask(f"open {CONNECTIONS}", timeout_s=20)
            measure(subject, one, 1.0)
        gateway, uvicorn_ = in_turn(
            settings.rounds,
            lambda: measure(ours, our_client, settings.round_s),
            lambda: measure(theirs, their_client, settings.round_s),
        )
    name = f"websocket echo, {CONNECTIONS} connections"
    return [
        ratio_row(
            f"{name}: messages/s",
            [one.messages_per_s for one in gateway],
            [one.messages_per_s for one in uvicorn_],
            unit="/s",
            target=Target(">=", 1.0),
        ),
        cpu_row(
            f"{name}: CPU a message",
            [one.cpu_us for one in gateway],
            [one.cpu_us for one in uvicorn_],
            target=Target("<=", 1.5),
        ),
        ratio_row(
            f"{name}: p99",
            [one.p99_us for one in gateway],
            [one.p99_us for one in uvicorn_],
            unit="µs",
        ),
    ]


def measure(subject: Subject, one: Client, seconds: float) -> WebSocketRound:
    """Keep a message under way on each open connection."""
    cpu = subject.cpu_s()
    answer = one.ask(f"go {seconds}", timeout_s=seconds + 20)
    return WebSocketRound(
        messages_per_s=answer["messages"] / answer["duration_s"],
        cpu_us=subject.cpu_us_each(cpu, answer["messages"]),
        p99_us=answer["p99_us"],
    )
