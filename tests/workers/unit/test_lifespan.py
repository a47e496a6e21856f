import asyncio
import logging
from typing import Any

import pytest

from gateway_layer.errors import ApplicationError
from gateway_worker.apps import Message, Receive, Scope, Send
from gateway_worker.lifespan import Lifespan, LifespanFailed

TIMEOUT_S = 5.0


class App:
    """An application whose lifespan does what a test wants, and that notes what it saw."""

    def __init__(self, startup: Any = "complete", shutdown: Any = "complete") -> None:
        self.answers = {"lifespan.startup": startup, "lifespan.shutdown": shutdown}
        self.scope: Scope = {}
        self.received: list[str] = []
        self.cancelled = False
        self.asked = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        try:
            while len(self.received) < 2:
                await self._answer((await receive())["type"], send)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def _answer(self, kind: str, send: Send) -> None:
        self.received.append(kind)
        self.asked.set()
        answer = self.answers[kind]
        if isinstance(answer, Exception):
            raise answer
        if answer == "hang":
            await asyncio.Event().wait()
        reply: Message = {"type": f"{kind}.{answer}"}
        if answer == "failed":
            reply["message"] = "no database"
        await send(reply)


async def application_ended() -> None:
    """Wait until the one other task, which is the application's, has ended."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert len(tasks) == 1
    _, pending = await asyncio.wait(tasks, timeout=TIMEOUT_S)
    assert not pending


async def test_the_application_is_started_and_stopped_once() -> None:
    app = App()
    lifespan = Lifespan(app, "on", TIMEOUT_S)
    await lifespan.startup()
    assert app.received == ["lifespan.startup"]
    await lifespan.shutdown()
    await lifespan.shutdown()
    assert app.received == ["lifespan.startup", "lifespan.shutdown"]
    assert not app.cancelled


async def test_the_scope_is_that_of_the_specification() -> None:
    app = App()
    lifespan = Lifespan(app, "auto", TIMEOUT_S)
    await lifespan.startup()
    assert app.scope == {
        "type": "lifespan",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "state": {},
    }
    app.scope["state"]["pool"] = "of connections"
    assert lifespan.state == {"pool": "of connections"}
    await lifespan.shutdown()


async def test_off_asks_nothing() -> None:
    app = App()
    lifespan = Lifespan(app, "off", TIMEOUT_S)
    await lifespan.startup()
    await lifespan.shutdown()
    assert app.scope == {}


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """All that is ours: asyncio's debug mode has a word of its own on a slow machine."""
    return [record for record in caplog.records if record.name != "asyncio"]


async def test_auto_serves_an_application_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    app = App(startup=KeyError("path"))
    lifespan = Lifespan(app, "auto", TIMEOUT_S)
    with caplog.at_level(logging.INFO, "gateway_worker.lifespan"):
        await lifespan.startup()
    assert [(r.levelname, r.message) for r in logged(caplog)] == [
        ("INFO", "application without lifespan reason=KeyError('path')")
    ]
    await lifespan.shutdown()
    assert app.received == ["lifespan.startup"]


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that passes over scopes that it does not know."""


async def test_auto_serves_an_application_that_returns() -> None:
    lifespan = Lifespan(returns_at_once, "auto", TIMEOUT_S)
    await lifespan.startup()
    await lifespan.shutdown()


async def test_on_refuses_an_application_that_raises() -> None:
    with pytest.raises(LifespanFailed, match="no lifespan") as caught:
        await Lifespan(App(startup=KeyError("path")), "on", TIMEOUT_S).startup()
    assert isinstance(caught.value.__cause__, KeyError)


async def test_on_refuses_an_application_that_returns() -> None:
    with pytest.raises(LifespanFailed, match="without an answer"):
        await Lifespan(returns_at_once, "on", TIMEOUT_S).startup()


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_failed_start_carries_the_message(mode: str) -> None:
    with pytest.raises(LifespanFailed, match="no database"):
        await Lifespan(App(startup="failed"), mode, 0.2).startup()


async def test_a_failed_start_ends_an_application_that_goes_on_waiting() -> None:
    app = App(startup="failed")
    with pytest.raises(LifespanFailed, match="no database"):
        await Lifespan(app, "auto", 0.1).startup()
    assert app.cancelled


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_start_that_takes_too_long_fails(mode: str) -> None:
    app = App(startup="hang")
    with pytest.raises(LifespanFailed, match=r"within 0\.01 s"):
        await Lifespan(app, mode, 0.01).startup()
    assert app.cancelled


async def test_cancelling_the_start_cancels_the_application() -> None:
    app = App(startup="hang")
    task = asyncio.create_task(Lifespan(app, "on", TIMEOUT_S).startup())
    async with asyncio.timeout(TIMEOUT_S):
        await app.asked.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert app.cancelled


async def stopped(app: App, timeout_s: float, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log holds after the application was started and stopped."""
    lifespan = Lifespan(app, "auto", timeout_s)
    await lifespan.startup()
    await lifespan.shutdown()
    assert all(record.levelname == "ERROR" for record in logged(caplog))
    return [record.message for record in logged(caplog)]


async def test_a_failed_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await stopped(App(shutdown="failed"), TIMEOUT_S, caplog) == [
        "application shutdown failed message='no database'"
    ]


async def test_an_exception_at_the_stop_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError("broken")
    assert await stopped(App(shutdown=error), TIMEOUT_S, caplog) == ["application shutdown failed"]
    exc_info = logged(caplog)[0].exc_info
    assert exc_info is not None
    assert exc_info[1] is error


async def test_a_stop_that_takes_too_long_is_logged_and_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App(shutdown="hang")
    assert await stopped(app, 0.05, caplog) == ["application shutdown timed out after_s=0.05"]
    assert app.cancelled


async def test_a_lifespan_that_breaks_while_serving_is_logged_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})
        await broken.wait()
        raise ValueError("broken")

    lifespan = Lifespan(app, "auto", TIMEOUT_S)
    await lifespan.startup()
    broken.set()
    await application_ended()
    messages = ["application lifespan ended by an exception"]
    assert [record.message for record in logged(caplog)] == messages
    await lifespan.shutdown()
    assert [record.message for record in logged(caplog)] == messages


async def test_an_application_that_is_done_after_its_start_is_not_waited_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})

    lifespan = Lifespan(app, "on", TIMEOUT_S)
    await lifespan.startup()
    async with asyncio.timeout(1):
        await lifespan.shutdown()


@pytest.mark.parametrize(
    "message",
    [
        {"type": "lifespan.startup.complete"},
        {"type": "lifespan.shutdown.complete"},
        {"type": "http.response.start"},
        {"type": []},
        None,
    ],
)
async def test_wrong_order_raises_in_the_application(message: Any) -> None:
    raised: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})
        try:
            await send(message)
        except ApplicationError as error:
            raised.append(error)

    lifespan = Lifespan(app, "on", TIMEOUT_S)
    await lifespan.startup()
    await lifespan.shutdown()
    assert "unexpected lifespan message" in str(raised[0])
