"""`AllowedOrigins`: lets pages of known origins, and no others, open WebSockets."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway_worker.apps import ASGI3App, Receive, Scope, Send
from gateway_worker.middleware.host_patterns import (
    HostPattern,
    only_header,
    parse_authority,
    parse_pattern,
    patterns_of,
)
from gateway_worker.refusals import refuse

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class _Pattern(NamedTuple):
    scheme: str | None
    host: HostPattern


class AllowedOrigins:
    """Refuses WebSockets that a page of another origin opens.

        AllowedOrigins(app, ["https://example.com", ".example.org", "http://localhost:3000"])

    Browsers let any page open a WebSocket to any server and send that server's cookies along; no
    CORS stands in between. Origin, which a page cannot forge, is the only thing that tells them
    apart (RFC 6455 10.2). HTTP requests and scopes of other types pass.
    """

    def __init__(
        self, app: ASGI3App, origins: Iterable[str], *, allow_missing: bool = False
    ) -> None:
        """Take the application, and what is allowed.

        Args:
            app: An ASGI 3 application.
            origins: `https://example.com` is that scheme and host at the scheme's port;
                `https://example.com:8443` at that port; `example.com` is any scheme and any port.
                A dot in front of the host, as in `https://.example.com`, is the domain and all
                below it. `null` is the origin of sandboxed frames and files, which anybody can
                have. `*` is everything.
            allow_missing: Whether to let a handshake without Origin pass: browsers always send one,
                other programs need not. `*` lets it pass, too.

        Raises:
            TypeError: A bare str.
            ValueError: A pattern that could match nothing.
        """
        texts = [text.lower() for text in patterns_of("origins", origins)]
        self.app = app
        self._path_routing = getattr(app, "_path_routing", False)
        self._all = "*" in texts
        self._null = "null" in texts
        self._allow_missing = allow_missing
        self._patterns = [_parse(text) for text in texts if text not in ("*", "null")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or refuse."""
        if scope["type"] != "websocket" or self._all or self._allows(scope):
            await self.app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 403, "Forbidden: this origin is not allowed")

    def _allows(self, scope: Scope) -> bool:
        text = only_header(scope, b"origin")
        if text is None:
            return self._allow_missing
        if text == "null":
            return self._null
        # RFC 6454 6.2: scheme://host, and the port where it is not the scheme's. No more.
        scheme, separator, rest = text.lower().partition("://")
        authority = parse_authority(rest)
        if not separator or authority is None or not _SCHEME.fullmatch(scheme):
            return False
        port = authority.port if authority.port is not None else _PORTS.get(scheme)
        return any(
            pattern.scheme in (None, scheme) and pattern.host.matches(authority.host, port)
            for pattern in self._patterns
        )


def _parse(text: str) -> _Pattern:
    """Read a pattern, in lower case."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _Pattern(None, parse_pattern(text))
    if not _SCHEME.fullmatch(scheme):
        raise ValueError(f"origin {text!r}: {scheme!r} is no scheme")
    host = parse_pattern(rest)
    # With a scheme, no port means the scheme's own, not any.
    return _Pattern(scheme, host._replace(port=host.port or _PORTS.get(scheme)))
