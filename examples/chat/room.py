"""One chat room, in the memory of this process or, with a Redis URL, across processes.

In Redis, under the prefix `chat:`:

    chat:lines    list    the last lines, as JSON; expires an hour after the newest
    chat:people   zset    JSON {"id", "name"} -> when it expires, in seconds of Redis's clock
    chat:room     channel each new line, as JSON, to every process
"""

import asyncio
import contextlib
import json
import logging
import random
import secrets
import time
from collections import deque
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KEPT_LINES = 50
LINES_TTL_S = 3600
PRESENCE_TTL_S = 15
RENEW_S = 5
QUEUED_FRAMES = 256
RETRY_MAX_S = 5.0

# KEYS[1] the zset of people. ARGV: lifetime in seconds, then the people of this process.
# Renews them and returns {everyone, those that expired}. Who expired is removed here, so that
# one process alone is told, and announces it.
PRESENCE = """
local now = tonumber(redis.call('TIME')[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('EXPIRE', KEYS[1], ARGV[1] * 4)
return {redis.call('ZRANGE', KEYS[1], 0, -1), gone}
"""


class RoomUnavailable(Exception):
    """The line was not said, because Redis cannot be reached now."""


class Member:
    """One connection in the room: who it is, and the frames that wait for it.

    Attributes:
        frames: JSON texts to send. None means that the member was too slow and is out.
    """

    def __init__(self, name: str, member_id: str = "") -> None:
        self.id = member_id or secrets.token_urlsafe(9)
        self.name = name
        self.frames: asyncio.Queue[str | None] = asyncio.Queue(QUEUED_FRAMES)

    @property
    def entry(self) -> str:
        """The member as it is kept among the people in Redis."""
        return json.dumps({"id": self.id, "name": self.name})

    def put(self, frame: str) -> None:
        """Queue a frame; one that does not keep up loses all of them, and its place."""
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            while not self.frames.empty():
                self.frames.get_nowait()
            self.frames.put_nowait(None)


