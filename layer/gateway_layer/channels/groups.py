"""Groups: Redis knows which processes have members of one, each process knows its own members."""

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final

from gateway_layer.channels.base import GONE, GROUP_BACKLOG, LayerBase
from gateway_layer.channels.clients import group_request
from gateway_layer.channels.entries import GROUP_MESSAGE, JOIN, PART
from gateway_layer.channels.loop_state import LoopState
from gateway_layer.channels.mailbox import now_ms
from gateway_layer.channels.options import CLIENT, check_channel, check_group, client_of
from gateway_layer.channels.plain import read_script
from gateway_layer.channels.writing import as_unavailable
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.pipe import Pipe
from gateway_layer.redis.protocol import Reply
from gateway_layer.redis.resp import pack_command

_GROUP_SEND: Final = read_script("group_send")

_MOST_FAILED: Final = 1000

Entry = tuple[int, str, bytes, tuple[str, ...]]
"""What the inbox of each process gets: GROUP_MESSAGE, group, packed payload, who is excluded."""

_log = logging.getLogger("gateway.channels")


class Groups(LayerBase):
    """The extension `groups` of the channel layer specification."""

    async def group_add(self, group: str, channel: str) -> None:
        """Make a channel a member; every `group_send` after this has returned reaches it.

        Once more, it renews the expiry. A reply channel stays a member for as long as the client
        is there; it gets messages that are a `websocket.send` or a `websocket.close`.

        Raises:
            TypeError: Not a name of a group, or of a channel.
            ConnectionGone, PushTimeout, ChannelFull: A reply channel, as of `gateway_layer.push`.
            ValueError: A reply channel, and the layer is on several hosts, or behind sentinels.
            LayerUnavailable: Redis cannot be reached, or was lost before it answered.
        """
        check_group(group)
        client = client_of(check_channel(channel))
        state = self._state()
        if client is None:
            await self._register(state, group, "@" + channel, 1)
        elif client == CLIENT:
            await state.clients.group_add(group, channel)
        elif client == self._mailbox.client:
            self._mailbox.join(group, channel)
            await state.live()
            await self._register(state, group, client, self._mailbox.count(group))
        elif await self._join(state, group, client, channel):
            # The inbox is in order: its owner knows the member before a later message comes.
            await state.call(group, *self._register_command(group, client, 1, "NX"))

    async def _join(self, state: LoopState, group: str, client: str, channel: str) -> bool:
        """Tell another process of a member among its channels; False: that process is gone."""
        done = await self._notify(state, client, (JOIN, group, channel))
        borrowed = self._mailbox.borrowed.get(channel)
        if done == GONE and borrowed is not None:
            self._listening.discard(client)  # Redis was emptied, and its owner does not know
            if await self._owner_listens(state, borrowed.connection):
                done = await self._notify(state, client, (JOIN, group, channel))
        if not done:
            raise LayerUnavailable(f"the process of {channel} does not read what it is sent")
        return done != GONE

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; without one, and without Redis, it does nothing.

        Nor does it while an instance of a gateway worker ends because its connection goes on
        elsewhere: what it leaves then, the next instance is still in.

        Raises:
            TypeError: Not a name of a group, or of a channel.
            PushTimeout, ChannelFull, LayerUnavailable: A reply channel, as of
                `gateway_layer.push`; the client may still be a member. ValueError as `group_add`.
        """
        check_group(group)
        client = client_of(check_channel(channel))
        borrowed = self._mailbox.borrowed.get(channel)
        if borrowed is not None and borrowed.stays:
            return
        state = self._state()
        if client == CLIENT:
            await state.clients.group_discard(group, channel)
            return
        try:
            if client is None:
                await self._register(state, group, "@" + channel, 0)
            elif client != self._mailbox.client:
                await self._notify(state, client, (PART, group, channel))
            elif self._mailbox.part(group, channel):
                await self._register(state, group, client, self._mailbox.count(group))
        except LayerUnavailable as error:
            # What is registered without members is found out at the next message to the group.
            _log.debug("a membership ends later in redis group=%s reason=%s", group, error)

    async def group_send(
        self, group: str, message: dict[str, Any], *, exclude: Collection[str] = ()
    ) -> None:
        """Send a message to every member of a group: one entry a process, each its own dict.

        A `websocket.send` or `websocket.close` goes to the reply channels in the group, too, and
        is awaited until the servers that hold the clients have it.

        With one host it returns when the message is on its way to Redis, behind what its sender
        has sent before. It waits for the answer where 32 messages of this event loop have none,
        1 MiB waits to be written, or a `send` of another task has to arrive first, and where the
        last message to this group that nobody waited for has failed; that one is counted in
        `statistics["dropped"]`, and logged.

        Args:
            group: A name.
            message: As for `send`.
            exclude: Channels that do not get it; reply channels, too.

        Raises:
            AssertionError, TypeError, MessageTooLarge, LayerUnavailable: As for `send`. Never
                ChannelFull: members that are full go without, which is counted and logged.
        """
        check_group(group)
        state = self._state()
        payload = self._crypto.encrypt(state.packer.payload(message))
        entry = (GROUP_MESSAGE, group, payload, tuple(exclude))
        request = group_request(group, message, entry[3])
        if len(self._hosts) == 1:
            await self._give_to_all(state, group, entry)
        else:
            await self._give_to_each(state, group, entry)
        if request is not None:
            await state.clients.group_send(group, request)

    async def _give_to_all(self, state: LoopState, group: str, entry: Entry) -> None:
        """Give a group's message to all its members, in one round trip."""
        now = now_ms()
        packed = state.packer.pack((now + self._expiry_ms, *entry))
        command = pack_command(
            *("EVAL", _GROUP_SEND, 1, self._keys.group(group)[0]),
            *(now - self._group_expiry_ms, self._expiry_ms, GROUP_BACKLOG, self.prefix),
            packed,
            *entry[3],
        )

        def on_answer(answer: Reply) -> Exception | None:
            if isinstance(answer, list):
                total, full, left = answer
                self._note_full(group, total, full)
                return self._look_at(state, pipe, (group, total, packed, now), left)
            return answer if isinstance(answer, Exception) else None

        pipe = await state.writer(group)
        if group not in self._failed and state.may_go_on(pipe):
            state.post(pipe, command, lambda answer: self._note_failure(group, on_answer(answer)))
            return
        refused = on_answer(await state.answer(pipe, command))
        if refused is not None:
            raise as_unavailable(refused)
        self._failed.discard(group)

    def _look_at(
        self, state: LoopState, pipe: Pipe, sent: tuple[str, int, bytes, int], left: list[Any]
    ) -> Exception | None:
        """Forget processes that are gone, take back from plain channels what they had no room for.

        Args:
            state: Of the sender.
            pipe: Where it was sent.
            sent: Group, number of its members, entry, when it was sent in ms since 1970.
            left: What the script has left to us.

        Returns:
            What the first plain channel was refused with.
        """
        group, total, packed, now = sent
        refused: Exception | None = None

        def on_back(back: Reply | LayerUnavailable) -> None:
            if back == 1:  # else what had expired has made room
                self._note_full(group, total, 1)

        for member, length in left:
            name = member.decode("ascii", "replace")
            if isinstance(length, Exception):
                refused = refused or length
            elif name[0] != "@":
                # Unless it comes back at this very moment.
                state.write(group, pack_command(*self._register_command(group, name, 0, "", now)))
            elif length > (capacity := self.get_capacity(name[1:])):
                state.withdraw(pipe, self._keys.plain(name[1:]), capacity, [packed], on_back)
        return refused

    def _note_full(self, group: str, total: int, full: int) -> None:
        if full:
            self._mailbox.dropped += full
            _log.info("%s of %s channels over capacity in group %s", full, total, group)

    def _note_failure(self, group: str, error: Exception | None) -> None:
        """A message whose sender has gone on was refused, or nobody knows what became of it."""
        if error is None:
            return
        self._mailbox.dropped += 1
        if group not in self._failed:
            if len(self._failed) >= _MOST_FAILED:
                self._failed.clear()
            self._failed.add(group)
            _log.error("a message may be lost, others may follow group=%s reason=%s", group, error)

    async def _give_to_each(self, state: LoopState, group: str, entry: Entry) -> None:
        """Give a group's message to its members one by one: each is on a server of its own."""
        members = await self._members(state, group)
        gives = (
            self._give(state, group, member, entry)
            for member in members
            if member[0] != "@" or member[1:] not in entry[3]
        )
        taken = await asyncio.gather(*gives)
        self._note_full(group, len(members), taken.count(False))

    async def _give(self, state: LoopState, group: str, member: str, entry: Entry) -> bool:
        """Give a group's message to one process or plain channel; return whether it had room."""
        if member[0] == "@":
            try:
                route = self._routes.of(member[1:])
            except TypeError:
                return False  # no channel has such a name: it was forged
            return await self._send(state, member[1:], route, entry[2])
        seen = now_ms()
        done = await self._notify(state, member, entry)
        if done == GONE:
            # Forget the dead process, unless it comes back at this very moment.
            await state.call(group, *self._register_command(group, member, 0, "", seen))
        return bool(done)

    async def group_channels_count(self, group: str) -> int:
        """Return how many channels are members of a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_add`.
        """
        check_group(group)
        state = self._state()
        members = await self._members(state, group)
        clients = await state.clients.count(group)
        if not members:
            return clients
        counts, *alive = await asyncio.gather(
            state.call(group, "HMGET", self._keys.group(group)[1], *members),
            *(
                state.call(member, "EXISTS", self._keys.lease(member))
                for member in members
                if member[0] != "@"
            ),
        )
        leases = iter(alive)
        return clients + sum(
            int(count or 0)
            for member, count in zip(members, counts, strict=True)
            if member[0] == "@" or next(leases)
        )

    async def _members(self, state: LoopState, group: str) -> list[str]:
        """Return the processes that have members of a group, and plain members as `@name`."""
        oldest = now_ms() - self._group_expiry_ms
        key = self._keys.group(group)[0]
        # Never cached: an add that has returned must be seen.
        members = await state.call(group, "ZRANGE", key, oldest, "+inf", "BYSCORE")
        return [member.decode("ascii", "replace") for member in members]
