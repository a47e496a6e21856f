"""Who is alive: the lease of this process, renewed by a thread, and the word of a supervisor.

The lease is renewed only while the event loop turns: a thread that renewed for a loop that hangs
would keep a process alive that answers nobody. A loop that has not turned for 30 s is ended with
SIGABRT, so that its supervisor starts it anew and its peers hear of it.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from gateway_layer.codec import pack
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConfigError
from gateway_layer.fence import boot_time_s
from gateway_layer.names import new_pid
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import (
    INBOX_BACKLOG_TTL_S,
    MEMBERS_TTL_S,
    ORPHAN_TTL_S,
    SWEEP_EVERY_S,
    TOMBSTONE_S,
    Keys,
)
from gateway_layer.wire import DEAD, VERSION, envelope_head, write_entry

_log = logging.getLogger("gateway.layer")

_HANG_S: Final = 30.0
_SCRIPTS: Final = Path(__file__).parent / "scripts"
_RENEW: Final = (_SCRIPTS / "renew.lua").read_text()
_BURY: Final = (_SCRIPTS / "bury.lua").read_text()
_UNREACHABLE: Final = (redis.RedisError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What one renewal told."""

    sent_at_s: float
    """When it was sent, by `boot_time_s`; the lease counts from then at the earliest."""
    clock_offset_ms: float
    """Redis's clock minus `boot_time_s`, in ms."""
    data_id: str
    """Changes when Redis's data were emptied."""
    dead: tuple[str, ...]
    alive: frozenset[str]
    fenced: bool
    """This process was among the dead: its peers have ended everything with it."""


