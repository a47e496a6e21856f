"""Redis that goes away, comes back empty, stands still, or holds what nobody understands."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
import redis
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Answer,
    Gateway,
    Launcher,
    RawClient,
    request,
    send_signal,
    wait_until,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway_layer.codec import pack
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.names import new_pid
from gateway_layer.redis.address import sync_client
from gateway_layer.wire import DATA, EVENTS, LinkHeader, envelope_head, write_entry

StartGateway = Callable[..., Gateway]
Client = redis.Redis


@pytest.fixture
def client(redis_server: EmbeddedServer) -> Iterator[Client]:
    redis_server.start()
    with sync_client(redis_server.url) as client:
        yield client


@pytest.fixture
def patient(start: StartGateway) -> Gateway:
    """A gateway that gives up a request without a worker soon."""
    return start("--lease", "1", interface=("--queue-deadline", "2"))


def wait_until_served(gateway: Gateway) -> None:
    wait_until(lambda: gateway.request("/hello").status == 200, "an answer")


def key(gateway: Gateway, rest: str) -> str:
    return f"{gateway.launcher.namespace}:{rest}"


def pids(client: Client, gateway: Gateway) -> dict[str, str]:
    """Return kind -> pid of the living processes."""
    found: dict[str, str] = {}
    living: Any = client.zrange(key(gateway, "{p}:alive"), 0, -1)
    for raw in living:
        pid = raw.decode()
        lease: Any = client.get(key(gateway, f"{{{pid}}}:up"))
        found["worker" if b"worker" in lease else "interface"] = pid
    return found


def forged(connection: str, op: int, *rest: object, link: LinkHeader | None = None) -> bytes:
    """An entry of a process that does not exist."""
    return write_entry(envelope_head(new_pid()), link, [pack((connection, op, 1, *rest))])


def test_without_redis_requests_are_503_until_it_is_back(
    patient: Gateway, redis_server: EmbeddedServer
) -> None:
    before = (patient.interface.child, patient.worker.child)
    redis_server.kill()
    wait_until(lambda: patient.request("/hello").status == 503, "the refusal")
    assert patient.request("/hello").headers["retry-after"] == "1"
    redis_server.start()
    wait_until_served(patient)
    assert (patient.interface.child, patient.worker.child) == before


def test_requests_before_redis_is_there_wait_and_are_503(
    launch: Launcher, redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    redis_server.kill()
    path = tmp_path / "interface.sock"
    deadline = ("--queue-deadline", "0.5")
    interface = launch.run("gateway-interface", "--bind", f"unix:{path}", *launch.layer, *deadline)

    def ask() -> Answer:
        with RawClient(socket.socket(socket.AF_UNIX)) as client:
            client.sock.settimeout(TIMEOUT_S)
            client.sock.connect(str(path))
            client.send(request("/hello", "connection: close"))
            return client.answer()

    def listening() -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(path)) == 0

    wait_until(listening, "the socket")
    answer = ask()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "ready" not in interface.stderr
    launch.worker(ready=False)
    redis_server.start()
    interface.wait_ready()
    wait_until(lambda: ask().status == 200, "an answer")


def test_request_before_redis_is_there_is_served_when_it_comes(
    launch: Launcher, redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    redis_server.kill()
    path = tmp_path / "interface.sock"
    interface = launch.run("gateway-interface", "--bind", f"unix:{path}", *launch.layer)
    launch.worker(ready=False)
    with RawClient(socket.socket(socket.AF_UNIX)) as client:
        client.sock.settimeout(TIMEOUT_S)
        wait_until(lambda: client.sock.connect_ex(str(path)) == 0, "the socket")
        client.send(request("/hello"))
        redis_server.start()
        assert client.answer().status == 200
    interface.wait_ready()


def test_request_under_way_when_redis_dies_gets_its_answer(
    gateway: Gateway, redis_server: EmbeddedServer
) -> None:
    with gateway.connect() as client:
        client.send(request("/slow?redis", method="POST"))
        gateway.launcher.wait_for_note("redis")
        redis_server.kill()
        gateway.launcher.open_gate("redis")
        redis_server.start()
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"done")
    wait_until_served(gateway)


async def test_websocket_stays_open_when_redis_dies_and_comes_back_empty(
    gateway: Gateway, redis_server: EmbeddedServer
) -> None:
    async with connect(f"{gateway.ws_url}/echo?redis-ws") as websocket:
        redis_server.kill()
        await websocket.send("meanwhile")
        redis_server.start()
        assert await websocket.recv() == "meanwhile"


async def test_websocket_is_closed_with_1013_when_redis_stays_away(
    start: StartGateway, redis_server: EmbeddedServer
) -> None:
    gateway = start("--lease", "1", interface=("--redis-grace", "1"))
    async with connect(f"{gateway.ws_url}/echo?redis-grace") as websocket:
        redis_server.kill()
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
        assert websocket.close_code == 1013
    redis_server.start()
    wait_until_served(gateway)
    note = gateway.launcher.wait_for_note("redis-grace")[0]
    assert note.startswith("websocket.disconnect")


def test_emptied_redis_is_noticed_and_service_goes_on(patient: Gateway, client: Client) -> None:
    client.flushall()
    wait_until_served(patient)
    wait_until(lambda: len(pids(client, patient)) == 2, "the registration of both")
    wait_until_served(patient)


def test_redis_that_stands_still_is_left_and_taken_up_again(
    patient: Gateway, redis_server: EmbeddedServer
) -> None:
    send_signal(redis_server.pid, SIGSTOP)
    try:
        assert patient.request("/hello").status in (503, 504)
        wait_until(lambda: patient.request("/hello").status == 503, "the refusal")
    finally:
        send_signal(redis_server.pid, SIGCONT)
    wait_until_served(patient)


GARBAGE = {
    "no msgpack": b"\xc1",
    "no envelope": pack("text"),
    "another version": pack((99, "sender", None, ())),
    "frames that are none": pack((1, "sender", None, "frames")),
    "a broken link header": pack((1, "sender", (1, 2), ())),
    "a word nobody knows": forged("", 77, None),
    "a frame of nothing": write_entry(envelope_head(new_pid()), None, [pack(())]),
    "a frame over a link": forged("nobody", 77, link=LinkHeader(1, 0, 0, 0, 0)),
}


@pytest.mark.parametrize("kind", ["interface", "worker"])
def test_garbage_in_an_inbox_is_logged_and_harms_nobody(
    gateway: Gateway, client: Client, kind: str
) -> None:
    wait_until_served(gateway)
    inbox = key(gateway, f"{{{pids(client, gateway)[kind]}}}:in")
    for entry in GARBAGE.values():
        client.rpush(inbox, entry, entry)
    wait_until_served(gateway)
    command = gateway.interface if kind == "interface" else gateway.worker
    command.wait_for("dropped from Redis, logged once for its sender: ")
    assert command.stderr.count("'sender'") <= 2
    assert "Traceback" not in command.stderr


@pytest.mark.parametrize("queue", ["http", "websocket"])
def test_garbage_in_a_queue_harms_nobody(gateway: Gateway, client: Client, queue: str) -> None:
    wait_until_served(gateway)
    for entry in GARBAGE.values():
        client.rpush(key(gateway, f"{{q:{queue}}}:v1"), entry)
    wait_until(lambda: client.llen(key(gateway, f"{{q:{queue}}}:v1")) == 0, "the pull")
    wait_until_served(gateway)
    gateway.worker.wait_for("dropped from Redis, logged once for its sender: ")
    assert "Traceback" not in gateway.worker.stderr


async def test_frames_of_a_stranger_do_not_reach_a_client(gateway: Gateway, client: Client) -> None:
    async with connect(f"{gateway.ws_url}/scope?stranger") as websocket:
        scope = str(await websocket.recv())
        process, _, rest = scope.partition("'reply_channel': '")[2].partition("!")
        connection = rest[:22]
        event = {"type": "websocket.send", "text": "forged"}
        link = LinkHeader(1, 0, 0, 0, 0)
        inbox = key(gateway, f"{{{process}}}:in")
        client.rpush(inbox, forged(connection, DATA, [event], None, None, link=link))
        client.rpush(inbox, forged(connection, DATA, [event], None, None))
        wait_until(lambda: client.llen(inbox) == 0, "the reading")
        await websocket.send("genuine")
        assert await websocket.recv() == "genuine"


async def test_frames_of_a_stranger_do_not_reach_an_application(
    gateway: Gateway, client: Client
) -> None:
    async with connect(f"{gateway.ws_url}/scope?stranger-too") as websocket:
        scope = str(await websocket.recv())
        connection = scope.partition("'reply_channel': '")[2].partition("!")[2][:22]
        event = {"type": "websocket.receive", "text": "forged"}
        inbox = key(gateway, f"{{{pids(client, gateway)['worker']}}}:in")
        link = LinkHeader(1, 0, 0, 0, 0)
        client.rpush(inbox, forged(connection, EVENTS, 0, 1, [event], link=link))
        wait_until(lambda: client.llen(inbox) == 0, "the reading")
        await websocket.send("genuine")
        assert await websocket.recv() == "genuine"
