"""The owner's side of pushing, on the layer in memory."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway_layer.codec import Message, pack, unpack
from gateway_layer.memory import MemoryBroker, MemoryLayer
from gateway_layer.node import Node
from gateway_layer.owner import Pushable, Pushes
from gateway_layer.push.frames import (
    FULL,
    GONE,
    GROUP_ADD,
    GROUP_LIST,
    GROUP_SEND,
    INFO,
    OK,
    PUSH,
)
from gateway_layer.wire import envelope_head, write_entry

SEND = {"type": "websocket.send", "text": "hello"}
CLOSE = {"type": "websocket.close", "code": 1000, "reason": ""}


class Client(Pushable):
    """A connection that writes down what is pushed to it."""

    def __init__(self, connection: str, form: bool | None = False) -> None:
        self.connection = connection
        self.form = form
        self.status = OK
        self.flush: str | None = OK
        self.kept = False
        self.events: list[Message] = []
        self.frames: list[bytes] = []

    @property
    def frame_form(self) -> bool | None:
        return self.form

    def encode(self, payload: str | bytes) -> bytes:
        return f"{self.form} {payload!r}".encode()

    def push(self, event: Message) -> str:
        if self.status is OK:
            self.events.append(event)
        return self.status

    def push_frame(self, frame: bytes) -> bool:
        if self.status is OK:
            self.frames.append(frame)
        return self.status is OK

    def flushed(self) -> str | None:
        return self.flush

    def info(self) -> dict[str, Any]:
        return {"path": "/"}

    @property
    def keeps_groups(self) -> bool:
        return self.kept

    def describe(self) -> str:
        return f"connection={self.connection}"


class Layer(MemoryLayer):
    """May refuse to register groups, as a Redis does that is full."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.refusing = False
        self.registered = asyncio.Event()

    def register_group(self, group: str, on_registered: Callable[[bool], None]) -> None:
        if self.refusing:
            asyncio.get_running_loop().call_soon(on_registered, False)
        else:
            super().register_group(group, on_registered)
            self.registered.set()


