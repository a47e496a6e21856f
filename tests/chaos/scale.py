"""How large and how long the proofs are: short in every run of the tests, long in `make chaos`."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes and times of one run of all proofs; times in seconds."""

    sockets: int
    """WebSockets that count."""

    period_s: float
    """Each sends one message in so long."""

    askers: int
    """HTTP connections that ask, GET and POST in turn."""

    lease_s: float
    kills: int
    kill_every_s: float
    deploys: int
    redis_kills: int
    redis_away_s: float
    """Longer than the lease."""

    stopped_s: float
    """Longer than the lease and a third, when a silent process is dead."""

    proxied_s: float
    stuck: int
    """Of each kind: readers that do not read, applications that do not listen."""

    stuck_s: float
    noise_s: float
    """Below it, a quantile of so few latencies says what else the machine does."""

    resumable: int
    """WebSockets on the one worker that is killed."""

    uneven: float
    """What the fullest worker has of them, and what the mean is of the emptiest: so many times. The
    few of the short run are placed in the time for which the system may leave a worker waiting."""


SHORT = Scale(
    sockets=90,
    period_s=0.5,
    askers=6,
    lease_s=1.0,
    kills=3,
    kill_every_s=1.5,
    deploys=1,
    redis_kills=1,
    redis_away_s=2.0,
    stopped_s=2.5,
    proxied_s=5.0,
    stuck=40,
    stuck_s=3.0,
    noise_s=0.15,
    resumable=500,
    uneven=2.0,
)
LONG = Scale(
    sockets=300,
    period_s=0.5,
    askers=12,
    lease_s=10.0,
    kills=30,
    kill_every_s=2.0,
    deploys=10,
    redis_kills=5,
    redis_away_s=20.0,
    stopped_s=20.0,
    proxied_s=60.0,
    stuck=200,
    stuck_s=60.0,
    noise_s=0.0,
    resumable=5000,
    uneven=1.2,
)


def chosen() -> Scale:
    """Return what the environment asks for: `CHAOS=long`, else the short run."""
    return LONG if os.environ.get("CHAOS") == "long" else SHORT
