"""`AllowedHosts`: answers only requests for hosts that are ours."""

from collections.abc import Iterable

from gateway_worker.apps import ASGI3App, Receive, Scope, Send
from gateway_worker.middleware.host_patterns import (
    only_header,
    parse_authority,
    parse_pattern,
    patterns_of,
)
from gateway_worker.refusals import refuse


class AllowedHosts:
    """Refuses HTTP requests and WebSockets whose Host is not among those allowed.

        AllowedHosts(app, ["example.com", ".example.org", "localhost:8000"])

    What an application builds of the Host (links in mails, redirects, keys of caches) is then never
    a stranger's choice. A request is answered 400, a WebSocket's handshake refused; scopes of other
    types pass.
    """

    def __init__(self, app: ASGI3App, hosts: Iterable[str]) -> None:
        """Take the application, and what is allowed.

        Args:
            app: An ASGI 3 application.
            hosts: `example.com`; `.example.com`, which is that and all below it; each for any port,
                or with `:port` for that one (a Host without a port has the scheme's own); `*` for
                everything. None are allowed by an empty list.

        Raises:
            TypeError: A bare str.
            ValueError: A pattern that could match nothing.
        """
        texts = patterns_of("hosts", hosts)
        self.app = app
        self._path_routing = getattr(app, "_path_routing", False)
        self._all = "*" in texts
        self._patterns = [parse_pattern(text) for text in texts if text != "*"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or refuse."""
        if self._all or scope["type"] not in ("http", "websocket") or self._allows(scope):
            await self.app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 400, "Bad Request: this host is not served here")

    def _allows(self, scope: Scope) -> bool:
        """Tell whether there is exactly one Host (RFC 9112 3.2), and it is allowed."""
        authority = parse_authority(only_header(scope, b"host") or "")
        if authority is None:
            return False
        secure = scope.get("scheme") in ("https", "wss")
        port = authority.port if authority.port is not None else 443 if secure else 80
        return any(pattern.matches(authority.host, port) for pattern in self._patterns)
