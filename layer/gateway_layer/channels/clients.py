"""Reply channels in a channel layer: what goes to them goes to the clients, without a worker.

Their groups are the gateway's, those of `gateway_layer.push`: the interface server that holds a
client's socket knows what it is in. So a group of the layer may have both kinds of members, and
whoever pushes to the group of that name reaches its clients, too.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from gateway_layer.channels.entries import channel_full
from gateway_layer.channels.options import CLIENT, Host, client_of
from gateway_layer.codec import Message
from gateway_layer.errors import ChannelFull, ConnectionGone, LayerUnavailable
from gateway_layer.push.events import check_event
from gateway_layer.push.owners import Owners
from gateway_layer.push.requester import Requester
from gateway_layer.push.requests import (
    Request,
    add_request,
    channels_of,
    discard_request,
    group_list_request,
    group_send_request,
    push_request,
)
from gateway_layer.redis.keys import Keys
from gateway_layer.redis.resp import RedisReplyError

_TIMEOUT_S: Final = 5.0

Call = Callable[..., Awaitable[Any]]


class Clients:
    """The clients of a gateway, for one event loop of a channel layer; connects when it is used.

    Every method raises LayerUnavailable where Redis cannot be reached. Where the layer is not on
    one Redis, which only then can be the gateway's, those for one client raise ValueError, and
    groups have none.
    """

    def __init__(self, hosts: list[Host], namespace: str, owners: Owners, call: Call) -> None:
        """Prepare for one loop.

        Args:
            hosts: Of the layer.
            namespace: Of the gateway.
            owners: What all loops of the process have seen of the gateway.
            call: Carries out a command on the server of a name, as `Writing.call`.
        """
        self._hosts: Final = hosts
        self._owners: Final = owners
        self._call: Final = call
        self._namespace: Final = namespace
        self._requester: Requester | None = None

    @property
    def _reachable(self) -> bool:
        """Whether the layer may be on the gateway's own Redis."""
        return len(self._hosts) == 1 and not self._hosts[0].sentinels

    async def _has_any(self) -> bool:
        """Whether there is, or was, a gateway: most channel layers never meet one."""
        if not self._reachable:
            return False
        if self._owners.known:
            return True
        try:
            return bool(await self._call("", "EXISTS", Keys(self._namespace).incarnation))
        except LayerUnavailable as error:
            if isinstance(error.__cause__, RedisReplyError):
                return False  # a user whom its ACL keeps from the gateway's keys
            raise

    async def _ready(self) -> Requester:
        if not self._reachable:
            raise ValueError(
                "a reply channel is reached on the gateway's own Redis: give the layer its address "
                "as the only one of `hosts`, or push with gateway_layer.push"
            )
        if self._requester is None:
            self._requester = Requester(
                self._hosts[0].address, self._namespace, _TIMEOUT_S, self._owners
            )
            self._requester.start()
        await self._requester.wait_connected()
        return self._requester

    async def send(self, channel: str, message: Message) -> None:
        """Send to one client; raises as `RedisChannelLayer.send`."""
        request = push_request(channel, check_event(message))
        try:
            await (await self._ready()).ask(request)
        except ChannelFull as error:
            raise channel_full()(error.channel, error.capacity) from error

    async def group_add(self, group: str, channel: str) -> None:
        """Let a client join; raises as `Push.group_add`."""
        await (await self._ready()).ask(add_request(group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        """Let a client leave; raises as `Push.group_discard`."""
        requester = await self._ready()
        try:
            await requester.ask(discard_request(group, channel))
        except ConnectionGone:
            return

    async def group_send(self, group: str, request: Request) -> None:
        """Send what `group_request` returned; those whose interface server is gone go without."""
        if await self._has_any():
            await (await self._ready()).ask_group(group, request)

    async def count(self, group: str) -> int:
        """Return how many clients are in a group."""
        if not await self._has_any():
            return 0
        requester = await self._ready()
        return len(channels_of(await requester.ask_group(group, group_list_request(group))))

    async def close(self) -> None:
        """Disconnect."""
        if self._requester is not None:
            await self._requester.aclose()


def group_request(group: str, message: dict[str, Any], exclude: Collection[str]) -> Request | None:
    """Return what clients are to get of a message to a group; None: it is for consumers alone.

    Raises:
        TypeError: A reply channel among those excluded that is none.
        MessageTooLarge: Over 16 MiB.
    """
    if message.get("type") not in ("websocket.send", "websocket.close"):
        return None
    try:
        event = check_event(message)
    except (TypeError, ValueError):
        return None
    left_out = [name for name in exclude if client_of(name) == CLIENT]
    return group_send_request(group, event, left_out)
