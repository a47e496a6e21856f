"""Clients, applications and Redis content that mean ill: they harm themselves alone."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.processes import Gateway, Launcher, RawClient, request, wait_until
from tests.end_to_end.raw_websocket import FIN_TEXT, PING, frame, open_raw, read_frame

from gateway_layer.codec import pack, unpack
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.redis.address import sync_client
from gateway_layer.wire import DEAD, OPEN

_FLOOD_BYTES = 64 * 2**20
"""Many times what the sockets' buffers hold."""


@pytest.fixture(scope="module")
def gateway(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """An interface server and a worker with `hostile_apps:site`."""
    launcher = Launcher(tmp_path_factory.mktemp("gateway"), redis_server.url)
    try:
        worker = launcher.worker(app="hostile_apps:site", ready=False)
        yield Gateway(launcher, launcher.interface("--no-access-log"), worker)
    finally:
        launcher.close()


def is_stopped(client: RawClient, data: bytes) -> bool:
    """Whether the server stops reading a client that floods it with this and reads nothing."""
    client.sock.settimeout(1.0)
    sent = 0
    try:
        while sent < _FLOOD_BYTES:
            sent += client.sock.send(data)
    except TimeoutError:
        return True
    finally:
        client.sock.settimeout(30)
    return False


def test_client_that_takes_no_pongs_is_not_read_any_more(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?pongs")
    with client:
        assert is_stopped(client, frame(PING, b"x" * 125) * 2000)


def test_client_that_takes_pongs_again_is_read_again(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?pongs-again")
    with client:
        pings = frame(PING, b"") * 300_000
        client.sock.setblocking(False)
        sent = client.sock.send(pings)
        client.sock.settimeout(30)
        missing = -sent % len(frame(PING, b""))
        assert len(client.exactly(sent // 6 * 2)) == sent // 6 * 2
        client.send(pings[len(pings) - missing :] + frame(FIN_TEXT, b"last"))
        if missing:
            read_frame(client)
        assert read_frame(client) == (FIN_TEXT, b"last")


def test_client_that_takes_no_answers_is_not_read_any_more(gateway: Gateway) -> None:
    with gateway.connect() as client:
        one = request("/big?200000")
        assert is_stopped(client, one * 1000)
        for _ in range(50):
            assert len(client.answer().body) == 200_000


def test_pipeline_longer_than_the_read_ahead_is_answered_in_order(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(b"".join(request(f"/hello?{number}") for number in range(5000)))
        for number in range(5000):
            assert client.answer().body == b"hello %d" % number


def test_flood_of_tiny_messages_arrives_whole_and_in_order(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?tiny")
    with client:
        texts = [b"%d" % number for number in range(50_000)]
        client.send(b"".join(frame(FIN_TEXT, text) for text in texts))
        expected = b"".join(bytes((FIN_TEXT, len(text))) + text for text in texts)
        assert client.exactly(len(expected)) == expected


def test_task_left_behind_by_a_request_hears_of_the_end(gateway: Gateway) -> None:
    assert gateway.request("/return-early?http").status == 500
    assert gateway.launcher.wait_for_note("http") == ["http.disconnect"]


@pytest.mark.parametrize("path", ["return-early", "deny-early"])
def test_task_left_behind_by_a_websocket_hears_of_the_end(gateway: Gateway, path: str) -> None:
    client, _ = open_raw(gateway, f"/{path}?{path}")
    with client:
        assert gateway.launcher.wait_for_note(path) == ["websocket.disconnect"]


def test_task_left_behind_that_sends_is_told_that_nobody_is_there(gateway: Gateway) -> None:
    assert not gateway.request("/send-on?send-on").whole
    assert gateway.launcher.wait_for_note("send-on") == ["ClientDisconnected"]


def test_response_head_over_the_limit_is_an_error_in_the_application(gateway: Gateway) -> None:
    victim, _ = open_raw(gateway, "/echo?beside-head")
    with victim:
        assert b"1 MiB may be sent" in gateway.request("/huge-head").body
        victim.send(frame(FIN_TEXT, b"alive"))
        assert read_frame(victim) == (FIN_TEXT, b"alive")


def test_message_over_the_limit_is_an_error_in_the_application(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, f"/huge-message?{17 * 2**20}")
    with client:
        assert read_frame(client) == (FIN_TEXT, b"MessageTooLarge")


def test_pushed_word_of_a_death_is_dropped(gateway: Gateway, redis_server: EmbeddedServer) -> None:
    victim, _ = open_raw(gateway, "/echo?pushed")
    with victim, sync_client(redis_server.url) as redis:
        kinds = {unpack(redis.get(key))[0]: key[4:26] for key in redis.keys("gw:{*}:up")}
        frames = [("", DEAD, 0, kinds["worker"].decode())]
        redis.rpush(b"gw:{%b}:push" % kinds["interface"], pack((1, "evil", None, frames)))
        wait_until(lambda: "a push of 'evil'" in gateway.interface.stderr, "the warning")
        victim.send(frame(FIN_TEXT, b"alive"))
        assert read_frame(victim) == (FIN_TEXT, b"alive")


def test_opening_in_the_queue_of_another_kind_takes_no_room(
    start: StartGateway, redis_server: EmbeddedServer
) -> None:
    gateway = start(worker=("--concurrency", "1"))
    queue = f"{gateway.launcher.namespace}:{{q:http}}:v1"
    with sync_client(redis_server.url) as redis:
        incarnation = redis.info("server")["run_id"]
        scope: dict[str, Any] = {"type": "websocket", "path": "/echo", "headers": []}
        opening = ("c", OPEN, 1, "websocket", scope, 0, None, b"", False, 2**62, incarnation, 9999)
        redis.rpush(queue, *[pack((1, "evil", None, [opening]))] * 3)
        wait_until(lambda: not redis.llen(queue), "the end of the queue")
    assert gateway.request("/hello?room").status == 200
