"""Tokens that somebody has made up."""

import base64
import hmac
import json
import logging
from typing import Any

import jwt
import pytest
from hypothesis import given, settings, strategies as st
from tests.workers.middleware.asgi import exchange, http, websocket
from tests.workers.middleware.tokens import (
    PEM,
    SECRET,
    accepts,
    claims,
    guard,
    raw_token,
    token,
)


async def find_key(header: dict[str, Any]) -> str:
    return {"one": SECRET}[header["kid"]]


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 0, ["HS256"], {}])
async def test_token_without_a_signature_is_refused(algorithm: Any) -> None:
    for app in (guard(), guard(key=lambda _header: SECRET)):
        assert not await accepts(app, raw_token({"alg": algorithm}, claims()))


@pytest.mark.parametrize("key", [PEM, lambda _header: PEM])
async def test_public_key_does_not_serve_as_a_secret(key: Any) -> None:
    signed = raw_token({"alg": "HS256", "typ": "JWT"}, claims()).rpartition(".")[0]
    mac = hmac.digest(PEM, signed.encode(), "sha256")
    forged = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert not await accepts(guard(key=key, algorithms=["RS256"]), forged)
    if callable(key):
        assert not await accepts(guard(key=key, algorithms=["HS256"]), forged)


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk"])
async def test_key_that_the_token_brings_is_not_used(name: str) -> None:
    text = jwt.encode(claims(), "a" * 64, "HS256", {name: "http://127.0.0.1:1/"})
    assert not await accepts(guard(), text)


async def test_deeply_nested_token_is_refused() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    assert not await accepts(guard(), f"{nested}.e30.e30")


async def test_token_too_long_is_refused_unread() -> None:
    assert not await accepts(guard(), token(padding="x" * 8192))


@settings(deadline=None)
@given(text=st.text(st.characters(max_codepoint=255), max_size=80))
async def test_any_text_is_no_token(text: str) -> None:
    assert not await accepts(guard(), text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["alg", "typ", "kid", "b64", "crit", "exp", "aud", "nbf", "iss", "jti"])
PARTS = JSON | st.dictionaries(NAMES, JSON | st.just("HS256"), max_size=4)


@settings(deadline=None)
@given(header=PARTS, payload=PARTS, signature=st.binary(max_size=40))
async def test_any_json_is_no_token(header: Any, payload: Any, signature: bytes) -> None:
    text = raw_token(header, payload, signature)
    assert not await accepts(guard(), text)
    assert not await accepts(guard(key=find_key), text)


@settings(deadline=None)
@given(more=st.dictionaries(NAMES, JSON, max_size=4))
async def test_signed_claims_of_any_kind_are_accepted_or_refused(more: dict[str, Any]) -> None:
    payload = json.dumps(claims() | more).encode()
    await accepts(guard(), jwt.api_jws.encode(payload, SECRET, "HS256"))


@settings(deadline=None)
@given(data=st.data())
async def test_token_changed_anywhere_is_refused(data: st.DataObject) -> None:
    text = token(exp=2**33)  # the same in every run
    index = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii", exclude_characters=text[index]))
    assert not await accepts(guard(), text[:index] + other + text[index + 1 :])


async def test_token_is_never_logged_or_sent_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = token(exp=1)
    sent = await exchange(guard(query="t"), http(query_string=f"t={text}".encode()))
    sent += await exchange(guard(), websocket(subprotocols=["bearer", text]))
    assert "token refused type=http reason=the token has expired" in caplog.text
    for part in text.split("."):
        assert part not in caplog.text
        assert part not in repr(sent)
