"""`SignedCookieSessions`: a small dict a visitor, kept in a cookie that only we can write."""

import re
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

from gateway_worker.apps import ASGI3App, Message, Receive, Scope, Send
from gateway_worker.middleware.signing import Signer, dump

_MAX_COOKIE_BYTES: Final = 4093
"""What every browser keeps of one Set-Cookie, name and attributes included (RFC 6265 6.1)."""

_MAX_CANDIDATES: Final = 8
"""Cookies of our name that are looked at: sites below the same domain can set more of them."""

_CARRIERS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)

# RFC 6265 4.1.1: a name is a token; Path and Domain have no control characters and no semicolon.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ATTRIBUTE: Final = re.compile(r"[!-:<-~]+")


class SignedCookieSessions:
    """Gives HTTP requests and WebSockets a session: `scope["session"]`, a dict.

        SignedCookieSessions(app, os.environ["SESSION_KEY"])

    It is JSON in a cookie with an HMAC-SHA256: visitors can read it and keep an old one, but not
    change it. The cookie is set with the response, or with the handshake of a WebSocket, and only
    when the dict was changed by then (or was signed with a key that is going out of use); what
    changes later is not kept. An empty dict deletes it. A cookie that is forged, cut or too old is
    no cookie: the session is empty.

    Where two responses change the session at once, the browser keeps the later one.
    """

    def __init__(
        self,
        app: ASGI3App,
        keys: str | bytes | Sequence[str | bytes],
        *,
        cookie: str = "session",
        max_age_s: int | None = 14 * 24 * 3600,
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: Literal["lax", "strict", "none"] = "lax",
    ) -> None:
        """Take the application, the keys and the cookie's attributes.

        Args:
            app: An ASGI 3 application.
            keys: One or more secrets of at least 16 bytes. The first signs, all are accepted: to
                change it, put the new one in front and take the old one out after `max_age_s`.
            cookie: Its name; with a prefix `__Host-` no other site of the domain can set it.
            max_age_s: Seconds after its last change for which a session is accepted; None: for ever
                and, in the browser, until that is closed.
            path: Paths to which the browser sends it.
            domain: Host below which it is sent; None: to exactly the host that set it.
            secure: Sent over https alone. Browsers make an exception for localhost.
            http_only: Not visible to scripts.
            same_site: Whether other sites' pages send it: `lax` with links alone, `strict` never,
                `none` always.

        Raises:
            ValueError: A key that is too short, or attributes that browsers refuse.
        """
        if not _NAME.fullmatch(cookie):
            raise ValueError(f"cookie {cookie!r}: letters, digits and !#$%&'*+-.^_`|~")
        for name, value in (("path", path), ("domain", domain)):
            if value is not None and not _ATTRIBUTE.fullmatch(value):
                raise ValueError(f"{name} {value!r}: visible ASCII without ';'")
        if same_site not in ("lax", "strict", "none"):
            raise ValueError(f"same_site {same_site!r}: lax, strict or none")
        if not secure and (same_site == "none" or cookie.startswith(("__Host-", "__Secure-"))):
            raise ValueError("same_site='none', __Host- and __Secure- need secure=True")
        if cookie.startswith("__Host-") and (path != "/" or domain is not None):
            raise ValueError("a __Host- cookie has path='/' and no domain")
        self.app = app
        self._path_routing = getattr(app, "_path_routing", False)
        self._cookie = cookie
        self._signer = Signer(keys, purpose=cookie, max_age_s=max_age_s)
        self._max_age_s = max_age_s
        self._attributes = f"; Path={path}"
        self._attributes += f"; Domain={domain}" if domain is not None else ""
        self._attributes += f"; SameSite={same_site.capitalize()}"
        self._attributes += "; Secure" * secure + "; HttpOnly" * http_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the session in its scope.

        Raises:
            TypeError: Out of the application's `send`: the session is no JSON.
            ValueError: The same: the cookie would be longer than 4,093 bytes, which browsers drop.
        """
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        session, before = self._load(scope)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] in _CARRIERS:
                header = self._save(session, before)
                if header is not None:
                    message = dict(message)
                    message["headers"] = [*(message.get("headers") or ()), header]
            await send(message)

        inner = dict(scope)
        inner["session"] = session
        await self.app(inner, receive, send_with_cookie)

    def _load(self, scope: Scope) -> tuple[dict[str, Any], str | None]:
        """Return the session, and its text as the browser has it.

        The text is None where the browser has to be given another in any case.
        """
        for value in self._candidates(scope):
            found = self._signer.load(value, int(time.time()))
            if found is not None:
                return found.value, found.text if found.current else None
        return {}, "{}"

    def _candidates(self, scope: Scope) -> list[str]:
        """Return the values of cookies of our name, as browsers order them."""
        values = []
        for name, header in scope["headers"]:
            if name == b"cookie":
                for pair in header.decode("latin-1").split(";"):
                    key, _, value = pair.strip(" \t").partition("=")
                    if key == self._cookie and len(value) <= _MAX_COOKIE_BYTES:
                        values.append(value)
        return values[:_MAX_CANDIDATES]

    def _save(self, session: dict[str, Any], before: str | None) -> tuple[bytes, bytes] | None:
        """Return the header line that gives the browser the session; None: it has it."""
        text = dump(session)
        if text == before:
            return None
        if session:
            age = "" if self._max_age_s is None else f"; Max-Age={self._max_age_s}"
            value = self._signer.sign(text, int(time.time()))
        else:
            age, value = "; Max-Age=0", ""
        line = f"{self._cookie}={value}{self._attributes}{age}".encode()
        if len(line) > _MAX_COOKIE_BYTES:
            raise ValueError(
                f"a session cookie of {len(line)} bytes: browsers keep {_MAX_COOKIE_BYTES};"
                " keep an id in the session, and the rest in a database"
            )
        return b"set-cookie", line
