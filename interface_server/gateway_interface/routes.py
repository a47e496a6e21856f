"""Which pool of workers a path goes to."""

from collections.abc import Sequence

from gateway_layer.names import DEFAULT_POOL, queue_name


class Routes:
    """The longest prefix wins, and ends at a segment: `/api` matches `/api/x`, not `/apix`."""

    def __init__(self, routes: Sequence[tuple[str, str]]) -> None:
        """Prepare the queues of each pool.

        Args:
            routes: (path prefix, pool); paths under no prefix go to the default pool.

        Raises:
            ConfigError: A pool's name cannot be part of a queue's.
        """
        by_length = sorted(routes, key=lambda route: -len(route[0]))
        self._routes = [(prefix.rstrip("/"), _queues(pool)) for prefix, pool in by_length]
        self._default = _queues(DEFAULT_POOL)

    def queue(self, path: str, kind: str) -> str:
        """Return the queue for an opening of this kind (`http` or `websocket`)."""
        for prefix, queues in self._routes:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return queues[kind]
        return self._default[kind]


def _queues(pool: str) -> dict[str, str]:
    return {kind: queue_name(pool, kind) for kind in ("http", "websocket")}
