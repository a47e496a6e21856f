"""The communicators, with applications of every kind."""

import asyncio
import contextvars
import gc
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway_worker.apps import Receive, Scope, Send
from gateway_worker.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    WebsocketCommunicator,
)

of_the_test: contextvars.ContextVar[str] = contextvars.ContextVar("of_the_test", default="unset")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends back what it receives, until it is told to stop or to fail."""
    while (message := await receive())["type"] != "stop":
        if message["type"] == "fail":
            raise OSError("told to fail")
        await send(message)


def echo_client() -> ApplicationCommunicator:
    return ApplicationCommunicator(echo, {"type": "test"})


async def test_what_goes_in_comes_out() -> None:
    client = echo_client()
    for number in range(3):
        await client.send_input({"type": "n", "n": number})
    assert [(await client.receive_output())["n"] for _ in range(3)] == [0, 1, 2]
    await client.send_input({"type": "stop"})
    await client.wait()


async def test_application_of_asgi_2_is_run() -> None:
    class Classic:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def __call__(self, receive: Receive, send: Send) -> None:
            await send({"type": self.scope["type"]})

    client = ApplicationCommunicator(Classic, {"type": "test"})
    assert await client.receive_output() == {"type": "test"}
    await client.wait()


async def test_application_begins_with_an_empty_context() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": of_the_test.get()})

    of_the_test.set("set")
    assert await ApplicationCommunicator(app, {}).receive_output() == {"type": "unset"}


async def test_output_that_does_not_come_is_a_timeout_and_cancels() -> None:
    client = echo_client()
    with pytest.raises(TimeoutError):
        await client.receive_output(timeout=0.01)
    assert client.future.cancelled()


async def test_output_of_an_application_that_has_returned_is_not_waited_for() -> None:
    client = echo_client()
    await client.send_input({"type": "stop"})
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await client.receive_output(timeout=50)


async def _maybe(result: Any) -> None:
    if result is not None:
        await result


async def test_what_was_sent_last_is_received() -> None:
    client = echo_client()
    await client.send_input({"type": "last"})
    await client.send_input({"type": "stop"})
    await client.wait()
    assert await client.receive_output() == {"type": "last"}


@pytest.mark.parametrize(
    "call", ["receive_output", "receive_nothing", "wait", "stop", "send_input"]
)
async def test_failure_of_the_application_is_raised(call: str) -> None:
    client = echo_client()
    await client.send_input({"type": "fail"})
    await asyncio.wait({client.future})
    arguments: list[dict[str, Any]] = [{}] if call == "send_input" else []
    with pytest.raises(OSError, match="told to fail"):
        await _maybe(getattr(client, call)(*arguments))


async def test_failure_while_waiting_is_raised_at_once() -> None:
    client = echo_client()
    await client.send_input({"type": "fail"})
    async with asyncio.timeout(5):
        with pytest.raises(OSError, match="told to fail"):
            await client.receive_output(timeout=50)


async def test_nothing_is_received() -> None:
    client = echo_client()
    assert await client.receive_nothing(timeout=0.02)
    await client.send_input({"type": "something"})
    assert not await client.receive_nothing(timeout=5)
    assert await client.receive_output() == {"type": "something"}
    client.stop()


async def test_application_that_does_not_return_is_a_timeout_and_cancelled() -> None:
    client = echo_client()
    with pytest.raises(TimeoutError):
        await client.wait(timeout=0.01)
    assert client.future.cancelled()


async def test_application_is_cancelled_with_its_communicator() -> None:
    client = echo_client()
    future = client.future
    await client.send_input({"type": "n"})
    await client.receive_output()
    del client
    gc.collect()
    await asyncio.wait({future}, timeout=5)
    assert future.cancelled()


# HTTP.


async def shown(request: Request) -> PlainTextResponse:
    body = (await request.body()).decode()
    text = f"{request.method} {request.url.path} {request.url.query} {body}"
    return PlainTextResponse(text, 201, {"x-got": request.headers.get("x-sent", "")})


async def test_framework_answers() -> None:
    app = Starlette(routes=[Route("/{rest:path}", shown, methods=["PUT"])])
    client = HttpCommunicator(app, "put", "/a%20b?c=%20", b"body", [(b"x-sent", b"1")])
    response = await client.get_response()
    assert response["status"] == 201
    assert (b"x-got", b"1") in response["headers"]
    assert response["body"].startswith(b"PUT /a b c=%20 body")
    await client.wait()


async def test_scope_of_http_is_complete() -> None:
    scope = HttpCommunicator(echo, "get", "/%C3%A9/%2F?q=1").scope
    assert (scope["path"], scope["raw_path"]) == ("/é//", b"/%C3%A9/%2F")
    assert (scope["method"], scope["query_string"]) == ("GET", b"q=1")


async def test_response_without_headers_and_bodies_in_parts() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    response = await HttpCommunicator(app, "GET", "/").get_response()
    assert response == {"status": 200, "headers": [], "body": b"ab"}


# WebSocket.


def answering(*answers: dict[str, Any]) -> WebsocketCommunicator:
    """A client of an application that sends these events."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for answer in answers:
            await send(answer)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return WebsocketCommunicator(app, "/", subprotocols=["a"])


async def test_accepted_with_subprotocol_and_headers() -> None:
    headers = [(b"a", b"b")]
    client = answering({"type": "websocket.accept", "subprotocol": "a", "headers": headers})
    assert await client.connect() == (True, "a")
    assert client.response_headers == headers
    await client.disconnect()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"type": "websocket.close"}, 1000),
        ({"type": "websocket.close", "code": 4001}, 4001),
        ({"type": "websocket.http.response.start", "status": 401, "headers": []}, 401),
    ],
)
async def test_refused(answer: dict[str, Any], code: int) -> None:
    client = answering(answer)
    assert await client.connect() == (False, code)
    client.stop()


async def test_a_frame_is_text_or_bytes() -> None:
    client = answering()
    with pytest.raises(AssertionError, match="exactly one of"):
        await client.send_to()
    with pytest.raises(AssertionError, match="exactly one of"):
        await client.send_to("a", b"b")


@pytest.mark.parametrize("event", [{"text": "a"}, {"bytes": b"a"}, {"bytes": b"a", "text": None}])
async def test_text_and_bytes_are_received(event: dict[str, Any]) -> None:
    client = answering({"type": "websocket.send", **event})
    assert await client.receive_from() == (event.get("text") or event["bytes"])
    client.stop()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.close"},
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": "a", "bytes": b"b"},
        {"type": "websocket.send", "text": b"a"},
        {"type": "websocket.send", "bytes": "a"},
    ],
)
async def test_anything_else_is_not(event: dict[str, Any]) -> None:
    client = answering(event)
    with pytest.raises(AssertionError):
        await client.receive_from()
    client.stop()


async def test_path_must_be_text() -> None:
    with pytest.raises(TypeError, match="Expected str"):
        WebsocketCommunicator(echo, b"/")  # type: ignore[arg-type]
