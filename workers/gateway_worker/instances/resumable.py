"""An instance whose connection outlives it: it can be handed to another worker, or hibernate."""

import asyncio
import sys
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final

from gateway_layer.channels.borrowed import CURRENT, Connection
from gateway_layer.channels.mailbox import Mailbox
from gateway_layer.codec import Message, unpack_state
from gateway_layer.errors import MessageTooLarge
from gateway_layer.redis.address import RedisAddress
from gateway_layer.session import event_cost, split_event
from gateway_layer.wire import CHUNK_BYTES, Open
from gateway_worker.instances.channels import Channel, Channels
from gateway_worker.instances.instance import Host, Instance

RESTART_CODE: Final = 1012
"""Close code "service restart" (IANA): what an instance hears when its worker drains."""

ABNORMAL: Final = 1006

_RELEASE_S: Final = 10.0
"""How long an application may take to handle what it was given before its connection goes on
elsewhere; what it has not handled goes with it."""

_DISCONNECT_S: Final = 5.0
"""How long an instance may take to end after it heard of the worker's drain."""

_MAX_MESSAGE_BYTES: Final = 16 * 2**20
"""A message is whole in each process on its way, and what waits for Redis is bounded: one that
fills it would end the connections of everybody."""


class ResumableInstance(Instance, Connection):
    """One connection that lasts, whichever protocol it speaks.

    Attributes:
        resumable: The connection may go on with another instance.
        moves: Grows with whatever the application receives or sends; for who looks for idleness.
    """

    __slots__ = (
        "_accept_type",
        "_asking",
        "_channels",
        "_close_type",
        "_connected",
        "_declared",
        "_departed",
        "_disconnect_type",
        "_heard",
        "_leaving",
        "_released",
        "_timer",
        "moves",
        "resumable",
    )

    def __init__(
        self, host: Host, opening: Open, interface: str, window: int, scope: Message
    ) -> None:
        """Prepare a connection that waits to be accepted."""
        super().__init__(host, opening, interface, window, scope)
        # Interned: all instances of a kind share them.
        self._accept_type = sys.intern(f"{self.kind}.accept")
        self._close_type = sys.intern(f"{self.kind}.close")
        self._disconnect_type = sys.intern(f"{self.kind}.disconnect")
        self._connected = False
        self._asking = False  # the application waits in `receive`
        self._heard = False  # the application knows that the client has left
        self._leaving: str | None = None
        self._released = False
        self._timer: asyncio.TimerHandle | None = None
        self._departed = False
        self.resumable = False
        self._declared = opening.resumed > 0
        self._channels: Channels | None = None
        self.moves = 0
        self.keeps = {} if opening.state is None else unpack_state(opening.state)
        scope["extensions"]["gateway"] |= {"state": self.keeps, "confirm": self.confirm_given}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Create the task, which can be asked whose connection it serves."""
        token = CURRENT.set(self)
        super().start(loop)
        CURRENT.reset(token)

    # What a protocol adds.

    @property
    @abstractmethod
    def closed_by_application(self) -> bool:
        """Whether the application has closed the accepted connection itself."""

    @abstractmethod
    def refuse_sends(self) -> None:
        """The connection is over: whatever the application sends now raises ClientDisconnected."""

    # The application's side.

    def confirm_given(self) -> None:
        """Confirm all events that `receive` has returned: the extension's `confirm`.

        From its first call on, `receive` confirms nothing by itself any more: for an application
        that asks for events ahead of handling them. What is not confirmed takes of the client's
        window, 256 KiB.
        """
        self.explicit = True
        self.confirm()

    @property
    def left(self) -> bool:
        """Also while the application has not asked for the event that says so."""
        if self._disconnect is not None:
            return True
        return bool(self.inbox) and self.inbox[-1][1]["type"] == self._disconnect_type

    async def receive(self) -> Message:
        """Return `.connect`, the client's events, then `.disconnect` again and again.

        Raises:
            TypeError: A value in the connection's state that cannot travel.
            ApplicationError: The state is larger than 16 KiB.
        """
        if not self.explicit:
            self.confirm()
        self.moves += 1
        if not self._connected:
            self._connected = True
            return {"type": f"{self.kind}.connect"}
        while not self.inbox:
            if self._released:
                self._depart()
            if self._disconnect is not None:
                return dict(self._disconnect)
            self._asking = True
            try:
                await self._wait()
            finally:
                self._asking = False
        event = self.take_event()
        if event["type"] == self._disconnect_type:
            self._disconnect = event
            self._heard = True
        return event

    def _pass_on(self, event: Message) -> Coroutine[Any, Any, None] | None:
        """Send an event that the protocol's rules allow.

        Returns:
            What has to be awaited where the client takes nothing at present: raises
            ClientDisconnected. None where the event is on its way: mostly, and a coroutine less.

        Raises:
            MessageTooLarge: Over 16 MiB; nothing was sent.
        """
        kind = event["type"]
        if kind == self._accept_type:
            self._decide_resumption(event)
        cost = event_cost(event)
        if cost > _MAX_MESSAGE_BYTES:
            raise MessageTooLarge(f"a {self.kind} message of {cost} bytes; 16 MiB may be sent")
        if cost >= CHUNK_BYTES // 4:
            parts = split_event(event, "bytes" if event.get("text") is None else "text")
        else:
            parts = [event]
        outlet = self._host.outlet
        if outlet.room <= 0 or not self.may_send(cost):
            return self._pass_on_later(event, parts, cost)
        outlet.room -= cost
        self.emit(parts, cost)
        if kind == self._close_type:
            self._closed(event["code"], event.get("reason") or "")
        return None

    async def _pass_on_later(self, event: Message, parts: list[Message], cost: int) -> None:
        await self._emit(parts, cost)
        if event["type"] == self._close_type:
            self._closed(event["code"], event.get("reason") or "")

    def _decide_resumption(self, event: Message) -> None:
        """Let the worker's policy decide about what the application declared, or did not."""
        policy = self._host.on_worker_exit
        if policy != "auto":
            event["resume"] = policy == "resume"
        self.resumable = event["resume"]

    def _closed(self, code: int, reason: str) -> None:
        """The application closed: what it may still receive is the end."""
        self._disconnect = {"type": self._disconnect_type, "code": code, "reason": reason}
        self._notify()

    # Channels of the connection.

    @property
    def owner(self) -> str:
        """Pid of the interface server that holds the client's socket."""
        return self.interface

    @property
    def owner_reads(self) -> RedisAddress | None:
        """The gateway's own Redis."""
        return self._host.redis

    def declare_resumable(self) -> None:
        """The application will say so when it accepts."""
        self._declared = True

    def borrow(self, mailbox: Mailbox, prefix: str) -> Channel | None:
        """Return a new channel of the connection, or None if it ends with this worker."""
        if self._channels is None:
            self._channels = Channels(self, self._confirm_messages, self._maybe_depart)
        policy = self._host.on_worker_exit
        lasting = policy == "resume" or (policy == "auto" and (self._declared or self.resumable))
        return self._channels.make(mailbox, prefix, self.connection, lasting=lasting)

    def on_messages(self, channel: int, first: int, messages: tuple[Message, ...]) -> None:
        """Give messages to the channel layer in which the application reads."""
        self.moves += 1
        if self._channels is None:
            self._channels = Channels(self, self._confirm_messages, self._maybe_depart)
        self._channels.take_in(channel, first, messages)

    def _confirm_messages(self, channel: int, seq: int) -> None:
        self.moves += 1
        self.confirm_messages(channel, seq, state=not self._departed)

    # From the interface server.

    def on_events(self) -> None:
        """Wake `receive`; a disconnect also makes every later `send` raise."""
        if self.inbox[-1][1]["type"] == self._disconnect_type:
            self.refuse_sends()
        self._notify()

    def on_over(self, reason: str) -> None:
        """The interface server is gone or has given the connection up."""
        self._end(ABNORMAL, reason)

    # Letting go.

    @property
    def idle(self) -> bool:
        """Whether the application waits for an event, and there is none."""
        busy = self._channels is not None and self._channels.in_hand
        return self._asking and not self.inbox and not busy

    def let_go(self, reason: str) -> None:
        """Hand the connection over, `drain` or `hibernate`, or close it with 1012.

        A connection that can be resumed is released: the interface server gives no more events and
        waits until what it gave is handled. Then the application hears of the end as a disconnect
        with 1012, and when the instance has ended the connection is the interface server's again.
        """
        if self._leaving is not None or self._disconnect is not None or self.finished:
            return
        if not self.resumable:
            self.finish(reason)
            self._end(RESTART_CODE, "the worker restarts")
            self._cancel_later()
            return
        self._leaving = reason
        self.release(reason)
        self._call_later(_RELEASE_S, self._depart)

    def on_released(self) -> None:
        """No more events come, and none is unconfirmed."""
        self._released = self._leaving is not None
        self._maybe_depart()

    def _maybe_depart(self) -> None:
        if self._released and self.idle:
            self._depart()

    def _depart(self) -> None:
        """Tell the application; also one that took too long with what it was given."""
        if self._departed or self._disconnect is not None:
            return
        self._departed = True
        if self._channels is not None:
            self._channels.depart()
        self.note_last_state()
        self._end(RESTART_CODE, "the worker restarts")
        self._cancel_later()

    def _cancel_later(self) -> None:
        if self.task is not None:
            self._call_later(_DISCONNECT_S, self.task.cancel)

    def _call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Set the instance's only timer; one that is left would keep it in memory."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _settle(self, outcome: str) -> None:
        """Give the connection back, or say how the application ended."""
        if self._channels is not None:
            self._channels.end()
        if self._timer is not None:
            self._timer.cancel()
        if self._leaving is not None and (self._departed or outcome == "drain"):
            if not self.closed_by_application:
                if self._heard:
                    self.confirm_all()
                self.detach(self._leaving)
                self.on_over("the application has ended")
                return
        elif self.resumable and self.left and (outcome != "drain" or self._disconnect is not None):
            self.confirm_all()  # one cancelled before it heard of the end leaves that to the next
        super()._settle(outcome)

    def _end(self, code: int, reason: str) -> None:
        if self._disconnect is None:
            self._disconnect = {"type": self._disconnect_type, "code": code, "reason": reason}
        self.refuse_sends()
        self._notify()
