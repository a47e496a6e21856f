"""Channels of connections in the channel layers that applications use: they are read here.

Those of a connection that outlives its worker belong to the connection (see
`gateway_layer.channels.borrowed`). In each such layer, told apart by its prefix, the owner is one
more process, under its own pid. Payloads stay packed: they may be encrypted, and are the
application's alone.
"""

import logging
from typing import Final

from gateway_layer.channels.layer import RedisChannelLayer
from gateway_layer.channels.mailbox import Mailbox, Unread
from gateway_layer.errors import ProtocolError
from gateway_layer.node import Node
from gateway_layer.owner.channelled import ChannelledSession
from gateway_layer.session import event_cost, split_event

_log = logging.getLogger("gateway.interface")

_MOST_LAYERS: Final = 16
"""Channel layers that one owner is there for; an application has one or two."""

_MOST_GROUPS: Final = 10_000
"""Memberships of one connection."""


class OwnedChannels:
    """The owner's side of channels of connections."""

    def __init__(self, node: Node) -> None:
        """Begin without layers; `node.sessions` are the connections."""
        self._node: Final = node
        self._layers: dict[str, OwnerLayer] = {}

    @property
    def dropped(self) -> int:
        """Messages that found no room in a channel of a connection, so far."""
        return sum(layer.statistics["dropped"] for layer in self._layers.values())

    def listen(self, prefix: str, expiry_ms: int, group_expiry_ms: int) -> None:
        """Read what comes to channels of connections in a layer, from now on.

        Raises:
            ProtocolError: Not the settings of a layer.
        """
        if prefix.__class__ is not str or not (expiry_ms > 0 and group_expiry_ms > 0):
            raise ProtocolError("not the settings of a channel layer")
        layer = self._layers.get(prefix)
        if layer is None:
            if not self._node.layer.redis_url or len(self._layers) >= _MOST_LAYERS:
                _log.warning("this server has no part in the channel layer %.80r", prefix)
                return
            layer = OwnerLayer(self._node, prefix, expiry_ms / 1000, group_expiry_ms / 1000)
            self._layers[prefix] = layer
        layer.appear()

    def announce(self) -> None:
        """Redis is back, perhaps without its data: register everything again."""
        for layer in self._layers.values():
            layer.appear()

    def left(self, connection: str) -> None:
        """A connection is over: its channels leave all their groups."""
        for layer in self._layers.values():
            layer.left(connection)

    async def close(self) -> None:
        """Read no more."""
        for layer in self._layers.values():
            await layer.close_pools()


class OwnerLayer(RedisChannelLayer):
    """The part in a channel layer of a process that has connections' channels, and no others."""

    _mailbox: "OwnerMailbox"

    def __init__(self, node: Node, prefix: str, expiry_s: float, group_expiry_s: float) -> None:
        """Prepare; `appear` connects. Needs a running loop."""
        self._node: Final = node
        super().__init__([node.layer.redis_url], prefix, expiry_s, group_expiry_s)

    def _make_mailbox(self) -> Mailbox:
        return OwnerMailbox(self._node)

    def appear(self) -> None:
        """Let the layer's other processes know of this one, and read what they send."""
        self._state().announce()

    def left(self, connection: str) -> None:
        """A connection is over."""
        for group in self._mailbox.leave_all(connection):
            self._write_members(self._state(), group)


class OwnerMailbox(Mailbox):
    """Gives messages to connections instead of keeping them."""

    ANSWERS = False

    def __init__(self, node: Node) -> None:
        """Begin without members, under the name of the process."""
        super().__init__(lambda _channel: 0, node.layer.pid)
        self._sessions: Final = node.sessions
        self._memberships: dict[str, set[tuple[str, str]]] = {}

    @property
    def awaited(self) -> bool:
        """Somebody always waits: connections take what they may hold."""
        return True

    def deliver(self, channel: str, message: Unread) -> bool:
        """Give a message to its connection; False where that holds too much already."""
        session, number = self._find(channel)
        if session is None:
            return True  # the client has left
        expires, payload = message
        event = {"type": "gateway.message", "bytes": payload, "expires": expires}
        taken = session.emit_message(number, split_event(event, "bytes"), event_cost(event))
        if not taken:
            self._drop(channel)
        return taken

    def _find(self, channel: str) -> tuple[ChannelledSession | None, int]:
        """Return whose channel it is, and its number: names end in `!CONNECTION.NUMBER`."""
        connection, _, number = channel.rpartition("!")[2].partition(".")
        session = self._sessions.get(connection)
        if isinstance(session, ChannelledSession) and number.isascii() and number.isdigit():
            return session, int(number)
        return None, 0

    def join(self, group: str, channel: str) -> None:
        """Make a channel of a connection that is here a member."""
        session, _number = self._find(channel)
        if session is None:
            return
        memberships = self._memberships.setdefault(session.connection, set())
        if len(memberships) >= _MOST_GROUPS:
            _log.warning("a connection is in too many groups connection=%s", session.connection)
            return
        memberships.add((group, channel))
        super().join(group, channel)

    def part(self, group: str, channel: str) -> bool:
        """End a membership; return whether there was one."""
        session, _number = self._find(channel)
        if session is not None and session.connection in self._memberships:
            self._memberships[session.connection].discard((group, channel))
        return super().part(group, channel)

    def leave_all(self, connection: str) -> list[str]:
        """End all memberships of a connection; return the groups that it was in."""
        memberships = self._memberships.pop(connection, ())
        return [
            group
            for group, channel in memberships
            if super(OwnerMailbox, self).part(group, channel)
        ]
