"""What docs/middleware.md shows works as it is shown."""

import inspect
import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.workers.middleware.asgi import Application, exchange, http, status_of, websocket

from gateway_worker.middleware import AllowedHosts, AllowedOrigins, JWTAuth, SignedCookieSessions

TEXT = (Path(__file__).parents[3] / "docs" / "middleware.md").read_text()
HOST = ("host", "shop.example")
ORIGIN = ("origin", "https://shop.example")
KEY = "j" * 32


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the blocks define, run in their order."""
    monkeypatch.setenv("SESSION_KEY", "s" * 32)
    monkeypatch.setenv("JWT_KEY", KEY)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S):
        exec(compile(block, "middleware.md", "exec"), names)
    return names


async def test_visits_are_counted(shown: dict[str, Any]) -> None:
    cookie, bodies = "", []
    for _ in range(2):
        start, body = await exchange(shown["application"], http(headers=[HOST, ("cookie", cookie)]))
        cookie = dict(start["headers"])[b"set-cookie"].decode().partition(";")[0]
        bodies.append(body["body"])
    assert bodies == [b"1", b"2"]


async def test_other_host_is_refused(shown: dict[str, Any]) -> None:
    assert await status_of(shown["application"], http(headers=[("host", "other")])) == 400


@pytest.mark.parametrize(("origin", "audience"), [("https://evil.example", "shop"), (None, "bank")])
async def test_websocket_of_another_origin_or_audience_is_refused(
    shown: dict[str, Any], origin: str | None, audience: str
) -> None:
    claims = {"sub": "me", "aud": audience, "exp": int(time.time()) + 60}
    offered = ["bearer", jwt.encode(claims, KEY, "HS256")]
    headers = [HOST, ("origin", origin or ORIGIN[1])]
    scope = websocket("/who", headers, subprotocols=offered)
    assert await status_of(shown["application"], scope) == 403


async def test_websocket_knows_who_it_is(shown: dict[str, Any]) -> None:
    claims = {"sub": "me", "aud": "shop", "exp": int(time.time()) + 60}
    offered = ["bearer", jwt.encode(claims, KEY, "HS256")]

    # The client leaves when it has been told.
    async def who(scope: Any, receive: Any, send: Any) -> None:
        events = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect"}])

        async def receive_next() -> Any:
            return next(events)

        await shown["application"](scope, receive_next, send)

    sent = await exchange(who, websocket("/who", [HOST, ORIGIN], subprotocols=offered))
    assert sent == [
        {"type": "websocket.accept", "subprotocol": "bearer"},
        {"type": "websocket.send", "text": "me"},
    ]


async def test_keys_of_a_jwks_are_asked_for(shown: dict[str, Any]) -> None:
    app = shown["with_jwks"](Application(), "http://127.0.0.1:1/keys")
    assert await status_of(app, http()) == 401


@pytest.mark.parametrize(
    "middleware", [AllowedHosts, AllowedOrigins, JWTAuth, SignedCookieSessions]
)
def test_options_and_defaults_are_those_of_the_code(middleware: type) -> None:
    (written,) = re.findall(rf"^`{middleware.__name__}\((app, [^`]*)\)`", TEXT, re.M)
    parameters = inspect.signature(middleware).parameters.values()
    expected = [
        one.name if one.default is one.empty else f"{one.name}={one.default!r}"
        for one in parameters
    ]
    shown_names = [word for word in re.split(r",\s+(?![^(]*\))", written) if word != "*"]
    assert [word.replace('"', "'") for word in shown_names] == expected
