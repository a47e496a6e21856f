"""Consumers of both kinds: threads, ends, groups, and what they ask of their channel layer."""

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync

from gateway_worker.apps import Receive, Scope, Send
from gateway_worker.consumers import (
    AsyncConsumer,
    AsyncHttpConsumer,
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    HttpConsumer,
    InvalidChannelLayerError,
    StopConsumer,
    SyncConsumer,
    WebsocketConsumer,
)
from gateway_worker.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    InMemoryChannelLayer,
    WebsocketCommunicator,
)

Event = dict[str, Any]


# Base consumers.


async def test_layer_and_client_reach_the_same_instance(layer: InMemoryChannelLayer) -> None:
    class Consumer(AsyncConsumer):
        seen = 0

        async def test_name(self, message: Event) -> None:
            self.seen += 1
            await self.send({"type": "test.name", "name": self.channel_name, "seen": self.seen})

    client = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await client.send_input({"type": "test.name"})
    name = (await client.receive_output())["name"]
    await layer.send(name, {"type": "test.name"})
    assert await client.receive_output() == {"type": "test.name", "name": name, "seen": 2}
    client.stop()


async def test_each_connection_has_an_instance() -> None:
    class Consumer(AsyncConsumer):
        def __init__(self, greeting: str) -> None:
            self.greeting = greeting

        async def test_say(self, message: Event) -> None:
            self.greeting += "!"
            await self.send({"type": "test.say", "greeting": self.greeting})
            raise StopConsumer

    app = Consumer.as_asgi(greeting="hello")
    for _ in range(2):
        client = ApplicationCommunicator(app, {"type": "test"})
        await client.send_input({"type": "test.say"})
        assert (await client.receive_output())["greeting"] == "hello!"
        await client.wait()


async def test_as_asgi_bears_the_name_of_its_class() -> None:
    class Consumer(AsyncConsumer):
        """Of a test."""

    app: Any = Consumer.as_asgi()
    assert (app.__name__, app.__doc__) == ("Consumer", "Of a test.")


async def test_without_an_alias_there_is_no_layer(layer: InMemoryChannelLayer) -> None:
    class Consumer(AsyncConsumer):
        channel_layer_alias = None

        async def test_look(self, message: Event) -> None:
            await self.send({"type": "test.look", "found": (self.channel_layer, self.channel_name)})

    client = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await client.send_input({"type": "test.look"})
    assert (await client.receive_output())["found"] == (None, None)
    client.stop()


async def test_missing_handler_ends_it_with_an_error_that_names_both() -> None:
    class Quiet(SyncConsumer):
        pass

    client = ApplicationCommunicator(Quiet.as_asgi(), {"type": "test"})
    await client.send_input({"type": "test.unknown"})
    with pytest.raises(ValueError, match="Quiet has no method test_unknown"):
        await client.wait()


async def test_synchronous_handlers_do_not_block_the_loop() -> None:
    release = threading.Event()

    class Consumer(SyncConsumer):
        def test_block(self, message: Event) -> None:
            self.send({"type": "test.began"})
            assert release.wait(5)
            self.send({"type": "test.ended"})

    client = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await client.send_input({"type": "test.block"})
    assert await client.receive_output() == {"type": "test.began"}
    # The loop runs while the handler blocks: else nobody could release it.
    release.set()
    assert await client.receive_output() == {"type": "test.ended"}
    client.stop()


class Threads(SyncConsumer):
    """Says in which thread its handlers run."""

    def test_thread(self, message: Event) -> None:
        self.send({"type": "test.thread", "thread": threading.get_ident()})

    def test_stop(self, message: Event) -> None:
        raise StopConsumer


async def in_its_context(scope: Scope, receive: Receive, send: Send) -> None:
    """As a worker runs an instance."""
    async with ThreadSensitiveContext():
        await Threads()(scope, receive, send)


async def test_handlers_of_a_connection_share_a_thread_and_no_other_has_it() -> None:
    clients = [ApplicationCommunicator(in_its_context, {"type": "test"}) for _ in range(3)]
    threads = []
    for client in clients * 2:
        await client.send_input({"type": "test.thread"})
        threads.append((await client.receive_output())["thread"])
    for client in clients:
        await client.send_input({"type": "test.stop"})
        await client.wait()
    assert threads[:3] == threads[3:]
    assert len({*threads, threading.get_ident()}) == 4


async def test_coroutines_of_synchronous_handlers_run_in_the_loop() -> None:
    loop = asyncio.get_running_loop()

    class Consumer(SyncConsumer):
        def test_loop(self, message: Event) -> None:
            async def running() -> bool:
                return asyncio.get_running_loop() is loop

            self.send({"type": "test.loop", "same": async_to_sync(running)()})

    client = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await client.send_input({"type": "test.loop"})
    assert (await client.receive_output())["same"]
    client.stop()


