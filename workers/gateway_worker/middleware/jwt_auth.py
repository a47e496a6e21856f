"""`JWTAuth`: lets in who brings a JSON Web Token that holds, for as long as it does."""

import asyncio
import logging
import math
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from gateway_layer.errors import ClientDisconnected
from gateway_worker.apps import ASGI3App, Message, Receive, Scope, Send
from gateway_worker.middleware.host_patterns import only_header
from gateway_worker.refusals import refuse

if TYPE_CHECKING:
    from gateway_worker.middleware.tokens import FindKey

EXPIRED_CODE: Final = 4401
"""Close code of a WebSocket whose token has expired: 4000 + the status of HTTP."""

_LOOK_AGAIN_S: Final = 3600.0
"""The clock that tokens go by may be set: no timer runs longer without looking at it."""

_REALM: Final = re.compile(r"[ !#-\[\]-~]*")

_log = logging.getLogger("gateway.auth")


class JWTAuth:
    """Verifies a JSON Web Token, and puts its claims into the scope as `scope["claims"]`, a dict.

        JWTAuth(app, key, algorithms=["RS256"], audience="shop", issuer="https://id.example.com")

    The token stands in `Authorization: Bearer`; or, as browsers cannot set that for a WebSocket,
    after `bearer` among the subprotocols: `new WebSocket(url, ["bearer", token])`; or, if
    `query` is set, in the query. The application sees neither `bearer` nor the token among
    `scope["subprotocols"]`; if it accepts without a subprotocol, `bearer` is the one, as browsers
    want one of theirs. The token itself is never sent back, logged or shown in an error.

    Without a token that holds, HTTP is answered 401 with WWW-Authenticate (RFC 6750 3) and a
    WebSocket refused. An open WebSocket is closed with 4401 when its token expires. Scopes of other
    types pass.

    Needs PyJWT: `pip install channel-gateway[jwt]`.
    """

    def __init__(
        self,
        app: ASGI3App,
        key: "str | bytes | FindKey | Any",
        *,
        algorithms: Sequence[str],
        audience: str | Sequence[str] | None = None,
        issuer: str | Sequence[str] | None = None,
        leeway_s: float = 0,
        required: Sequence[str] = ("exp",),
        subprotocol: str | None = "bearer",
        query: str | None = None,
        realm: str = "gateway",
    ) -> None:
        """Take the application, and what tokens have to be like.

        Args:
            app: An ASGI 3 application.
            key: A secret (HS…, at least as many bytes as the hash), a public key in PEM, a key
                object of `cryptography`, a `jwt.PyJWK`; or a function that takes the header of a
                token, which is not verified yet, and returns one of these. A coroutine function is
                awaited, any other runs in a thread; LookupError and PyJWT's own errors refuse the
                token, others are the application's.
            algorithms: Those that are accepted, all of one kind, whatever the token says.
            audience: One of these must be in `aud`. None: a token with an `aud` is refused, for it
                is meant for somebody else (RFC 7519 4.1.3).
            issuer: `iss` must be one of these; None: any or none.
            leeway_s: Seconds by which clocks may differ, at `exp`, `nbf` and `iat`.
            required: Claims that must be there; without `exp` a token holds for ever.
            subprotocol: After which subprotocol the token stands; None: not taken from there.
            query: Parameter of the query that holds the token. None: not taken from there, since
                URLs are kept in logs and histories.
            realm: Shown in WWW-Authenticate.

        Raises:
            ImportError: PyJWT, or for other keys than secrets cryptography, is not installed.
            TypeError: A bare str for `algorithms` or `required`.
            ValueError: Algorithms or a key that would not be safe, or a realm that is no header's.
        """
        try:
            from gateway_worker.middleware.tokens import (
                KeysUnavailable,
                TokenRefused,
                TokenVerifier,
            )
        except ImportError as error:
            raise ImportError("JWTAuth needs PyJWT: pip install channel-gateway[jwt]") from error
        if not _REALM.fullmatch(realm):
            raise ValueError(f"realm {realm!r}: visible ASCII without quotes and backslashes")
        self.app = app
        self._path_routing = getattr(app, "_path_routing", False)
        self._refused = TokenRefused
        self._unavailable = KeysUnavailable
        self._verifier = TokenVerifier(
            key,
            algorithms=algorithms,
            audience=audience,
            issuer=issuer,
            leeway_s=leeway_s,
            required=required,
        )
        self._leeway_s = leeway_s
        self._subprotocol = subprotocol
        self._query = query
        self._challenge = f'Bearer realm="{realm}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for who may use it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        tokens = self._tokens(scope)
        if len(tokens) != 1:
            # RFC 6750 2 and 3.1: one way only; and no error code where nothing was sent.
            code = ', error="invalid_request"' if tokens else ""
            await self._refuse(scope, receive, send, 400 if tokens else 401, code)
            return
        try:
            claims = await self._verifier.verify(tokens[0])
        except self._refused as reason:
            cause = type(reason.__cause__).__name__
            _log.info("token refused type=%s reason=%s cause=%s", scope["type"], reason, cause)
            code = f', error="invalid_token", error_description="{reason}"'
            await self._refuse(scope, receive, send, 401, code)
            return
        except self._unavailable as error:
            _log.error("keys cannot be fetched reason=%r", error.__cause__)
            await refuse(scope, receive, send, 503, "Service Unavailable")
            return
        inner = dict(scope)
        inner["claims"] = claims
        if scope["type"] == "http":
            await self.app(inner, receive, send)
        else:
            await self._run_websocket(inner, receive, send)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, code: str
    ) -> None:
        headers = [(b"www-authenticate", f"{self._challenge}{code}".encode())]
        text = "Unauthorized" if status == 401 else "Bad Request: more than one token"
        await refuse(scope, receive, send, status, text, headers)

    def _tokens(self, scope: Scope) -> list[str]:
        """Return every token that the request brings."""
        tokens = []
        authorization = only_header(scope, b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.strip().partition(" ")
            # An empty one counts as well: two Authorization fields are no way to have none.
            if scheme.lower() in ("bearer", ""):
                tokens.append(token.strip())
        if self._query is not None:
            query = scope.get("query_string", b"").decode("latin-1")
            pairs = parse_qsl(query, keep_blank_values=True)
            tokens += [value for name, value in pairs if name == self._query]
        if scope["type"] == "websocket":
            offered = scope.get("subprotocols", [])
            tokens += [
                offered[index + 1]
                for index, name in enumerate(offered[:-1])
                if name == self._subprotocol
            ]
        return tokens

    async def _run_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application until it ends, and close the WebSocket when the token expires."""
        offered = list(scope.get("subprotocols", []))
        brought = self._subprotocol in offered[:-1]
        if brought:
            index = offered.index(self._subprotocol)
            scope["subprotocols"] = offered[:index] + offered[index + 2 :]
        expiry = _Expiry(receive, send, self._expiry_of(scope["claims"]))

        async def accept_or_send(message: Message) -> None:
            if brought and message["type"] == "websocket.accept" and not message.get("subprotocol"):
                message = {**message, "subprotocol": self._subprotocol}
            await expiry.send(message)

        expiry.start()
        try:
            await self.app(scope, expiry.receive, accept_or_send)
        finally:
            await expiry.stop()

    def _expiry_of(self, claims: dict[str, Any]) -> float:
        """Return the end of a token, in seconds since the epoch."""
        return int(claims["exp"]) + self._leeway_s if "exp" in claims else math.inf


class _Expiry:
    """`receive` and `send` of a WebSocket that ends at a given time.

    From then on `send` raises ClientDisconnected, as after the client has left, and `receive` gives
    what the server has: a disconnect, since the WebSocket is closed.
    """

    def __init__(self, receive: Receive, send: Send, at_s: float) -> None:
        self._receive = receive
        self._send = send
        self._at_s = at_s
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch the clock."""
        left = self._at_s - time.time()
        if left > 0:
            delay = min(left, _LOOK_AGAIN_S)
            self._timer = asyncio.get_running_loop().call_later(delay, self.start)
        else:
            self._expired = True
            self._closing = asyncio.get_running_loop().create_task(self._close())

    async def _close(self) -> None:
        try:
            event = {"type": "websocket.close", "code": EXPIRED_CODE, "reason": "token expired"}
            await self._send(event)
        except OSError:
            return  # the client has left at the same moment

    async def receive(self) -> Message:
        """ASGI `receive`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._cancel()
        return message

    async def send(self, message: Message) -> None:
        """ASGI `send`.

        Raises:
            ClientDisconnected: The token has expired.
        """
        if self._expired:
            raise ClientDisconnected("the token has expired, and the WebSocket was closed")
        if message["type"] in ("websocket.close", "websocket.http.response.start"):
            self._cancel()  # the application ends it itself
        await self._send(message)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def stop(self) -> None:
        """Stop watching; a close that is under way ends first, or is cancelled with this."""
        self._cancel()
        if self._closing is not None:
            await self._closing
