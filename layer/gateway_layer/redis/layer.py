"""The channel layer on Redis: lists as queues and inboxes, read with BLMPOP, written in batches."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from gateway_layer.base import PULL_TIMEOUT_S, ChannelLayer, OnEntries, OnPushed
from gateway_layer.config import LayerConfig
from gateway_layer.errors import LayerUnavailable
from gateway_layer.fence import Fence, boot_time_s, guard_process, release_process
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.checks import check_server
from gateway_layer.redis.deaths import Deaths, quietly
from gateway_layer.redis.keys import (
    GROUP_TTL_S,
    INBOX_BACKLOG_TTL_S,
    QUEUE_BACKLOG_TTL_S,
    REPLY_TTL_S,
    Keys,
)
from gateway_layer.redis.lists import Backlog, QueueReader
from gateway_layer.redis.liveness import Lease, Renewal
from gateway_layer.redis.pipe import Pipe, ServerInfo, Troubles
from gateway_layer.redis.resp import RedisReplyError, pack_command

_log = logging.getLogger("gateway.layer")

_INBOX_COUNT: Final = 32
_FENCED_PULL_S: Final = 0.1
"""A pull of a process that has to renew its lease first is tried again so soon."""
_INBOX_CAPACITY: Final = 65_536
"""Entries in an inbox at which its owner counts as gone: nobody reads for minutes."""


class RedisLayer(ChannelLayer):
    """One process's access to the channel layer on a Redis-compatible server >= 7.

    Three kinds of connection: one writes, one reads the inbox, one reads each queue pulled from.
    """

    def __init__(
        self,
        config: LayerConfig,
        kind: str,
        *,
        pid: str | None = None,
        parent: str | None = None,
    ) -> None:
        """Prepare; nothing connects before `start`.

        Args:
            config: Where Redis is.
            kind: `interface`, `worker`, …
            pid: Given by the supervisor; None draws one.
            parent: The supervisor's pid.
        """
        super().__init__(kind, pid=pid)
        self.redis_url = config.redis
        self._address: Final = parse_address(config.redis)
        self._keys: Final = Keys(config.namespace)
        self._fence_s: Final = config.lease_s * 0.9
        self._fence: Final = Fence()
        self._lease: Final = Lease(config, self.pid, kind, parent, self._renewed_in_thread)
        self._inboxes: dict[str, Backlog] = {}
        self._deaths: Final = Deaths(
            config.lease_s * 1.3,
            self._inboxes.keys(),
            self._forget,
            self._on_death,
            lambda pid: self.on_peer_back(pid),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._troubles: Final = Troubles()
        self._writer: Final = Pipe(
            self._address,
            name=f"{kind}-write",
            on_connected=self._on_writer_connected,
            on_disconnected=self._on_disconnected,
            on_room=lambda: self.on_room(),
            troubles=self._troubles,
        )
        self._reader: Final = Pipe(
            self._address,
            name=f"{kind}-inbox",
            blocking_s=PULL_TIMEOUT_S,
            on_connected=self._on_reader_connected,
            on_disconnected=self._on_disconnected,
            troubles=self._troubles,
        )
        self._pulls: dict[str, QueueReader] = {}
        inbox = self._keys.inbox(self.pid)
        pushes = self._keys.pushes(self.pid)
        self._pushes: Final = pushes
        self._reads: Final = tuple(
            pack_command("BLMPOP", PULL_TIMEOUT_S, 2, *pair, "LEFT", "COUNT", _INBOX_COUNT)
            for pair in ((inbox, pushes), (pushes, inbox))
        )
        self._read_turn = 0
        self._read_timer: asyncio.TimerHandle | None = None
        self._queues: dict[str, Backlog] = {}
        self._clock_offset_ms = 0.0
        self._living: Collection[str] = ()
        self._data_id = ""
        self._started = False
        self._ready = False
        self._held_back = False  # something was not written because the lease had lapsed
        self._closing = False
        self._warned: set[str] = set()

    # Life.

    @property
    def available(self) -> bool:
        """See the contract."""
        return self._ready

    @property
    def living(self) -> Collection[str]:
        """See the contract."""
        return self._living

    async def start(self) -> None:
        """See the contract. Waits for as long as Redis cannot be reached, trying again."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self._reader.start()
        await self._writer.wait_connected(None)
        await self._reader.wait_connected(None)
        self._check(self._writer.server)
        while True:
            try:
                self._on_renewed(await self._loop.run_in_executor(None, self._lease.renew))
                break
            except Exception as error:
                if str(error) not in self._warned:
                    self._warned.add(str(error))
                    _log.warning("not registered yet, trying on: %s", error)
                await asyncio.sleep(0.5)
        self._lease.start()
        self._beat()
        self._started = True
        if self.kind == "worker":
            guard_process(self._fence)
        self._become_ready()

    async def close(self) -> None:
        """See the contract."""
        self._closing = True
        self._ready = False
        release_process(self._fence)
        for reader in self._pulls.values():
            reader.stop()
        for backlog in (*self._queues.values(), *self._inboxes.values()):
            backlog.leave()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: self._lease.stop(leave=True))
        for reader in self._pulls.values():
            await reader.close()
        await self._reader.close()
        await self._writer.close()

    def _beat(self) -> None:
        self._lease.beat = time.monotonic()
        if not self._closing and self._loop is not None:
            self._loop.call_later(1.0, self._beat)

    def _check(self, server: ServerInfo | None) -> None:
        for warning in check_server(server) if server else ():
            if warning not in self._warned:
                self._warned.add(warning)
                _log.warning("%s", warning)

    def now_ms(self) -> int:
        """See the contract: Redis's clock, as last sampled."""
        return int(boot_time_s() * 1000 + self._clock_offset_ms)

    # Connections and losses.

    def _on_writer_connected(self, server: ServerInfo) -> None:
        self.incarnation = server.run_id
        self._maybe_renew()

    def _on_reader_connected(self, server: ServerInfo) -> None:
        self.incarnation = server.run_id
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._read_inbox()
        self._maybe_renew()

    def _on_queue_connected(self, server: ServerInfo) -> None:
        self.incarnation = server.run_id

    def _maybe_renew(self) -> None:
        # Before the first registration `start` decides; after a loss this is the way back: the
        # lease may have lapsed meanwhile, so it comes before anything else.
        if self._started and self._connected:
            assert self._loop is not None, "connected after start"
            self._loop.run_in_executor(
                None, lambda: quietly(lambda: self._renewed_in_thread(self._lease.renew()))
            )

    @property
    def _connected(self) -> bool:
        return self._writer.connected and self._reader.connected

    def _become_ready(self) -> None:
        if not self._ready and not self._closing:
            self._ready = True
            self.on_available()

    def _on_disconnected(self, _error: Exception | None) -> None:
        if self._ready and not self._closing:
            self._ready = False
            # A restart may have emptied it: that loss is told now, not again at the renewal.
            self._data_id = ""
            self._deaths.redis_is_away()
            self.on_lost()

    # Leases and deaths.

    def _renewed_in_thread(self, renewal: Renewal) -> None:
        assert self._loop is not None, "the lease runs after start"
        if not renewal.fenced:
            # Here and not in the loop: an application that blocks it does not lapse the lease.
            self._fence.until_s = renewal.sent_at_s + self._fence_s
        try:
            self._loop.call_soon_threadsafe(self._on_renewed, renewal)
        except RuntimeError:  # it was closed, and this layer was not
            self._lease.give_up()

    def _on_renewed(self, renewal: Renewal) -> None:
        if self._closing:
            return
        self._clock_offset_ms = renewal.clock_offset_ms
        self._living = renewal.alive
        if renewal.fenced:
            self._on_held_for_dead()
            return
        self._fence.until_s = renewal.sent_at_s + self._fence_s
        if self._fence.fenced:
            self._fence.fenced = False  # it has rejoined
        if self._data_id and renewal.data_id != self._data_id and self._ready:
            _log.warning("Redis has lost its data: what was under way through it is sent again")
            self.on_lost()
            self.on_available()
        elif self._held_back and self._ready:
            self.on_available()
        self._held_back = False
        self._data_id = renewal.data_id
        if self._started and self._connected:
            self._become_ready()
        self._deaths.look(renewal)

    def _on_held_for_dead(self) -> None:
        """Others have ended everything with this process: write nothing before it rejoins."""
        if not self._fence.fenced:
            _log.warning("this process was held for dead: it stood still for longer than its lease")
            self._fence.fenced = True
            self._ready = False
            self.on_fenced()

    def rejoin(self) -> None:
        """See the contract."""
        assert self._loop is not None, "a process is held for dead after its start"

        def renew() -> None:
            self._renewed_in_thread(self._lease.renew(rejoin=True))

        self._loop.run_in_executor(None, lambda: quietly(renew))

    def found_dead(self, pid: str) -> None:
        """See the contract; also what the leases tell."""
        if pid != self.pid:
            self._deaths.found(pid)

    def _on_death(self, pid: str) -> None:
        if backlog := self._inboxes.pop(pid, None):
            backlog.leave()  # what is still on its way there comes after the list was deleted
        self.on_peer_dead(pid)

    def _forget(self, pid: str) -> None:
        if not self._closing:
            self._lease.forget(pid)

    # Reading.

    def _read_inbox(self) -> None:
        self._read_turn ^= 1
        try:
            self._reader.write(self._reads[self._read_turn], self._on_inbox_reply)
        except LayerUnavailable:
            return

    def _on_inbox_reply(self, reply: Any) -> None:
        if isinstance(reply, LayerUnavailable):
            return
        if isinstance(reply, Exception):
            assert self._loop is not None, "replies come after start"
            self.refused("its inbox", reply)
            self._read_timer = self._loop.call_later(PULL_TIMEOUT_S, self._read_inbox)
            return
        # The next read goes out first, so that Redis fills it while this one is handled.
        self._read_inbox()
        if reply is None:
            return
        if reply[0] == self._pushes:
            self.on_pushes(reply[1])
        else:
            self.on_inbox(reply[1])

    def refused(self, what: str, error: Exception) -> None:
        """Log, once for each text, that Redis answers a read with an error."""
        text = f"Redis refuses to let this process read {what}: {error}"
        if text not in self._warned:
            self._warned.add(text)
            _log.error("%s", text)

    def pull(self, queue: str, count: int, on_entries: OnEntries) -> None:
        """See the contract."""
        reader = self._pulls.get(queue)
        if reader is None:
            reader = self._pulls[queue] = QueueReader(
                self._address,
                self._keys.queue(queue),
                f"{self.kind}-pull-{queue}",
                self._troubles,
                self._on_queue_connected,
                self.refused,
                lambda: self.on_pull_lost(),
            )
        if self._fence.closed:
            # Just awake from standing still: what it took now, nobody would hear of.
            assert self._loop is not None, "pulls come after start"
            self._loop.call_later(_FENCED_PULL_S, on_entries, ())
            return
        reader.pull(count, on_entries)

    # Writing.

    def push(self, queue: str, entry: bytes, on_pushed: OnPushed) -> None:
        """See the contract."""
        backlog = self._queues.get(queue)
        if backlog is None:
            backlog = Backlog(self._writer, self._keys.queue(queue), QUEUE_BACKLOG_TTL_S)
            self._queues[queue] = backlog
        self._require_ready()

        def on_length(length: Any, index: int, count: int) -> None:
            if length.__class__ is int:
                if length > count:
                    backlog.keep()
                on_pushed(length - count + index + 1)
            else:
                on_pushed(_as_error(length))

        self._writer.push(backlog.key, entry, on_length)

    def deliver(self, pid: str, entry: bytes) -> None:
        """See the contract."""
        self._require_ready()
        backlog = self._inboxes.get(pid)
        if backlog is None:
            backlog = Backlog(self._writer, self._keys.inbox(pid), INBOX_BACKLOG_TTL_S)
            self._inboxes[pid] = backlog
        if backlog.length > _INBOX_CAPACITY:
            self.found_dead(pid)
            return
        self._writer.push(backlog.key, entry, backlog.on_length)

    def recall(self, queue: str, entry: bytes, on_recalled: Callable[[bool], None]) -> None:
        """See the contract."""
        command = pack_command("LREM", self._keys.queue(queue), 1, entry)

        def on_reply(reply: Any) -> None:
            if isinstance(reply, RedisReplyError):
                self.refused(queue, reply)
            on_recalled(reply == 1)

        try:
            self._writer.write(command, on_reply)
        except LayerUnavailable:
            assert self._loop is not None, "recalls come after start"
            self._loop.call_soon(on_recalled, False)

    def find(self, queue: str, entry: bytes, on_found: Callable[[bool | None], None]) -> None:
        """See the contract."""
        command = pack_command("LPOS", self._keys.queue(queue), entry)

        def on_reply(reply: Any) -> None:
            if isinstance(reply, RedisReplyError):
                self.refused(queue, reply)
            on_found(None if isinstance(reply, Exception) else reply is not None)

        try:
            self._writer.write(command, on_reply)
        except LayerUnavailable:
            assert self._loop is not None, "searches come after start"
            self._loop.call_soon(on_found, None)

    @property
    def congested(self) -> bool:
        """See the contract."""
        return self._writer.paused

    # Groups and pushes.

    def register_group(self, group: str, on_registered: Callable[[bool], None]) -> None:
        """See the contract."""
        key = self._keys.group(group)
        try:
            self._writer.write(
                pack_command("ZADD", key, self.now_ms(), self.pid),
                lambda reply: on_registered(reply.__class__ is int),
            )
            self._writer.write(pack_command("EXPIRE", key, GROUP_TTL_S))
        except LayerUnavailable:
            assert self._loop is not None, "groups come after start"
            self._loop.call_soon(on_registered, False)

    def unregister_group(self, group: str) -> None:
        """See the contract."""
        with contextlib.suppress(LayerUnavailable):
            self._writer.write(pack_command("ZREM", self._keys.group(group), self.pid))

    def answer(self, reply_id: str, raw: bytes) -> None:
        """See the contract."""
        key = self._keys.replies(reply_id)
        with contextlib.suppress(LayerUnavailable):
            self._writer.push(key, raw)
            self._writer.write(pack_command("EXPIRE", key, REPLY_TTL_S))

    def flush(self) -> None:
        """See the contract."""
        self._writer.flush()

    def _require_ready(self) -> None:
        if not self._ready:
            raise LayerUnavailable("Redis cannot be reached at present; retry later")
        # This process stood still, or could not renew: others may hold it for dead.
        if self._fence.closed:
            self._held_back = True
            self._fence.check()


def _as_error(value: Any) -> Exception:
    return value if isinstance(value, Exception) else LayerUnavailable(str(value))
