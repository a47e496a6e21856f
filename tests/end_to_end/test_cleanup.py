"""What processes leave in Redis: nothing that has no end."""

from collections.abc import Callable, Iterator
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
import redis
from tests.end_to_end.processes import Gateway, Launcher, request, send_signal, wait_until
from websockets.asyncio.client import connect

from gateway_layer.codec import pack
from gateway_layer.embedded import EmbeddedServer
from gateway_layer.names import new_pid
from gateway_layer.redis.address import sync_client
from gateway_layer.redis.keys import INBOX_BACKLOG_TTL_S, MEMBERS_TTL_S
from gateway_layer.wire import CLAIM, LinkHeader, envelope_head, write_entry

StartGateway = Callable[..., Gateway]
Ttls = Callable[[], dict[str, int]]


@pytest.fixture
def client(redis_server: EmbeddedServer) -> Iterator[redis.Redis]:
    redis_server.start()
    with sync_client(redis_server.url) as client:
        yield client


@pytest.fixture
def ttls(launch: Launcher, client: redis.Redis) -> Ttls:
    """Returns the seconds left to each key of this test's processes; -1: no end."""
    prefix = f"{launch.namespace}:"

    def ttls() -> dict[str, int]:
        keys = client.scan_iter(match=f"{prefix}*", count=1000)
        found = {key.decode().removeprefix(prefix): client.ttl(key) for key in keys}
        return {key: ttl for key, ttl in found.items() if ttl != -2}  # gone meanwhile

    return ttls


def assert_only_common_keys(ttls: dict[str, int]) -> None:
    """Only what all processes share is left, and that ends by itself."""
    assert all(key.startswith("{p}:") for key in ttls), ttls
    assert all(0 <= ttl <= MEMBERS_TTL_S for ttl in ttls.values()), ttls


def busy(gateway: Gateway) -> None:
    """Have some traffic of each kind."""
    for number in range(20):
        assert gateway.request(f"/hello?{number}").status == 200
    assert gateway.request("/big?300000").status == 200


async def test_processes_that_drained_leave_nothing_of_theirs(
    start: StartGateway, ttls: Ttls
) -> None:
    gateway = start()
    busy(gateway)
    async with connect(f"{gateway.ws_url}/echo?clean") as websocket:
        await websocket.send("one")
        await websocket.recv()
    assert (gateway.worker.end(), gateway.interface.end()) == (0, 0)
    assert_only_common_keys(ttls())


def test_interface_server_that_drains_first_leaves_nothing_either(
    start: StartGateway, ttls: Ttls
) -> None:
    gateway = start()
    busy(gateway)
    assert (gateway.interface.end(), gateway.worker.end()) == (0, 0)
    assert_only_common_keys(ttls())


def test_killed_process_is_cleaned_up_after_by_its_supervisor(
    start: StartGateway, ttls: Ttls
) -> None:
    gateway = start()
    busy(gateway)
    before = owners(ttls())
    for command in (gateway.worker, gateway.interface):
        child = command.child
        send_signal(child, SIGKILL)
        command.wait_for_new_child(child)
    wait_until(lambda: not owners(ttls()) & before, "the cleaning")


def test_what_killed_processes_left_is_cleaned_up_by_the_next(
    start: StartGateway, launch: Launcher, client: redis.Redis, ttls: Ttls
) -> None:
    gateway = start("--lease", "0.5")
    busy(gateway)
    gateway.worker.kill()
    # Until Redis has seen its end, it may pop into the dead worker's socket.
    wait_until(lambda: not any("worker" in one["name"] for one in client.client_list()))
    with gateway.connect() as waiting:
        waiting.send(request("/hello"))  # stays in the queue
        wait_until(lambda: "{q:http}:v1" in ttls(), "the queue")
        gateway.interface.kill()
    # The sweep comes once a minute; as if that were over.
    client.delete(f"{launch.namespace}:{{p}}:sweep")
    heir = launch.interface("--lease", "0.5")
    wait_until(lambda: all(ttl >= 0 for ttl in ttls().values()), "an end of every key")
    wait_until(lambda: len(owners(ttls())) == 1, "the cleaning")
    assert heir.end() == 0
    left = {key: ttl for key, ttl in ttls().items() if key != "{q:http}:v1"}
    assert_only_common_keys(left)


def test_inbox_of_a_process_that_never_was_does_not_stay(
    start: StartGateway, client: redis.Redis, ttls: Ttls
) -> None:
    gateway = start("--lease", "0.5")
    (interface, *_) = [
        owner
        for owner in owners(ttls())
        if b"interface" in (client.get(f"{gateway.launcher.namespace}:{{{owner}}}:up") or b"")
    ]
    stranger = new_pid()
    claim = pack(("nobody", CLAIM, 1, 1000))
    entry = write_entry(envelope_head(stranger), LinkHeader(1, 0, 0, 0, 0), [claim])
    client.rpush(f"{gateway.launcher.namespace}:{{{interface}}}:in", entry)
    wait_until(lambda: stranger in owners(ttls()), "the answer to the stranger")
    wait_until(lambda: stranger not in owners(ttls()), "the cleaning")


def test_backlog_of_a_stopped_process_has_an_end(start: StartGateway, ttls: Ttls) -> None:
    gateway = start()
    with gateway.connect() as client:
        client.send(request("/echo", "transfer-encoding: chunked", method="POST"))
        client.send(b"4\r\nbody\r\n")
        client.until(b"\r\n\r\n")
        assert client.chunk() == b"body"
        worker = gateway.worker.child
        send_signal(worker, SIGSTOP)
        try:

            def inbox_ends() -> bool:
                client.send(b"4\r\nmore\r\n")
                inboxes = [ttl for key, ttl in ttls().items() if key.endswith(":in")]
                return any(0 < ttl <= INBOX_BACKLOG_TTL_S for ttl in inboxes)

            wait_until(inbox_ends, "the expiry", timeout_s=5)
        finally:
            send_signal(worker, SIGCONT)
        client.send(b"0\r\n\r\n")
        while piece := client.chunk():
            assert piece == b"more"
        assert piece == b""


def owners(ttls: dict[str, int]) -> set[str]:
    """Return the pids that keys are named after."""
    return {key[1:23] for key in ttls if key[23:24] == "}"}