async def test_send_of_any_callable_crosses_over() -> None:
    """A middleware's `send` is not always a coroutine function."""
    sent: list[Any] = []

    def send(message: Any) -> Any:
        sent.append(message)
        return asyncio.sleep(0)

    messages = [{"type": "test.thread"}, {"type": "test.stop"}]

    async def receive() -> Any:
        return messages.pop(0)

    await Threads()({"type": "test"}, receive, send)
    assert [message["type"] for message in sent] == ["test.thread"]


# WebSocket.


class Chat(AsyncWebsocketConsumer):
    """In a group, and fails when it is told to."""

    groups = ("news",)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        raise OSError(text_data)


class SyncChat(WebsocketConsumer):
    """The same in a thread."""

    groups = ("news",)

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        raise OSError(text_data)


BOTH = pytest.mark.parametrize("consumer", [Chat, SyncChat])


@BOTH
async def test_groups_are_left_when_a_handler_raises(
    layer: InMemoryChannelLayer, consumer: Any
) -> None:
    client = WebsocketCommunicator(consumer.as_asgi(), "/")
    await client.connect()
    assert len(layer.groups["news"]) == 1
    await client.send_to(text_data="fail")
    with pytest.raises(OSError, match="fail"):
        await client.wait()
    assert not layer.groups


@BOTH
async def test_groups_are_left_when_the_instance_is_cancelled(
    layer: InMemoryChannelLayer, consumer: Any
) -> None:
    client = WebsocketCommunicator(consumer.as_asgi(), "/")
    await client.connect()
    assert layer.groups
    client.future.cancel()
    await client.wait()
    assert not layer.groups


@BOTH
async def test_groups_are_left_before_disconnect_is_called(
    layer: InMemoryChannelLayer, consumer: Any
) -> None:
    seen: list[Any] = []

    class Leaving(AsyncWebsocketConsumer):
        groups = ("news",)

        async def disconnect(self, code: int) -> None:
            seen.append((code, dict(layer.groups)))

    class SyncLeaving(WebsocketConsumer):
        groups = ("news",)

        def disconnect(self, code: int) -> None:
            seen.append((code, dict(layer.groups)))

    made: Any = Leaving if consumer is Chat else SyncLeaving
    client = WebsocketCommunicator(made.as_asgi(), "/")
    await client.connect()
    await client.disconnect(1001)
    assert seen == [(1001, {})]


@BOTH
async def test_groups_without_a_layer_are_an_error_that_names_the_consumer(consumer: Any) -> None:
    client = WebsocketCommunicator(consumer.as_asgi(), "/")
    with pytest.raises(InvalidChannelLayerError, match=rf"^{consumer.__name__} is a member of"):
        await client.connect()


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_resumable_is_said_when_it_accepts(base: Any) -> None:
    consumer: Any = type("Consumer", (base,), {"resumable": True})
    for made, expected in ((consumer, True), (base, None)):
        client = WebsocketCommunicator(made.as_asgi(), "/")
        await client.send_input({"type": "websocket.connect"})
        assert (await client.receive_output()).get("resume") is expected
        await client.disconnect()


