"""Carries out the requests of the push API through the channel layer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway_interface.config import InterfaceConfig
from gateway_interface.core.http1.head import RequestHead
from gateway_interface.push_api import routes
from gateway_interface.push_api.answers import ERROR_TYPES, Answer, ApiError, api_error, json_answer
from gateway_interface.push_api.auth import Authority
from gateway_interface.push_api.aws import Signature
from gateway_interface.push_api.messages import (
    Item,
    check_connection,
    check_group_name,
    excluded,
    idempotency_key,
    raw_event,
    read_items,
)
from gateway_interface.push_api.openapi import openapi_document
from gateway_layer.errors import GatewayError
from gateway_layer.push.client import Push
from gateway_layer.push.requests import ConnectionInfo

_log = logging.getLogger("gateway.push")

_RETRY_S: Final = 1.0
_ANSWER_TIMEOUT_S: Final = 15.0
"""Longest time for one request; a single push waits 5 s for the connection's owner."""

MAX_CONNECTIONS: Final = 1024
"""Sockets of one process; each has at most one request under way, so this bounds both."""

MAX_HELD_BYTES: Final = 256 * 2**20
"""Bodies that all sockets of one process hold together; more is answered 503."""


class Call(NamedTuple):
    """A request whose head was admitted."""

    head: RequestHead
    resource: str
    argument: str
    signature: Signature | None
    max_body_bytes: int


_Operation = Callable[[Call, bytes], Awaitable[Answer]]