class Owner:
    """An owner with connections, and a pusher's view of it."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.layer = Layer(broker)
        self.node = Node(self.layer)
        self.pushes = Pushes(self.layer, self.node)

    def connect(self, connection: str, form: bool | None = False) -> Client:
        client = Client(connection, form)
        self.node.sessions[connection] = client  # type: ignore[assignment] # as far as pushes go
        return client

    def say(self, *frames: object) -> None:
        packed = [pack(frame) for frame in frames]
        self.layer.on_pushes([write_entry(envelope_head("pusher"), None, packed)])

    async def answers(self, count: int) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(10):
            while len(found) < count:  # the layer in memory says nothing
                await asyncio.sleep(0)
                found += [one for raw in self.broker.answers.pop("r", ()) for one in unpack(raw)]
        return found


@pytest.fixture
async def owner() -> Owner:
    owner = Owner(MemoryBroker())
    await owner.layer.start()
    return owner


@pytest.fixture(autouse=True)
async def closed(owner: Owner) -> Any:
    yield
    owner.pushes.close()


async def test_answers_of_a_turn_are_one_entry(owner: Owner) -> None:
    owner.connect("c")
    owner.say(("c", PUSH, ["r", 1], SEND, None, False), ("x", PUSH, ["r", 2], SEND, None, False))
    await asyncio.sleep(0)
    (raw,) = owner.broker.answers["r"]
    assert unpack(raw) == ((1, OK, None), (2, GONE, None))


async def test_confirmed_push_is_answered_when_it_was_flushed(owner: Owner) -> None:
    client = owner.connect("c")
    client.flush = None
    owner.say(("c", PUSH, ["r", 1], SEND, None, True), ("c", INFO, ["r", 2]))
    assert [answer[0] for answer in await owner.answers(1)] == [2]
    client.flush = OK
    assert await owner.answers(1) == [(1, OK, None)]


async def test_repetition_of_a_confirmed_push_waits_too(owner: Owner) -> None:
    client = owner.connect("c")
    client.flush = None
    for number in (1, 2):
        owner.say(("c", PUSH, ["r", number], SEND, "key", True))
    owner.say(("c", INFO, ["r", 3]))
    assert [answer[0] for answer in await owner.answers(1)] == [3]
    client.flush = GONE
    assert await owner.answers(2) == [(1, GONE, None), (2, GONE, None)]
    assert client.events == [SEND]


async def test_slow_client_is_counted_and_logged(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    client = owner.connect("c")
    client.status = FULL
    owner.say(("c", PUSH, ["r", 1], SEND, None, False))
    assert await owner.answers(1) == [(1, FULL, None)]
    assert owner.pushes.overflowed == 1
    assert [record.getMessage() for record in caplog.records if "1013" in record.getMessage()] == [
        "closed with 1013, it takes less than is pushed: connection=c group=None"
    ]


async def test_group_message_is_encoded_once_for_each_form(owner: Owner) -> None:
    plain, other, waiting = owner.connect("a"), owner.connect("b"), owner.connect("c", None)
    for client in (plain, other, waiting):
        owner.say((client.connection, GROUP_ADD, ["r", 1], "g"))
    assert await owner.answers(3) == [(1, OK, None)] * 3
    owner.say(("", GROUP_SEND, ["r", 2], "g", SEND, [], None))
    assert await owner.answers(1) == [(2, OK, 3)]
    assert plain.frames == [b"False 'hello'"]
    assert plain.frames[0] is other.frames[0]
    assert waiting.events == [SEND]


async def test_group_close_closes_each(owner: Owner) -> None:
    client = owner.connect("c")
    owner.say(("c", GROUP_ADD, None, "g"), ("", GROUP_SEND, ["r", 1], "g", CLOSE, [], None))
    assert await owner.answers(1) == [(1, OK, 1)]
    assert client.events == [CLOSE]


async def test_groups_register_again_after_the_layer_was_emptied(owner: Owner) -> None:
    owner.connect("c")
    owner.say(("c", GROUP_ADD, ["r", 1], "g"))
    await owner.answers(1)
    owner.layer.on_available = owner.pushes.assert_groups
    owner.broker.lose()
    assert owner.broker.groups["g"] == {owner.layer.pid}


async def test_registration_that_fails_is_told(owner: Owner) -> None:
    owner.connect("c")
    owner.layer.refusing = True
    owner.say(("c", GROUP_ADD, ["r", 1], "g"))
    ((_number, status, text),) = await owner.answers(1)
    assert (status, "tried again" in text) == ("bad", True)
    owner.layer.refusing = False
    owner.say(("c", GROUP_ADD, ["r", 2], "g"))
    assert await owner.answers(1) == [(2, OK, None)]
    assert owner.broker.groups["g"] == {owner.layer.pid}


async def test_registration_that_failed_is_tried_again_by_itself(owner: Owner) -> None:
    owner.connect("c")
    owner.layer.refusing = True
    owner.say(("c", GROUP_ADD, ["r", 1], "g"))
    await owner.answers(1)
    owner.layer.refusing = False
    async with asyncio.timeout(10):
        await owner.layer.registered.wait()
    assert owner.broker.groups["g"] == {owner.layer.pid}


@pytest.mark.parametrize(
    "frame",
    [
        (),
        "text",
        {},
        ("c", 3, 1, [SEND], 0, None),
        ("c", PUSH, ["r", 1], SEND, None),
        ("c", PUSH, ["r"], SEND, None, False),
        ("c", PUSH, ["r", "1"], SEND, None, False),
        ("c", PUSH, ["r}:in", 1], SEND, None, False),
        ("c", PUSH, ["r" * 65, 1], SEND, None, False),
        ("c", [PUSH], None, SEND, None, False),
    ],
    ids=repr,
)
async def test_broken_frame_is_counted_and_harms_no_other(owner: Owner, frame: object) -> None:
    client = owner.connect("c")
    owner.say(frame, ("c", PUSH, ["r", 7], SEND, None, False))
    assert await owner.answers(1) == [(7, OK, None)]
    assert (owner.node.dropped, client.events) == (1, [SEND])


@pytest.mark.parametrize(
    "frame",
    [
        ("c", PUSH, ["r", 1], {"type": "websocket.accept"}, None, False),
        ("c", PUSH, ["r", 1], {"type": "websocket.send", "text": 5, "bytes": b"x"}, None, False),
        ("c", PUSH, ["r", 1], SEND, 5, False),
        ("c", PUSH, ["r", 1], SEND, "k" * 129, False),
        ([{}], PUSH, ["r", 1], SEND, None, False),
        ("c", GROUP_ADD, ["r", 1], "bad name"),
        ("", GROUP_SEND, ["r", 1], "g", SEND, 5, None),
        ("", GROUP_LIST, ["r", 1], None),
    ],
    ids=repr,
)
async def test_frame_that_cannot_be_carried_out_is_answered(owner: Owner, frame: object) -> None:
    client = owner.connect("c")
    owner.say(frame)
    ((number, status, text),) = await owner.answers(1)
    assert (number, status, text.__class__) == (1, "bad", str)
    assert client.events == []


@pytest.mark.parametrize("raw", [b"", b"\xc1", pack("x"), pack([2, "x", None, []]), pack([])])
async def test_broken_entry_is_counted(owner: Owner, raw: bytes) -> None:
    owner.layer.on_pushes([raw])
    assert owner.node.dropped == 1
