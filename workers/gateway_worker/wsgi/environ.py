"""From the scope of a request to the `environ` of PEP 3333. No I/O."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

Environ = dict[str, Any]

_MAX_KEYS: Final = 1024


class EnvironBuilder:
    """Makes the environ of each request from what is the same for all of them."""

    def __init__(self, common: Environ) -> None:
        """Take the entries that every request gets."""
        self._common: Final = common
        # Names of fields repeat from request to request: a look-up costs a fifth of making the
        # key. Clients choose names, so there is an end to what is kept.
        self._keys: Final[dict[bytes, str]] = {}

    def build(self, scope: Mapping[str, Any]) -> Environ:
        """Return the environ of a request, without `wsgi.input`.

        Every str in it holds one octet a character, as PEP 3333 wants ("Unicode Issues"). A field
        that came several times is joined by "," (RFC 9110 5.3), Cookie by "; " (RFC 6265 4.2.1).
        A field with "_" in its name is left out: it would be taken for the one with "-".
        """
        environ = self._common.copy()
        script_name, path_info = _paths(scope)
        environ["REQUEST_METHOD"] = scope["method"]
        environ["SCRIPT_NAME"] = script_name
        environ["PATH_INFO"] = path_info
        environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
        environ["SERVER_PROTOCOL"] = "HTTP/" + scope["http_version"]
        environ["wsgi.url_scheme"] = scheme = scope.get("scheme", "http")
        environ["SERVER_NAME"], environ["SERVER_PORT"] = _server(scope, scheme)
        client = scope.get("client")
        if client is not None:
            environ["REMOTE_ADDR"] = client[0]
            if client[1] is not None:
                environ["REMOTE_PORT"] = str(client[1])
        environ["asgi.scope"] = scope
        keys = self._keys
        for name, raw_value in scope["headers"]:
            key = keys.get(name)
            if key is None:
                key = self._key(name)
            if not key:
                continue
            value = raw_value.decode("latin-1")
            if key in environ:
                value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
            environ[key] = value
        return environ

    def _key(self, name: bytes) -> str:
        """Return the key for a field's name; empty: it is left out."""
        key = "" if b"_" in name else name.decode("latin-1").upper().replace("-", "_")
        if key and key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        if len(self._keys) < _MAX_KEYS:
            self._keys[name] = key
        return key


def _paths(scope: Mapping[str, Any]) -> tuple[str, str]:
    """Return (SCRIPT_NAME, PATH_INFO): the path is root_path and what follows (ASGI www 2.5)."""
    path: str = scope["path"]
    if path.isascii():
        octets = path
    elif "\ufffd" in path and scope.get("raw_path") is not None:
        # What was no UTF-8 is U+FFFD in the path: only the raw one has the octets.
        octets = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    else:
        octets = path.encode().decode("latin-1")
    root = scope.get("root_path", "").rstrip("/")
    if not root:
        return "", octets
    root = root.encode().decode("latin-1")
    if octets == root or octets.startswith(root + "/"):
        octets = octets[len(root) :]
    return root, octets


def _server(scope: Mapping[str, Any], scheme: str) -> tuple[str, str]:
    """Return (SERVER_NAME, SERVER_PORT); PEP 3333: never empty, also behind a Unix socket."""
    server = scope.get("server")
    if server is None or server[1] is None:
        return "localhost", "443" if scheme == "https" else "80"
    return server[0], str(server[1])