class PushApi:
    """What all sockets of the push listener of one process share.

    Attributes:
        connections: Sockets that are open now.
        held_bytes: Bodies that are held now.
        operations: What is done for each method of each resource.
    """

    def __init__(self, config: InterfaceConfig) -> None:
        """Prepare; answers 503 until `run` has connected."""
        self.connections = 0
        self.held_bytes = 0
        self._config: Final = config
        self._push: Push | None = None
        unix_socket = (config.push_bind or "").startswith("unix:")
        self._authority: Final = Authority(
            dict(config.push_keys), config.push_tokens, unix_socket=unix_socket
        )
        self.operations: Final[dict[str, dict[str, _Operation]]] = {
            routes.AWS: {
                "POST": self._send_raw,
                "GET": self._show_as_aws,
                "DELETE": self._close,
            },
            routes.CONNECTION: {"GET": self._show},
            routes.GROUP: {"POST": self._group_send},
            routes.MEMBERS: {"GET": self._members},
            routes.PUSH: {"POST": self._send_many},
            routes.OPENAPI: {"GET": self._describe},
        }

    async def run(self) -> None:
        """Hold the connections to Redis until cancelled."""
        layer = self._config.layer
        while True:
            push = Push(layer.redis, namespace=layer.namespace)
            try:
                async with push:
                    self._push = push
                    await asyncio.Event().wait()
            except GatewayError as error:
                _log.warning("the push API has no connection to Redis: %s", error)
            finally:
                self._push = None
            await asyncio.sleep(_RETRY_S)

    # Admission.

    def admit(self, head: RequestHead) -> Call:
        """Judge a request by its head; a HEAD is a GET whose body is not sent.

        Raises:
            ApiError: It is not carried out; the body need not be read.
        """
        signature = self._authority.admit(head, time.time())
        found = routes.find_resource(head.raw_path)
        if found is None:
            raise ApiError(404, f"nothing is here; see {routes.OPENAPI}")
        resource, argument = found
        operations = self.operations[resource]
        if head.method not in operations and not (head.method == "HEAD" and "GET" in operations):
            allowed = ", ".join([*operations, *(["HEAD"] if "GET" in operations else [])])
            raise ApiError(405, f"served here: {allowed}", ((b"allow", allowed.encode()),))
        max_body_bytes = routes.MAX_BODY_BYTES.get(resource, routes.AWS_BODY_BYTES)
        call = Call(head, resource, argument, signature, max_body_bytes)
        check_size(call, head.content_length)
        return call

    async def answer(self, call: Call, body: bytes) -> Answer:
        """Carry a request out.

        Returns:
            The answer, within 15 s. Cancelling it does not take back what was sent.

        Raises:
            ApiError: It was not carried out, or nobody knows whether (504).
        """
        self._authority.check_body(call.signature, call.head, body)
        method = "GET" if call.head.method == "HEAD" else call.head.method
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                return await self.operations[call.resource][method](call, body)
        except GatewayError as error:
            raise api_error(error) from error
        except TimeoutError:
            raise ApiError(504, "Redis did not answer in time") from None

    def hold(self, call: Call, size: int, more: int) -> None:
        """Count a piece of a body that is now `size` bytes.

        Raises:
            ApiError: 413 where this body is too large, 503 where all together are.
        """
        self.held_bytes += more
        check_size(call, size)
        if self.held_bytes > MAX_HELD_BYTES:
            raise ApiError(503, "too much is being pushed at once")

    def _client(self) -> Push:
        if self._push is None:
            raise ApiError(503, "no connection to Redis")
        return self._push

    # One connection.

    async def _send_raw(self, call: Call, body: bytes) -> Answer:
        channel = check_connection(call.argument)
        event = raw_event(call.head, body)
        key = idempotency_key(call.head, channel)
        await self._client().send(
            channel, text=event.get("text"), bytes=event.get("bytes"), idempotency_key=key
        )
        return Answer(200)

    async def _show_as_aws(self, call: Call, _body: bytes) -> Answer:
        info = await self._client().info(check_connection(call.argument))
        source_ip = "" if info.client is None or info.client[1] is None else info.client[0]
        return json_answer(
            {
                "connectedAt": iso_8601(info.connected_at_ms),
                "identity": {"sourceIp": source_ip, "userAgent": info.user_agent},
                "lastActiveAt": iso_8601(info.last_active_ms),
            }
        )

    async def _close(self, call: Call, _body: bytes) -> Answer:
        await self._client().close(check_connection(call.argument))
        return Answer(204)

    async def _show(self, call: Call, _body: bytes) -> Answer:
        info = await self._client().info(check_connection(call.argument))
        return json_answer(as_json(info))

    # Groups.

    async def _group_send(self, call: Call, body: bytes) -> Answer:
        group = check_group_name(call.argument)
        event = raw_event(call.head, body)
        sent = await self._client().group_send(
            group,
            text=event.get("text"),
            bytes=event.get("bytes"),
            exclude=excluded(call.head),
            idempotency_key=idempotency_key(call.head, f"group {group}"),
        )
        return json_answer({"sent": sent})

    async def _members(self, call: Call, _body: bytes) -> Answer:
        connections = await self._client().connections(check_group_name(call.argument))
        return json_answer({"connections": connections, "count": len(connections)})

    # Many.

    async def _send_many(self, call: Call, body: bytes) -> Answer:
        """Send to all connections at once, and to the groups meanwhile; results in order."""
        items = read_items(call.head, body)
        key = idempotency_key(call.head, routes.PUSH)
        results: list[dict[str, Any]] = [{"status": 200} for _item in items]
        client = self._client()
        direct = [(index, item) for index, item in enumerate(items) if item.connection is not None]
        to_groups = [(index, item) for index, item in enumerate(items) if item.group is not None]
        sending = self._send_direct(client, direct, key)
        group_sends = (
            self._send_to_group(client, item, key and f"{key}:{index}") for index, item in to_groups
        )
        errors, *sent = await asyncio.gather(sending, *group_sends)
        for (index, _item), error in zip(direct, errors, strict=True):
            if error is not None:
                results[index] = result_of_error(error)
        for (index, _item), result in zip(to_groups, sent, strict=True):
            results[index] = result
        return json_answer({"results": results})

    async def _send_direct(
        self, client: Push, items: list[tuple[int, Item]], key: str | None
    ) -> list[GatewayError | None]:
        if key is None:
            return await client.send_many([(str(item.connection), item.event) for _, item in items])
        # A task each: tasks begin in the order in which they are made, and so do the pushes.
        keyed = (self._send_keyed(client, item, f"{key}:{index}") for index, item in items)
        return list(await asyncio.gather(*keyed))

    async def _send_keyed(self, client: Push, item: Item, key: str) -> GatewayError | None:
        text, data = item.event.get("text"), item.event.get("bytes")
        try:
            await client.send(str(item.connection), text=text, bytes=data, idempotency_key=key)
        except GatewayError as error:
            return error
        return None

    async def _send_to_group(self, client: Push, item: Item, key: str | None) -> dict[str, Any]:
        try:
            sent = await client.group_send(
                str(item.group),
                text=item.event.get("text"),
                bytes=item.event.get("bytes"),
                idempotency_key=key,
            )
        except GatewayError as error:
            return result_of_error(error)
        return {"status": 200, "sent": sent}

    async def _describe(self, _call: Call, _body: bytes) -> Answer:
        document = openapi_document(
            signed=bool(self._config.push_keys), bearer=bool(self._config.push_tokens)
        )
        return Answer(200, ((b"content-type", b"application/json"),), document)


def check_size(call: Call, size: int) -> None:
    """Refuse a body that is, or will be, too large.

    Raises:
        ApiError: 413.
    """
    if size > call.max_body_bytes:
        raise ApiError(413, f"a body may have {call.max_body_bytes} bytes here")


def iso_8601(unix_ms: int) -> str:
    """Return a time as `2026-11-21T09:12:03.123Z`."""
    at = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(info: ConnectionInfo) -> dict[str, Any]:
    """Return what `GET /v1/connections/{id}` shows."""
    client = None
    if info.client is not None:
        client = {"host": info.client[0], "port": info.client[1]}
    return {
        "reply_channel": info.reply_channel,
        "connected_at": iso_8601(info.connected_at_ms),
        "last_active_at": iso_8601(info.last_active_ms),
        "client": client,
        "user_agent": info.user_agent,
        "path": info.path,
        "groups": list(info.groups),
        "worker": info.worker,
        "epoch": info.epoch,
    }


def result_of_error(error: GatewayError) -> dict[str, Any]:
    """Return the result of one of many pushes that failed."""
    failed = api_error(error)
    return {"status": failed.status, "error": ERROR_TYPES[failed.status], "message": failed.message}