class Room:
    """Members of this process, lines and people of all processes."""

    def __init__(self, redis_url: str | None = None) -> None:
        """Make a room; nothing connects before `start`."""
        self._url = redis_url
        self._redis: Redis | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._members: dict[str, Member] = {}
        self._people: dict[str, str] = {}
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._reachable = True

    async def start(self) -> None:
        """Connect, unless that is done already. Redis may be away: it is tried again."""
        if self._url is None or self._redis is not None:
            return
        pool = BlockingConnectionPool.from_url(
            self._url,
            decode_responses=True,
            max_connections=8,
            timeout=3,
            socket_timeout=3,
            socket_connect_timeout=3,
            # A subscription on a connection that is gone without a word notices by it.
            health_check_interval=RENEW_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._tasks = [
            asyncio.create_task(self._listen(self._redis), name="chat-listen"),
            asyncio.create_task(self._renew(self._redis), name="chat-renew"),
        ]

    async def stop(self) -> None:
        """Forget the members of this process, in Redis too if it can be reached."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for member in list(self._members.values()):
            await self.leave(member)
        if self._redis is not None:
            await self._redis.aclose()
            self._redis = None

    async def enter(self, name: str, member_id: str = "") -> Member:
        """Add a member. Its first frame is the welcome: last lines, and who is there.

        One that comes over from another worker has its id already, and nobody is told.
        """
        await self.start()
        member = Member(name, member_id)
        lines = await self._history()
        await self._refresh({member.id: member})
        people = {**self._people, member.id: name}
        member.put(
            json.dumps(
                {
                    "type": "welcome",
                    "you": member.id,
                    "lines": lines,
                    "people": people,
                    "reachable": self._reachable,
                }
            )
        )
        self._members[member.id] = member
        if not member_id:
            with contextlib.suppress(RoomUnavailable):
                await self._announce("join", member.id, name)
        return member

    def hand_over(self, member: Member) -> None:
        """Remove a member that goes on in another worker: nobody is told."""
        self._members.pop(member.id, None)

    async def leave(self, member: Member) -> None:
        """Remove a member; does nothing the second time."""
        if self._members.pop(member.id, None) is None:
            return
        removed = 1
        if self._redis is not None:
            try:
                removed = await self._redis.zrem("chat:people", member.entry)
            except (RedisError, OSError):
                removed = 0  # it expires, and whoever finds that announces it
        if removed:
            with contextlib.suppress(RoomUnavailable):
                await self._announce("leave", member.id, member.name)

    async def say(self, member: Member, text: str) -> None:
        """Give a line to everyone.

        Raises:
            RoomUnavailable: Redis cannot be reached; nobody saw the line.
        """
        await self._announce("say", member.id, member.name, text)

    async def _announce(self, kind: str, member_id: str, name: str, text: str = "") -> None:
        """Keep a line, and tell every process of it, in one transaction."""
        line = {
            "type": kind,
            "id": secrets.token_urlsafe(9),
            "from": member_id,
            "name": name,
            "text": text,
            "at": int(time.time() * 1000),
        }
        if self._redis is None:
            self._deliver(line)
            return
        packed = json.dumps(line)
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.rpush("chat:lines", packed)
                pipeline.ltrim("chat:lines", -KEPT_LINES, -1)
                pipeline.expire("chat:lines", LINES_TTL_S)
                pipeline.publish("chat:room", packed)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise RoomUnavailable from error

    def _deliver(self, line: dict[str, Any]) -> None:
        """Give a line that every process sees to the members of this one, once."""
        if any(line["id"] == seen["id"] for seen in reversed(self._lines)):
            return
        self._lines.append(line)
        if line["type"] == "join":
            self._people[line["from"]] = line["name"]
        elif line["type"] == "leave":
            self._people.pop(line["from"], None)
        self._put_all(line)

    def _put_all(self, frame: dict[str, Any]) -> None:
        packed = json.dumps(frame)  # once, however many members
        for member in self._members.values():
            member.put(packed)

    async def _history(self) -> list[dict[str, Any]]:
        """The last lines: what Redis kept, and what this process saw if Redis lost it."""
        lines = {line["id"]: line for line in self._lines}
        if self._redis is not None:
            with contextlib.suppress(RedisError, OSError):
                for packed in await self._redis.lrange("chat:lines", 0, -1):
                    line = json.loads(packed)
                    lines[line["id"]] = line
        return sorted(lines.values(), key=lambda line: int(line["at"]))[-KEPT_LINES:]

    async def _refresh(self, joining: dict[str, Member]) -> None:
        """Renew the people of this process, and learn who is there and who has vanished."""
        if self._redis is None:
            return
        own = {**self._members, **joining}
        try:
            present, gone = await self._redis.eval(
                PRESENCE, 1, "chat:people", PRESENCE_TTL_S, *(m.entry for m in own.values())
            )
        except (RedisError, OSError):
            return
        people = {}
        for packed in present:
            entry = json.loads(packed)
            people[entry["id"]] = entry["name"]
        for packed in gone:
            entry = json.loads(packed)
            if entry["name"] not in people.values():  # else it came back already
                with contextlib.suppress(RoomUnavailable):
                    await self._announce("leave", entry["id"], entry["name"])
        settled = people.keys() - joining.keys() == self._people.keys() - joining.keys()
        self._people = people
        if not settled:
            self._put_all({"type": "people", "people": people})

    async def _renew(self, redis: Redis) -> None:
        while True:
            await self._refresh({})
            await asyncio.sleep(RENEW_S)

    async def _listen(self, redis: Redis) -> None:
        """Deliver what any process publishes; subscribe again, with back-off, when it breaks."""
        failures = 0
        while True:
            try:
                async with redis.pubsub() as pubsub:
                    await pubsub.subscribe("chat:room")
                    failures = 0
                    await self._come_back()
                    await self._deliver_from(pubsub)
            except (RedisError, OSError) as error:
                if self._reachable:
                    logger.warning("chat room unreachable error=%s", error)
                    self._reachable = False
                    self._put_all({"type": "room", "reachable": False})
            failures += 1
            longest = min(RETRY_MAX_S, 0.1 * 2**failures)
            await asyncio.sleep(longest * random.uniform(0.5, 1.0))

    async def _come_back(self) -> None:
        """After a break: tell the members, say who is here, and deliver what was missed."""
        if not self._reachable:
            self._reachable = True
            logger.warning("chat room reachable again")
            self._put_all({"type": "room", "reachable": True})
            await self._refresh({})
        for line in await self._history():
            self._deliver(line)

    async def _deliver_from(self, pubsub: Any) -> None:
        while True:
            # None after a while without any; the client pings in between (see start).
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=RENEW_S)
            if message is not None and message["type"] == "message":
                self._deliver(json.loads(message["data"]))