async def test_send_needs_something_to_send() -> None:
    class Empty(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.send()

    with pytest.raises(ValueError, match="one of bytes_data or text_data"):
        await WebsocketCommunicator(Empty.as_asgi(), "/").connect()


async def test_empty_text_is_sent() -> None:
    class Empty(AsyncWebsocketConsumer):
        async def receive(
            self, text_data: str | None = None, bytes_data: bytes | None = None
        ) -> None:
            await self.send(text_data=text_data)

    client = WebsocketCommunicator(Empty.as_asgi(), "/")
    await client.connect()
    await client.send_to(text_data="")
    assert await client.receive_from() == ""
    await client.disconnect()


async def test_arguments_of_receive_reach_receive_json() -> None:
    class Tagged(AsyncJsonWebsocketConsumer):
        async def receive(self, *args: Any, **kwargs: Any) -> None:
            await super().receive(*args, tag="t", **kwargs)

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json([content, kwargs])

    client = WebsocketCommunicator(Tagged.as_asgi(), "/")
    await client.connect()
    await client.send_json_to(1)
    assert await client.receive_json_from() == [1, {"tag": "t"}]
    await client.disconnect()


async def test_nothing_is_lost_when_client_and_layer_speak_at_once(
    layer: InMemoryChannelLayer,
) -> None:
    layer.capacity = 1000

    class Counting(AsyncJsonWebsocketConsumer):
        groups = ("all",)

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json(["client", content])

        async def from_layer(self, event: Event) -> None:
            await self.send_json(["layer", event["n"]])

    client = WebsocketCommunicator(Counting.as_asgi(), "/")
    await client.connect()

    async def say() -> None:
        for number in range(200):
            await client.send_json_to(number)
            await asyncio.sleep(0)

    async def push() -> None:
        for number in range(200):
            await layer.group_send("all", {"type": "from.layer", "n": number})
            await asyncio.sleep(0)

    talk = asyncio.gather(say(), push())
    heard = [await client.receive_json_from() for _ in range(400)]
    await talk
    await client.disconnect()
    for name in ("client", "layer"):
        assert [n for source, n in heard if source == name] == list(range(200))


# HTTP.


class Reverse(AsyncHttpConsumer):
    """Answers with the body, from its end."""

    async def handle(self, body: bytes) -> None:
        await self.send_response(200, body[::-1], headers={b"x-a": b"b"})


class SyncReverse(HttpConsumer):
    """The same in a thread."""

    def handle(self, body: bytes) -> None:
        self.send_response(200, body[::-1], headers={b"x-a": b"b"})


@pytest.mark.parametrize("consumer", [Reverse, SyncReverse])
async def test_body_in_parts_is_handled_as_a_whole(consumer: Any) -> None:
    client = HttpCommunicator(consumer.as_asgi(), "POST", "/", body=b"c")
    for part in (b"a", b"b"):
        await client.send_input({"type": "http.request", "body": part, "more_body": True})
    response = await client.get_response()
    assert response == {"status": 200, "headers": [(b"x-a", b"b")], "body": b"cba"}
    await client.wait()


class Poll(AsyncHttpConsumer):
    """Answers when the layer says so."""

    async def handle(self, body: bytes) -> None:
        await self.channel_layer.group_add("polls", self.channel_name)
        await self.send_headers()
        await self.send_body(b"", more_body=True)

    async def poll_answer(self, event: Event) -> None:
        await self.send_body(event["body"])

    async def disconnect(self) -> None:
        await self.channel_layer.group_discard("polls", self.channel_name)


class SyncPoll(HttpConsumer):
    """The same in a thread."""

    def handle(self, body: bytes) -> None:
        async_to_sync(self.channel_layer.group_add)("polls", self.channel_name)
        self.send_headers()
        self.send_body(b"", more_body=True)

    def poll_answer(self, event: Event) -> None:
        self.send_body(event["body"])

    def disconnect(self) -> None:
        async_to_sync(self.channel_layer.group_discard)("polls", self.channel_name)


POLLS = pytest.mark.parametrize("consumer", [Poll, SyncPoll])


async def begun(consumer: Any) -> HttpCommunicator:
    client = HttpCommunicator(consumer.as_asgi(), "GET", "/")
    await client.send_input({"type": "http.request", "body": b""})
    assert (await client.receive_output())["type"] == "http.response.start"
    assert (await client.receive_output())["more_body"]
    return client


@POLLS
async def test_unfinished_response_is_completed_from_the_layer(
    layer: InMemoryChannelLayer, consumer: Any
) -> None:
    client = await begun(consumer)
    await layer.group_send("polls", {"type": "poll.answer", "body": b"news"})
    assert (await client.receive_output())["body"] == b"news"
    await client.wait()
    assert not layer.groups


@POLLS
async def test_client_that_leaves_ends_an_unfinished_response(
    layer: InMemoryChannelLayer, consumer: Any
) -> None:
    client = await begun(consumer)
    await client.send_input({"type": "http.disconnect"})
    await client.wait()
    assert not layer.groups


@pytest.mark.parametrize("base", [AsyncHttpConsumer, HttpConsumer])
async def test_http_consumer_without_handle_is_an_error_that_names_it(base: Any) -> None:
    consumer: Any = type("Page", (base,), {})
    with pytest.raises(NotImplementedError, match=r"^Page must provide a handle\(\) method"):
        await HttpCommunicator(consumer.as_asgi(), "GET", "/").get_response()


@pytest.mark.parametrize("base", [AsyncHttpConsumer, HttpConsumer])
async def test_disconnect_is_called_once_when_handle_fails(base: Any) -> None:
    ended: list[float] = []

    class Failing(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            raise OSError("handle")

        async def disconnect(self) -> None:
            ended.append(time.monotonic())

    class SyncFailing(HttpConsumer):
        def handle(self, body: bytes) -> None:
            raise OSError("handle")

        def disconnect(self) -> None:
            ended.append(time.monotonic())

    made: Any = Failing if base is AsyncHttpConsumer else SyncFailing
    with pytest.raises(OSError, match="handle"):
        await HttpCommunicator(made.as_asgi(), "GET", "/").get_response()
    assert len(ended) == 1
