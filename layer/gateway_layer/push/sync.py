"""`SyncPush`: send to connections and groups from any program that blocks.

For Django views, Celery tasks, Flask, scripts. The protocol is that of `gateway_layer.push.client`;
only the waiting is another.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway_layer.codec import Message
from gateway_layer.config import LayerConfig
from gateway_layer.errors import ConnectionGone, GatewayError, LayerUnavailable
from gateway_layer.fence import check_process
from gateway_layer.names import new_pid
from gateway_layer.push.events import close_event, send_event
from gateway_layer.push.owners import Owners
from gateway_layer.push.requests import (
    ConnectionInfo,
    Request,
    add_request,
    channels_of,
    discard_request,
    errors_of,
    group_list_request,
    group_results,
    group_send_request,
    info_of,
    info_request,
    outcome_of,
    push_request,
    push_requests,
    read_answers,
    script_calls,
    timed_out,
)
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import Keys
from gateway_layer.wire import envelope_head

_READ_COUNT: Final = 64


class SyncPush:
    """Pushes to connections and groups; a context manager, for any number of threads.

        with SyncPush("redis://127.0.0.1:6379/0") as push:
            push.send(reply_channel, text="hello")

    Make one for a process, at import if you like: nothing connects before the first call, and a
    process that was forked makes connections of its own. A call takes two round trips to Redis,
    waits for the owner's answer at most `timeout_s`, and blocks its thread alone.
    """

    def __init__(
        self,
        redis: str = "redis://127.0.0.1:6379/0",
        *,
        namespace: str = "gw",
        timeout_s: float = 5.0,
    ) -> None:
        """Prepare; nothing connects.

        Args:
            redis: URL as in `--redis`.
            namespace: As in `--namespace`.
            timeout_s: How long one call waits for answers, in seconds.

        Raises:
            ConfigError: The URL or the namespace cannot be used.
        """
        config = LayerConfig(redis=redis, namespace=namespace)
        self._keys: Final = Keys(config.namespace)
        self._timeout_s: Final = timeout_s
        # A second more than any command blocks: a Redis that stands still is told from an owner
        # that does.
        self._redis: Final = sync_client(config.redis, timeout_s=timeout_s + 1)
        # Never twice by itself: the first may have been carried out. A connection that died while
        # it was idle is noticed, and made anew, before anything is written to it.
        self._redis.set_retry(Retry(NoBackoff(), 0))
        self._owners: Final = Owners()
        self._failed = False  # the last call did not reach Redis

    def __enter__(self) -> "SyncPush":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections to Redis; another call makes new ones."""
        self._redis.close()

    # One connection.

    def send(
        self,
        reply_channel: str,
        *,
        text: str | None = None,
        bytes: bytes | None = None,
        json: Any = None,
        confirm: bool = False,
        idempotency_key: str | None = None,
    ) -> None:
        """Send one message to a client's WebSocket; see `Push.send`.

        Raises:
            ConnectionGone, ChannelFull, PushTimeout, LayerUnavailable, TypeError,
            MessageTooLarge: As `Push.send`.
        """
        event = send_event(text, bytes, json)
        self._ask(push_request(reply_channel, event, idempotency_key, confirm=confirm))

    def close(self, reply_channel: str, code: int = 1000, reason: str = "") -> None:
        """Close a client's WebSocket; see `Push.close`.

        Raises:
            ConnectionGone, ValueError, PushTimeout, ChannelFull, LayerUnavailable, TypeError: As
                `Push.close`.
        """
        self._ask(push_request(reply_channel, close_event(code, reason)))

    def send_many(self, pushes: Iterable[tuple[str, Message]]) -> list[GatewayError | None]:
        """Send many messages, some 1,000 at a time; see `Push.send_many`.

        Returns:
            For each push, in order, None or the error that `send` would have raised.

        Raises:
            TypeError, ValueError: One of them is none; then nothing was sent.
        """
        slices = list(push_requests(pushes))
        return errors_of(result for requests in slices for result in self._gather(requests))

    def info(self, reply_channel: str) -> ConnectionInfo:
        """Return what is known of a connection.

        Raises:
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable, TypeError: As for `send`.
        """
        return info_of(reply_channel, self._ask(info_request(reply_channel)))

    # Groups.

    def group_add(self, group: str, reply_channel: str) -> None:
        """Let a connection join a group; every group send after this returned reaches it.

        Raises:
            TypeError: Not a group name, or not a reply channel.
            ConnectionGone, PushTimeout, ChannelFull, LayerUnavailable: As for `send`.
        """
        self._ask(add_request(group, reply_channel))

    def group_discard(self, group: str, reply_channel: str) -> None:
        """Let a connection leave a group; leaving what it never joined is nothing.

        Raises:
            TypeError, PushTimeout, ChannelFull, LayerUnavailable: As for `group_add`.
        """
        try:
            self._ask(discard_request(group, reply_channel))
        except ConnectionGone:
            return

    def group_send(
        self,
        group: str,
        *,
        text: str | None = None,
        bytes: bytes | None = None,
        json: Any = None,
        exclude: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> int:
        """Send one message to every member of a group; see `Push.group_send`.

        Returns:
            How many connections it was written to.

        Raises:
            LayerUnavailable, TypeError, MessageTooLarge: As `Push.group_send`.
        """
        event = send_event(text, bytes, json)
        request = group_send_request(group, event, exclude, idempotency_key)
        return sum(count for _pid, count in self._ask_group(group, request))

    def connections(self, group: str) -> list[str]:
        """Return the reply channels of all members of a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return channels_of(self._ask_group(group, group_list_request(group)))

    def count(self, group: str) -> int:
        """Return how many connections are in a group.

        Raises:
            TypeError, LayerUnavailable: As for `group_send`.
        """
        return len(self.connections(group))

    # Requests.

    def _ask_group(self, group: str, request: Request) -> list[tuple[str, Any]]:
        """Ask every process that has members; those that are gone have none any more."""
        keys = self._keys
        with self._asking():
            pipeline: Any = self._redis.pipeline(transaction=False)
            pipeline.zrange(keys.group(group), 0, -1)
            pipeline.get(keys.incarnation)
            pipeline.zrange(keys.alive, 0, -1)
            registered, data_id, live = pipeline.execute()
        asked, besides = self._owners.take_in(registered, data_id, live, time.monotonic())
        answers = self._gather([request._replace(pid=pid) for pid in asked], request, besides)
        return group_results(zip(asked, answers, strict=True))

    def _ask(self, request: Request) -> Any:
        (result,) = self._gather([request])
        if isinstance(result, GatewayError):
            raise result
        return result

    def _gather(
        self, requests: list[Request], besides: Request | None = None, others: Sequence[str] = ()
    ) -> list[Any]:
        """Send requests, and wait for their answers; results and errors, in order.

        Args:
            requests: Whose answers are awaited.
            besides: What else is sent, and not answered.
            others: pids of those to whom it is.
        """
        # A list of its own: threads, and calls that gave up, never take each other's answers.
        reply_id = new_pid()
        by_owner: dict[str, list[tuple[int, bytes]]] = {}
        for number, request in enumerate(requests):
            packed = request.packed((reply_id, number))
            by_owner.setdefault(request.pid, []).append((number, packed))
        if besides is not None:
            for pid in others:
                by_owner.setdefault(pid, []).append((-1, besides.packed(None)))
        deadline = time.monotonic() + self._timeout_s
        with self._asking():
            results = self._push(by_owner, reply_id)
            self._collect(results, len(requests), reply_id, deadline)
        return [
            results.get(number, timed_out(request.pid, self._timeout_s))
            for number, request in enumerate(requests)
        ]

    def _push(
        self, by_owner: dict[str, list[tuple[int, bytes]]], reply_id: str
    ) -> dict[int, GatewayError]:
        """Write what is asked; return the errors of what did not get to its owner."""
        check_process()
        head = envelope_head(reply_id)
        pipeline: Any = self._redis.pipeline(transaction=False)
        seen = self._owners.seen
        if not seen:
            pipeline.get(self._keys.incarnation)
        carried: list[tuple[str, list[int]]] = []
        for pid, numbered in by_owner.items():
            numbers = [number for number, _packed in numbered]
            frames = [packed for _number, packed in numbered]
            for count, command in script_calls(self._keys, head, pid, frames):
                pipeline.execute_command(*command)
                carried.append((pid, numbers[:count]))
                numbers = numbers[count:]
        errors: dict[int, GatewayError] = {}
        replies = pipeline.execute(raise_on_error=False) if carried else []
        now = time.monotonic()
        if carried and not seen and isinstance(data_id := replies.pop(0), bytes):
            self._owners.see(data_id, now)
        for (pid, numbers), reply in zip(carried, replies, strict=True):
            if isinstance(reply, Exception):
                raise reply
            error = self._owners.error_of(reply, pid, now)
            if error is not None:
                errors |= dict.fromkeys(numbers, error)
        errors.pop(-1, None)
        return errors

    def _collect(self, results: dict[int, Any], count: int, reply_id: str, deadline: float) -> None:
        """Add answers to the results until all are there, or it is too late."""
        key = self._keys.replies(reply_id)
        execute: Any = self._redis.execute_command
        while len(results) < count and (left_s := deadline - time.monotonic()) > 0:
            # At least a millisecond: 0 would block for ever.
            block_s = max(round(left_s, 3), 0.001)
            found = execute("BLMPOP", block_s, 1, key, "LEFT", "COUNT", _READ_COUNT)
            for raw in found[1] if found else ():
                for number, status, payload in read_answers(raw):
                    if 0 <= number < count:
                        results.setdefault(number, outcome_of(status, payload))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raise redis-py's errors as ours, and note that Redis was away."""
        if self._failed:
            self._owners.redis_was_away(time.monotonic())
        try:
            yield
        except redis.ResponseError as error:
            raise LayerUnavailable(f"Redis refused: {error}") from error
        except (redis.RedisError, OSError) as error:
            self._failed = True
            raise LayerUnavailable(f"no answer of Redis: {error}") from error
        self._failed = False
