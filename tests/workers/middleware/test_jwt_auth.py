import asyncio
import base64
import json
import sys
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.workers.middleware.asgi import Application, exchange, http, status_of, websocket
from tests.workers.middleware.tokens import (
    PEM,
    PRIVATE,
    SECRET,
    accepts,
    bearer,
    claims,
    guard,
    token,
)

from gateway_worker.apps import Receive, Scope, Send


async def challenge_of(scope: Scope, **options: Any) -> tuple[int, str]:
    start = (await exchange(guard(**options), scope))[0]
    return start["status"], dict(start["headers"])[b"www-authenticate"].decode()


# Where the token stands.


async def test_claims_are_in_the_scope() -> None:
    app = Application()
    scope = bearer(token(role="admin"))
    assert await status_of(guard(app), scope) == 200
    assert app.scope["claims"]["role"] == "admin"
    assert "claims" not in scope


@pytest.mark.parametrize("form", ["bearer {}", "BEARER  {} "])
async def test_scheme_of_authorization_has_any_case(form: str) -> None:
    scope = http(headers=[("authorization", form.format(token()))])
    assert await status_of(guard(), scope) == 200


async def test_without_a_token_there_is_no_error_code() -> None:
    assert await challenge_of(http(), realm="shop") == (401, 'Bearer realm="shop"')


async def test_other_scheme_is_no_token() -> None:
    scope = http(headers=[("authorization", "Basic eDp5")])
    assert await challenge_of(scope) == (401, 'Bearer realm="gateway"')


async def test_wrong_token_is_named_invalid() -> None:
    status, challenge = await challenge_of(bearer("x.y.z"))
    assert status == 401
    assert challenge.endswith('error="invalid_token", error_description="the token is invalid"')


async def test_token_in_the_query_is_taken_only_if_told() -> None:
    scope = http(query_string=f"a=1&access_token={token()}".encode())
    assert await status_of(guard(), scope) == 401
    assert await status_of(guard(query="access_token"), scope) == 200


async def test_two_tokens_are_a_wrong_request() -> None:
    scope = {**bearer(token()), "query_string": f"t={token()}".encode()}
    status, challenge = await challenge_of(scope, query="t")
    assert (status, challenge.partition(", ")[2]) == (400, 'error="invalid_request"')


async def test_two_authorization_fields_are_refused() -> None:
    fields = [("authorization", f"Bearer {token()}")] * 2
    assert await status_of(guard(), http(headers=fields)) == 401


@pytest.mark.parametrize(
    ("offered", "left"), [(["bearer", "T"], []), (["a", "bearer", "T", "b"], ["a", "b"])]
)
async def test_subprotocol_after_bearer_is_the_token(offered: list[str], left: list[str]) -> None:
    app = Application()
    words = [token() if word == "T" else word for word in offered]
    (accept,) = await exchange(guard(app), websocket(subprotocols=words))
    assert app.scope["subprotocols"] == left
    assert accept == {"type": "websocket.accept", "subprotocol": "bearer"}


async def test_subprotocol_that_the_application_chose_stays() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "subprotocol": "chat"})

    (accept,) = await exchange(guard(app), websocket(subprotocols=["chat", "bearer", token()]))
    assert accept["subprotocol"] == "chat"


async def test_websocket_with_authorization_is_let_in() -> None:
    scope = websocket(headers=[("authorization", f"Bearer {token()}")])
    assert await exchange(guard(), scope) == [{"type": "websocket.accept"}]


@pytest.mark.parametrize(
    "offered", [[], ["bearer"], ["bearer", "x"], ["T"], ["bearer", "T", "bearer", "T"]]
)
async def test_websocket_without_one_token_is_refused(offered: list[str]) -> None:
    words = [token() if word == "T" else word for word in offered]
    assert await status_of(guard(), websocket(subprotocols=words)) == 403


async def test_subprotocols_can_be_left_to_the_application() -> None:
    scope = websocket(subprotocols=["bearer", token()])
    assert await status_of(guard(subprotocol=None), scope) == 403


async def test_scope_of_another_type_passes() -> None:
    app = Application()
    await exchange(guard(app), {"type": "lifespan"})
    assert app.scope == {"type": "lifespan"}


# What holds.


