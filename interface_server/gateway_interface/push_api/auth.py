"""Who may use the push API: a signature, a token, or whoever is on this machine; without I/O."""

import hmac
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.push_api.answers import ApiError
from gateway_interface.push_api.aws import ALGORITHM, Signature, check_signature, read_signature


def is_loopback(host: str) -> bool:
    """Whether a host, without port, can only be reached from this machine."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return ip_address(bare).is_loopback
    except ValueError:
        return bare.lower() == "localhost"


class Authority:
    """Judges requests, as far as their heads go before their bodies are read.

    Without keys and tokens it lets everybody in who is no web page: the listener is then on
    loopback or a Unix socket, but a browser on this machine could be made to send there.
    """

    def __init__(
        self, keys: Mapping[str, str], tokens: Sequence[str], *, unix_socket: bool
    ) -> None:
        """Take the credentials.

        Args:
            keys: Access key id -> secret key.
            tokens: Bearer tokens.
            unix_socket: The listener is one; then Host means nothing.
        """
        self._keys: Final = dict(keys)
        self._tokens: Final = [token.encode() for token in tokens]
        self._unix_socket: Final = unix_socket
        self.is_open: Final = not keys and not tokens

    def admit(self, head: RequestHead, now: float) -> Signature | None:
        """Judge a head.

        Args:
            head: Of the request.
            now: Unix time in s.

        Returns:
            What `check_body` must still check, None if nothing.

        Raises:
            ApiError: 403.
        """
        if self.is_open:
            self._refuse_web_pages(head)
            return None
        values = [value for name, value in head.headers if name == b"authorization"]
        if len(values) != 1:
            raise ApiError(403, "one field Authorization is needed")
        scheme, _, token = values[0].partition(b" ")
        if scheme.decode("latin-1") == ALGORITHM and self._keys:
            return read_signature(values[0].decode("latin-1"), head, self._keys, now)
        if scheme.lower() == b"bearer" and self._tokens:
            # All are compared, so that the time does not tell which one was nearly right.
            found = [hmac.compare_digest(token.strip(), known) for known in self._tokens]
            if any(found):
                return None
            raise ApiError(403, "unknown token")
        raise ApiError(403, "this scheme of Authorization is not served here")

    def check_body(self, signature: Signature | None, head: RequestHead, body: bytes) -> None:
        """Judge the rest, once the body is there.

        Raises:
            ApiError: 403.
        """
        if signature is not None:
            check_signature(signature, head, body)

    def _refuse_web_pages(self, head: RequestHead) -> None:
        """Refuse what a page of another origin sends (Origin), also under a name that it rebound.

        Raises:
            ApiError: 403.
        """
        fields = dict(head.headers)
        if b"origin" in fields:
            raise ApiError(403, "web pages may not push without a key or token")
        host = fields.get(b"host", b"localhost").decode("latin-1")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if not self._unix_socket and not is_loopback(name):
            raise ApiError(403, "without keys and tokens, Host must be an address of loopback")
