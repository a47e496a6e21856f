"""Admission, time-outs and sizes: what is answered when something is too much or too slow."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from tests.end_to_end.apps import BURST_BYTES
from tests.end_to_end.processes import Command, Gateway, RawClient, request, wait_until
from tests.end_to_end.raw_websocket import (
    FIN_TEXT,
    HANDSHAKE,
    PING,
    PONG,
    frame,
    open_raw,
    read_frame,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.redis.address import sync_client


@pytest.fixture(scope="module")
def strict(gateway: Gateway) -> Gateway:
    """An interface server with short time-outs and small limits, before the same worker."""
    interface = gateway.launcher.interface(
        *("--header-timeout", "0.5", "--body-timeout", "0.5", "--keep-alive-timeout", "0.5"),
        *("--send-timeout", "3", "--response-timeout", "1"),
        *("--max-head", "2000", "--max-headers", "10"),
        *("--ws-max-size", "1000", "--ws-ping-interval", "0.3", "--ws-ping-timeout", "0.3"),
        "--no-ws-deflate",
    )
    return Gateway(gateway.launcher, interface, gateway.worker)


@pytest.fixture(scope="module")
def unserved(gateway: Gateway) -> Command:
    """An interface server whose pool has no worker, for one opening of each kind."""
    return gateway.launcher.interface(
        *("--route", "/=nobody", "--queue-capacity", "1", "--queue-deadline", "1")
    )


Queued = Callable[[str], int]


@pytest.fixture
def queued(redis_server: EmbeddedServer) -> Iterator[Queued]:
    """Counts the openings in a queue."""
    with sync_client(redis_server.url) as client:

        def count(queue: str) -> int:
            length: int = client.llen(f"gw:{{q:{queue}}}:v1")
            return length

        yield count


def dial(command: Command) -> RawClient:
    return RawClient(socket.create_connection(command.address, timeout=30))


def test_request_head_that_takes_too_long_is_408(strict: Gateway) -> None:
    with strict.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nhost:")
        assert client.answer().status == 408
        assert client.rest() == b""


def test_body_that_takes_too_long_is_408(strict: Gateway) -> None:
    with strict.connect() as client:
        client.send(request("/hash", "content-length: 10", method="POST") + b"half")
        assert client.answer().status == 408
        assert client.rest() == b""


def test_idle_connection_is_closed_without_a_word(strict: Gateway) -> None:
    with strict.connect() as client:
        client.send(request("/hello?idle"))
        assert client.answer().body == b"hello idle"
        assert client.rest() == b""


@pytest.mark.parametrize("field", ["x: " + "y" * 3000, "\r\n".join(["x: y"] * 20)])
def test_head_over_a_lower_limit_is_431(strict: Gateway, field: str) -> None:
    assert strict.request("/hello", field).status == 431


def test_application_that_never_answers_is_504(strict: Gateway) -> None:
    assert strict.request("/never?504").status == 504


async def test_application_that_never_accepts_is_504(strict: Gateway) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{strict.ws_url}/slow?never-opened"):
            pass
    assert caught.value.response.status_code == 504


def test_denial_that_streams_for_longer_than_the_response_timeout_is_whole(
    strict: Gateway,
) -> None:
    client, head = open_raw(strict, "/deny-slowly?denial")
    with client:
        assert "401" in head
        assert client.chunk() == b"no"
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 2)  # the time-out is 1 s
        strict.launcher.open_gate("denial")
        assert client.chunk() == b"entry"
        assert client.chunk() == b""


def test_denial_that_had_to_wait_for_its_client_may_pause_afterwards(strict: Gateway) -> None:
    client, _head = open_raw(strict, "/deny-at-length?at-length")
    with client:
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 0.5)  # what is unread fills the way
        taken = 0
        while taken < 16_000_000:
            taken += len(client.chunk() or b"")
        read = time.monotonic()
        wait_until(lambda: time.monotonic() - read > 4)  # longer than the client might have waited
        strict.launcher.open_gate("at-length")
        assert client.chunk() == b"entry"


async def test_message_over_the_limit_closes_with_1009(strict: Gateway) -> None:
    async with connect(f"{strict.ws_url}/echo?1009") as client:
        await client.send("x" * 1000)
        assert await client.recv() == "x" * 1000
        await client.send("x" * 1001)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1009
    assert strict.launcher.wait_for_note("1009")[0].startswith("websocket.disconnect 1009")


def test_silent_client_is_pinged(strict: Gateway) -> None:
    client, _ = open_raw(strict, "/echo?pinged")
    with client:
        assert read_frame(client)[0] == PING


def test_client_that_answers_no_ping_is_gone(strict: Gateway) -> None:
    client, _ = open_raw(strict, "/echo?dead")
    with client:
        assert strict.launcher.wait_for_note("dead") == ["websocket.disconnect 1006 "]


def test_client_that_takes_what_is_sent_has_its_time_to_answer_a_ping(gateway: Gateway) -> None:
    timeout_s = 2.0
    options = ("--ws-ping-interval", "0.3", "--ws-ping-timeout", f"{timeout_s}")
    interface = gateway.launcher.interface(*options)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.settimeout(30)
        sock.connect(interface.address)
        client = RawClient(sock)
        client.send(request("/bursts?bursts", *HANDSHAKE))
        client.until(b"\r\n\r\n")
        assert read_frame(client)[0] == PING
        pinged = time.monotonic()
        gateway.launcher.open_gate("bursts")
        # Each burst fills the buffers, and each pause empties them. The ping is not answered, so
        # the client may be cut, but not before.
        taken = 0
        while time.monotonic() < pinged + timeout_s:
            taken += len(read_frame(client)[1])
            time.sleep(0.0005)  # slower than the application
    assert taken > 2 * BURST_BYTES
    assert interface.end() == 0


def test_client_that_answers_pings_stays(strict: Gateway) -> None:
    client, _ = open_raw(strict, "/echo?stays")
    with client:
        for _ in range(3):
            opcode, payload = read_frame(client)
            assert opcode == PING
            client.send(frame(PONG, payload))
        client.send(frame(FIN_TEXT, b"still here"))
        while (got := read_frame(client))[0] == PING:
            pass
        assert got == (FIN_TEXT, b"still here")


def test_deflate_is_not_negotiated_when_it_is_off(strict: Gateway) -> None:
    client, head = open_raw(strict, "/echo", "sec-websocket-extensions: permessage-deflate")
    client.sock.close()
    assert "101" in head
    assert "extensions" not in head


def test_full_queue_is_503_with_retry_after(unserved: Command, queued: Queued) -> None:
    with dial(unserved) as first, dial(unserved) as second:
        first.send(request("/"))
        wait_until(lambda: queued("nobody.http") == 1)
        second.send(request("/"))
        answer = second.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert first.answer().status == 504


def test_websocket_for_a_full_queue_is_503(unserved: Command, queued: Queued) -> None:
    with dial(unserved) as first, dial(unserved) as second:
        first.send(request("/", *HANDSHAKE))
        wait_until(lambda: queued("nobody.websocket") == 1)
        second.send(request("/", *HANDSHAKE))
        answer = second.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert first.answer().status == 504


def test_request_that_no_worker_takes_leaves_the_queue(unserved: Command, queued: Queued) -> None:
    with dial(unserved) as client:
        client.send(request("/"))
        assert client.answer().status == 504
    wait_until(lambda: queued("nobody.http") == 0)


def test_client_that_leaves_takes_its_request_from_the_queue(
    unserved: Command, queued: Queued
) -> None:
    with dial(unserved) as client:
        client.send(request("/"))
        wait_until(lambda: queued("nobody.http") == 1)
    wait_until(lambda: queued("nobody.http") == 0)