@pytest.mark.parametrize(
    ("more", "options", "held"),
    [
        ({"exp": 1}, {}, False),
        ({"exp": None}, {}, False),
        ({"exp": None}, {"required": []}, False),
        ({"exp": "soon"}, {}, False),
        ({"nbf": 2**40}, {}, False),
        ({"iat": 2**40}, {}, False),
        ({"aud": "shop"}, {"audience": "shop"}, True),
        ({"aud": ["a", "shop"]}, {"audience": ["shop", "b"]}, True),
        ({"aud": "bank"}, {"audience": "shop"}, False),
        ({}, {"audience": "shop"}, False),
        ({"aud": "shop"}, {}, False),
        ({"iss": "us"}, {"issuer": "us"}, True),
        ({"iss": "us"}, {"issuer": ["them", "us"]}, True),
        ({"iss": "them"}, {"issuer": "us"}, False),
        ({}, {"issuer": "us"}, False),
        ({"iss": "anybody"}, {}, True),
        ({}, {"required": ["exp", "role"]}, False),
        ({"role": 1}, {"required": ["exp", "role"]}, True),
    ],
)
async def test_claims_are_checked(
    more: dict[str, Any], options: dict[str, Any], held: bool
) -> None:
    payload = claims(**more)
    text = jwt.api_jws.encode(json.dumps(payload).encode(), SECRET, "HS256")
    assert await accepts(guard(**options), text) is held


async def test_token_without_expiry_holds_only_if_told() -> None:
    text = jwt.encode({"sub": "me"}, SECRET, "HS256")
    assert not await accepts(guard(), text)
    assert await accepts(guard(required=[]), text)


async def test_leeway_is_for_clocks_that_differ() -> None:
    text = token(exp=int(time.time()) - 30)
    assert not await accepts(guard(), text)
    assert await accepts(guard(leeway_s=300), text)


async def test_expired_token_is_named_so() -> None:
    _, challenge = await challenge_of(bearer(token(exp=1)))
    assert challenge.endswith('error_description="the token has expired"')


# Keys.


async def test_public_key_verifies() -> None:
    app = guard(key=PEM, algorithms=["RS256"])
    assert await accepts(app, token(PRIVATE, "RS256"))
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert not await accepts(app, token(other, "RS256"))


def find_key(header: dict[str, Any]) -> str:
    return {"one": SECRET, "two": "t" * 64}[header["kid"]]


async def find_key_slowly(header: dict[str, Any]) -> str:
    await asyncio.sleep(0)
    return find_key(header)


class KeySet:
    async def __call__(self, header: dict[str, Any]) -> jwt.PyJWK:
        secret = find_key(header).encode()
        encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        return jwt.PyJWK({"kty": "oct", "alg": "HS256", "k": encoded})


@pytest.mark.parametrize("find", [find_key, find_key_slowly, KeySet()])
async def test_key_is_found_by_the_header(find: Any) -> None:
    app = guard(key=find)
    assert await accepts(app, token(SECRET, kid="one"))
    assert not await accepts(app, token(SECRET, kid="two"))
    assert not await accepts(app, token(SECRET, kid="three"))


async def test_function_is_not_asked_for_an_algorithm_that_is_not_ours() -> None:
    asked: list[Any] = []
    app = guard(key=asked.append)
    assert not await accepts(app, token(SECRET, "HS512"))
    assert asked == []


@pytest.mark.parametrize(
    "found", ["short", None, 5, jwt.PyJWK({"kty": "oct", "k": "c3M", "alg": "HS512"})]
)
async def test_unfit_key_that_a_function_finds_refuses_the_token(found: Any) -> None:
    assert not await accepts(guard(key=lambda _header: found), token())


async def test_error_of_the_function_is_the_applications() -> None:
    def fail(_header: dict[str, Any]) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await exchange(guard(key=fail), bearer(token()))


async def test_keys_that_cannot_be_fetched_are_503(caplog: pytest.LogCaptureFixture) -> None:
    client = jwt.PyJWKClient("http://127.0.0.1:1/keys", timeout=5)
    app = guard(key=lambda header: client.get_signing_key(header["kid"]))
    assert await status_of(app, bearer(token(kid="one"))) == 503
    assert "keys cannot be fetched" in caplog.text


@pytest.mark.parametrize(
    ("key", "algorithms", "error"),
    [
        (SECRET, [], ValueError),
        (SECRET, ["none"], ValueError),
        (SECRET, ["HS256", "none"], ValueError),
        (SECRET, ["HS1"], ValueError),
        (SECRET, ["HS256", "RS256"], ValueError),
        (SECRET, "HS256", TypeError),
        ("short", ["HS256"], ValueError),
        ("s" * 32, ["HS256", "HS512"], ValueError),
        (PEM, ["HS256"], ValueError),
        (SECRET, ["RS256"], ValueError),
        (PEM, ["ES256"], ValueError),
        (None, ["HS256"], ValueError),
    ],
)
def test_unsafe_keys_and_algorithms_are_errors(key: Any, algorithms: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        guard(key=key, algorithms=algorithms)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("realm", ['a"b', "a\\b", "a\r\nb", "é"])
def test_realm_that_is_no_header_is_an_error(realm: str) -> None:
    with pytest.raises(ValueError, match="realm"):
        guard(realm=realm)


def test_missing_library_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    monkeypatch.delitem(sys.modules, "gateway_worker.middleware.tokens")
    with pytest.raises(ImportError, match=r"pip install channel-gateway\[jwt\]"):
        guard()
