"""One connection of a protocol that the gateway does not know, at the worker."""

from collections.abc import MutableMapping
from typing import Any

from gateway_layer.codec import Message
from gateway_layer.wire import Open
from gateway_worker.core.protocol import ProtocolRules, ProtocolState
from gateway_worker.instances.instance import Host
from gateway_worker.instances.resumable import ResumableInstance


class ProtocolInstance(ResumableInstance):
    """One connection of the protocol that its scope's type names.

    `receive` returns `KIND.connect`, what the interface server makes of the client, and
    `KIND.disconnect`; `send` takes `KIND.accept`, any other `KIND.*`, and `KIND.close`.
    """

    __slots__ = ("_rules",)

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare a connection that waits to be accepted."""
        super().__init__(host, opening, interface, window, scope)
        self._rules = ProtocolRules(opening.kind)

    @property
    def finished(self) -> bool:
        """Whether nothing more can be sent."""
        return self._rules.closed

    @property
    def owes_answer(self) -> bool:
        """Returning closes an open connection with 1000; before it was accepted it is a fault."""
        return self._rules.state is not ProtocolState.OPEN

    @property
    def closed_by_application(self) -> bool:
        """Whether the application has closed the accepted connection itself."""
        return self._rules.state is ProtocolState.CLOSED

    def refuse_sends(self) -> None:
        """The connection is over."""
        self._rules.receive_disconnect()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a message of the protocol; waits while the client takes nothing.

        Raises:
            TypeError: A value of a wrong type; the text names the path to it.
            ApplicationError: Another protocol's, the wrong order, or too much beside its payload.
            MessageTooLarge: Over 16 MiB; nothing was sent.
            ClientDisconnected: The client has left.
        """
        event = self._rules.send(message)
        self.moves += 1
        if (later := self._pass_on(event)) is not None:
            await later