class Lease:
    """Keeps one process among the living; runs a thread of its own.

    Attributes:
        beat: When the event loop last turned, `time.monotonic()`; the loop writes it.
    """

    def __init__(
        self,
        config: LayerConfig,
        pid: str,
        kind: str,
        parent: str | None,
        on_renewed: Callable[[Renewal], None],
    ) -> None:
        """Prepare; nothing connects before `renew` or `start`.

        Args:
            config: Where Redis is, the namespace and the lease.
            pid: This process.
            kind: `interface`, `worker`, …
            parent: The supervisor's pid, whose word on this process's death counts.
            on_renewed: Called in the lease's thread after each renewal that succeeded.
        """
        self.beat = time.monotonic()
        self._pid: Final = pid
        self._lease_ms: Final = int(config.lease_s * 1000)
        self._period_s: Final = config.lease_s * 0.3
        self._record: Final = pack((kind, VERSION, VERSION, parent, False))
        self._keys: Final = Keys(config.namespace)
        self._client: Final = sync_client(config.redis)
        self._on_renewed: Final = on_renewed
        self._stop: Final = threading.Event()
        self._thread: threading.Thread | None = None
        self._data_id = ""
        self._swept = float("-inf")
        self._seen_beat = self.beat
        self._hung_s = 0.0
        self._refusal = ""

    def start(self) -> None:
        """Begin to renew, every three tenths of the lease."""
        self._thread = threading.Thread(target=self._run, name="gateway-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        waited_from = time.monotonic()
        while not self._stop.wait(self._period_s):
            self._watch_loop(time.monotonic() - waited_from)
            waited_from = time.monotonic()
            try:
                self._on_renewed(self.renew())
                self._maybe_sweep()
                self._refusal = ""
            except _UNREACHABLE as error:
                self._report(error)
            except Exception:
                # Without this thread the process would be held for dead.
                _log.exception("renewing the lease failed, trying on")

    def give_up(self) -> None:
        """End the thread from within: there is no event loop any more to renew for."""
        self._stop.set()

    def _watch_loop(self, waited_s: float) -> None:
        """End this process if its event loop hangs."""
        if self.beat != self._seen_beat:
            self._seen_beat = self.beat
            self._hung_s = 0.0
            return
        # A wait that came back late says that this whole process stood still (SIGSTOP, a
        # debugger), not that its loop hangs: only a period of it counts.
        self._hung_s += min(waited_s, 1.5 * self._period_s)
        if self._hung_s > _HANG_S:
            _log.error("the event loop has not turned for %.0f s: aborting", self._hung_s)
            os.kill(os.getpid(), signal.SIGABRT)

    def _report(self, error: Exception) -> None:
        """Log once that Redis refuses; that it is unreachable, the pipes report."""
        if isinstance(error, redis.ResponseError) and str(error) != self._refusal:
            self._refusal = str(error)
            _log.error("Redis refuses to renew the lease of this process: %s", error)

    def renew(self, *, rejoin: bool = False) -> Renewal:
        """Renew once, now; blocks for at most the client's time-outs.

        Args:
            rejoin: Take this process from among the dead first.

        Raises:
            redis.RedisError, OSError: Redis cannot be reached or refused.
        """
        keys = self._keys
        before = boot_time_s()
        pipeline: Any = self._client.pipeline(transaction=False)
        if rejoin:
            pipeline.zrem(keys.dead, self._pid)
        pipeline.set(keys.lease(self._pid), self._record, px=self._lease_ms)
        pipeline.eval(
            _RENEW,
            4,
            keys.alive,
            keys.dead,
            keys.incarnation,
            keys.renewed,
            self._pid,
            self._lease_ms,
            new_pid(),
            TOMBSTONE_S * 1000,
            MEMBERS_TTL_S,
            self._data_id,
        )
        now_ms, data_id, dead, alive, fenced = pipeline.execute()[-1]
        self._data_id = _text(data_id)
        middle = (before + boot_time_s()) / 2
        return Renewal(
            sent_at_s=before,
            clock_offset_ms=now_ms - middle * 1000,
            data_id=self._data_id,
            dead=tuple(map(_text, dead)),
            alive=frozenset(map(_text, alive)),
            fenced=bool(fenced),
        )

    def _maybe_sweep(self) -> None:
        if time.monotonic() - self._swept >= SWEEP_EVERY_S:
            self._swept = time.monotonic()
            sweep(self._client, self._keys)

    def forget(self, pid: str) -> None:
        """Delete the keys of a process that is dead; blocks."""
        _delete_keys(self._client, self._keys, pid)

    def stop(self, *, leave: bool) -> None:
        """End the thread; with `leave`, take this process and its keys out of Redis. Blocks."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if leave:
            try:
                _bury(self._client, self._keys, self._pid, tombstone_s=0)
                _delete_keys(self._client, self._keys, self._pid)
            except _UNREACHABLE as error:
                _log.info("left without a word to Redis: %s", error)
        self._client.close()


def sweep(client: "redis.Redis", keys: Keys) -> int:
    """Give every list that nobody owns an end, so that nothing stays of processes long gone.

    Who is not alive leaves the groups, too, but for who registered a moment ago: after Redis has
    lost its data, processes register for their groups before their leases are all renewed.

    Returns:
        How many lists were given an expiry; 0 also where another process has swept this minute.
    """
    if not client.set(keys.sweep, b"1", nx=True, ex=SWEEP_EVERY_S - 10):
        return 0
    living: Any = client.zrange(keys.alive, 0, -1)
    alive = {_text(pid) for pid in living}
    found = 0
    seconds, _microseconds = client.time()
    settled_ms = (seconds - ORPHAN_TTL_S) * 1000
    for key in client.scan_iter(match=keys.everything, count=1000):
        if keys.is_group(key):
            _leave_group(client, key, alive, settled_ms)
            continue
        owner = keys.owner_of_list(key)
        orphaned = keys.is_queue(key) or (owner is not None and owner not in alive)
        if orphaned and client.ttl(key) == -1:
            client.expire(key, ORPHAN_TTL_S)
            found += 1
    return found


def _leave_group(client: "redis.Redis", key: bytes, alive: set[str], settled_ms: int) -> None:
    members: Any = client.zrange(key, 0, -1, withscores=True)
    gone = [pid for pid, since in members if _text(pid) not in alive and since < settled_ms]
    if gone:
        client.zrem(key, *gone)


def announce_death(config: LayerConfig, pid: str) -> None:
    """Tell every living process that `pid` has ended; for the supervisor that saw it end.

    Never raises for an unreachable Redis: then the lease tells, some seconds later.
    """
    keys = Keys(config.namespace)
    entry = write_entry(envelope_head(new_pid()), None, [pack(("", DEAD, 0, pid))])
    try:
        client = sync_client(config.redis)
        try:
            living = _bury(client, keys, pid, tombstone_s=TOMBSTONE_S)
            pipeline = client.pipeline(transaction=False)
            for peer in living:
                pipeline.rpush(keys.inbox(peer), entry)
                pipeline.expire(keys.inbox(peer), INBOX_BACKLOG_TTL_S)
            pipeline.execute()
            _delete_keys(client, keys, pid)
            for key in client.scan_iter(match=keys.groups, count=1000):
                client.zrem(key, pid)
        finally:
            client.close()
    except (*_UNREACHABLE, ConfigError) as error:
        _log.info("the end of process %s could not be announced: %s", pid, error)


def _bury(client: "redis.Redis", keys: Keys, pid: str, *, tombstone_s: int) -> list[str]:
    living: Any = client.eval(
        _BURY, 2, keys.alive, keys.dead, pid, tombstone_s * 1000, MEMBERS_TTL_S
    )
    return [_text(peer) for peer in living]


def _delete_keys(client: "redis.Redis", keys: Keys, pid: str) -> None:
    client.delete(keys.inbox(pid), keys.pushes(pid), keys.lease(pid))


def _text(raw: bytes | str) -> str:
    return raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
