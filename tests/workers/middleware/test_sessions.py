import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tests.workers.middleware.asgi import exchange, http, websocket

from gateway_worker.apps import ASGI3App, Message, Receive, Scope, Send
from gateway_worker.middleware import SignedCookieSessions
from gateway_worker.middleware.signing import Signer, dump

KEY = "k" * 16
OTHER = b"o" * 32
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


class Visit:
    """An application that changes the session as it is told to, and remembers it."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.session: dict[str, Any] | None = None

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.session = dict(scope["session"])
        scope["session"].update(self.changes)
        if scope["type"] == "http":
            headers = [(b"x-own", b"1")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body"})
        else:
            await send({"type": "websocket.accept"})


def set_cookies(sent: list[Message]) -> list[str]:
    headers = [field for message in sent for field in message.get("headers", [])]
    return [value.decode() for name, value in headers if name == b"set-cookie"]


async def visit(app: ASGI3App, sent: str = "", scope: Any = http, **options: Any) -> list[str]:
    """Return the Set-Cookie lines of one exchange."""
    headers = [("cookie", sent)] if sent else []
    wrapped = SignedCookieSessions(app, **{"keys": KEY, **options})
    return set_cookies(await exchange(wrapped, scope(headers=headers)))


async def cookie_of(**session: Any) -> str:
    (line,) = await visit(Visit(**session))
    return line.partition(";")[0]


async def session_of(sent: str, **options: Any) -> dict[str, Any]:
    app = Visit()
    await visit(app, sent, **options)
    assert app.session is not None
    return app.session


@settings(deadline=None)
@given(session=st.dictionaries(st.text(max_size=6), JSON, max_size=4))
async def test_what_was_put_in_comes_back(session: dict[str, Any]) -> None:
    app = Visit()
    app.changes = session
    lines = await visit(app)
    cookie = lines[0].partition(";")[0] if lines else ""
    assert await session_of(cookie) == session


async def test_attributes_are_the_safe_ones() -> None:
    (line,) = await visit(Visit(a=1))
    _, _, attributes = line.partition("; ")
    assert attributes == "Path=/; SameSite=Lax; Secure; HttpOnly; Max-Age=1209600"


async def test_attributes_can_be_chosen() -> None:
    options: dict[str, Any] = {"cookie": "s", "max_age_s": None, "path": "/x", "domain": "a.b"}
    flags: dict[str, Any] = {"secure": False, "http_only": False, "same_site": "strict"}
    (line,) = await visit(Visit(a=1), **options, **flags)
    assert line.startswith("s=")
    assert line.partition("; ")[2] == "Path=/x; Domain=a.b; SameSite=Strict"


async def test_headers_of_the_application_stay() -> None:
    sent = await exchange(SignedCookieSessions(Visit(a=1), KEY), http())
    assert sent[0]["headers"][0] == (b"x-own", b"1")


async def test_cookie_comes_with_the_handshake_of_a_websocket() -> None:
    (line,) = await visit(Visit(a=1), scope=websocket)
    assert await session_of(line.partition(";")[0]) == {"a": 1}


async def test_nothing_is_set_without_a_change() -> None:
    assert await visit(Visit(), await cookie_of(a=[1, {"b": "é"}])) == []


async def test_nothing_is_set_for_a_session_that_stays_empty() -> None:
    assert await visit(Visit()) == []


async def test_change_deep_inside_is_a_change() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"].append(2)
        await Visit()(scope, receive, send)

    (line,) = await visit(app, await cookie_of(a=[1]))
    assert await session_of(line.partition(";")[0]) == {"a": [1, 2]}


async def test_emptied_session_is_deleted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"].clear()
        await Visit()(scope, receive, send)

    (line,) = await visit(app, await cookie_of(a=1))
    assert line.startswith("session=; Path=/")
    assert line.endswith("; Max-Age=0")


async def test_other_cookies_are_left_alone() -> None:
    assert await session_of(f"x=1; {await cookie_of(a=1)}; sessions=2; session2") == {"a": 1}


async def test_forged_cookie_in_front_does_not_hide_the_true_one() -> None:
    assert await session_of(f"session=forged; {await cookie_of(a=1)}") == {"a": 1}


# Keys and age.


async def test_cookie_of_an_old_key_is_accepted_and_signed_anew() -> None:
    (line,) = await visit(Visit(), await cookie_of(a=1), keys=[OTHER, KEY])
    assert await session_of(line.partition(";")[0], keys=OTHER) == {"a": 1}


async def test_cookie_of_a_key_taken_out_is_none() -> None:
    assert await session_of(await cookie_of(a=1), keys=OTHER) == {}


async def test_cookie_of_another_name_is_none() -> None:
    cookie = "other" + (await cookie_of(a=1)).removeprefix("session")
    assert await session_of(cookie, cookie="other") == {}


@pytest.mark.parametrize(("age_s", "session"), [(99, {"a": 1}), (102, {})])
async def test_cookie_is_accepted_for_its_age(age_s: int, session: dict[str, Any]) -> None:
    signer = Signer(KEY, purpose="session", max_age_s=None)
    old = signer.sign(dump({"a": 1}), int(time.time()) - age_s)
    assert await session_of(f"session={old}", max_age_s=100) == session


# Hostile cookies.


@settings(deadline=None)
@given(value=st.text(st.characters(max_codepoint=255), max_size=80))
async def test_any_value_is_no_session(value: str) -> None:
    assert await session_of(f"session={value}") == {}


@settings(deadline=None)
@given(data=st.data())
async def test_cookie_changed_anywhere_is_no_session(data: st.DataObject) -> None:
    signer = Signer(KEY, purpose="session", max_age_s=None)
    value = signer.sign(dump({"user": "me"}), 2**33)  # the same in every run
    index = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.characters(codec="ascii", exclude_characters=value[index] + "; \t"))
    kind = data.draw(st.sampled_from([other, "", value[index] + other]))
    assert await session_of(f"session={value[:index]}{kind}{value[index + 1 :]}") == {}


@settings(deadline=None)
@given(payload=st.binary(max_size=20), when=st.text("0123456789-", max_size=5))
async def test_parts_of_a_true_cookie_make_no_other(payload: bytes, when: str) -> None:
    value = (await cookie_of(a=1)).partition("=")[2]
    signature = value.rpartition(".")[2]
    assert await session_of(f"session={payload.hex()}.{when}.{signature}") == {}


@pytest.mark.parametrize("change", ["last bits", "=", "!", "\n", "."])
async def test_signature_is_written_in_one_way_only(change: str) -> None:
    cookie = await cookie_of(a=1)
    if change == "last bits":  # two of them are in no byte, and b64decode takes any
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(cookie[-1])
        changed = cookie[:-1] + base64.urlsafe_b64encode(bytes([(last + 1) << 2])).decode()[0]
    else:
        changed = cookie + change
    assert await session_of(changed) == {}


async def test_many_forged_cookies_are_not_all_looked_at() -> None:
    cookie = await cookie_of(a=1)
    assert await session_of("session=x; " * 8 + cookie) == {}


# What cannot be kept.


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, float("nan"), object()])
async def test_session_that_is_no_json_is_the_applications_error(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"JSON|serializable"):
        await visit(Visit(a=value))


async def test_session_too_large_for_a_cookie_is_the_applications_error() -> None:
    with pytest.raises(ValueError, match="browsers keep 4093"):
        await visit(Visit(a="x" * 3100))


async def test_largest_cookie_is_kept_by_browsers() -> None:
    (line,) = await visit(Visit(a="x" * 2900))
    assert 3900 < len(line) <= 4093


async def test_scope_of_another_type_passes() -> None:
    seen = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    await exchange(SignedCookieSessions(app, KEY), {"type": "lifespan"})
    assert seen == [{"type": "lifespan"}]


@pytest.mark.parametrize(
    "options",
    [
        {"keys": []},
        {"keys": "short"},
        {"keys": [KEY, b"short"]},
        {"cookie": "a b"},
        {"cookie": ""},
        {"path": "/; Domain=x"},
        {"domain": "a\r\nb"},
        {"same_site": "Lax"},
        {"same_site": "none", "secure": False},
        {"cookie": "__Host-s", "path": "/x"},
        {"cookie": "__Host-s", "domain": "a"},
        {"cookie": "__Secure-s", "secure": False},
    ],
)
def test_options_that_cannot_work_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        SignedCookieSessions(Visit(), **{"keys": KEY, **options})


async def test_visitor_can_read_the_session() -> None:
    # So nothing secret belongs into it; the document says so.
    payload = (await cookie_of(a=1)).partition("=")[2].partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(payload + "==")) == {"a": 1}
