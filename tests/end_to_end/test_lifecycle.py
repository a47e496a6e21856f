"""Drains: what is under way finishes, nothing is lost, the exit status is 0."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from signal import SIGTERM

import httpx
import pytest
from tests.end_to_end.processes import Gateway, Launcher, request, wait_until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

StartGateway = Callable[..., Gateway]


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def probe(address: str, path: str) -> int:
    """Return the status of a probe; 0 while nobody listens."""
    try:
        return httpx.get(f"http://{address}{path}").status_code
    except httpx.TransportError:
        return 0


async def test_worker_that_drains_finishes_its_request_and_leaves_the_rest_to_others(
    start: StartGateway,
) -> None:
    gateway = start()
    before = gateway.worker.child
    with gateway.connect() as first, gateway.connect() as last, ExitStack() as stack:
        first.send(request("/slow?drain"))
        gateway.launcher.wait_for_note("drain")
        async with connect(f"{gateway.ws_url}/echo?drained") as websocket:
            gateway.worker.signal(SIGTERM)
            # Before, while and after the worker hears of it: some it serves, some it refuses.
            between = [stack.enter_context(gateway.connect()) for _ in range(20)]
            for client in between:
                client.send(request("/pid", method="POST"))
            await websocket.wait_closed()
        last.send(request("/pid", method="POST"))
        other = gateway.launcher.worker().child
        assert int(last.answer().body) == other
        assert {int(client.answer().body) for client in between} <= {before, other}
        gateway.launcher.open_gate("drain")
        assert first.answer().body == b"done"
    assert gateway.worker.process.wait(30) == 0


async def test_worker_that_drains_closes_its_websockets_with_1012(start: StartGateway) -> None:
    gateway = start()
    async with connect(f"{gateway.ws_url}/echo?worker-drain") as client:
        gateway.worker.signal(SIGTERM)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1012
    assert gateway.worker.process.wait(30) == 0
    (note,) = gateway.launcher.notes("worker-drain")
    assert note.startswith("websocket.disconnect 1012")


def test_no_request_fails_while_workers_are_replaced(start: StartGateway) -> None:
    gateway = start(worker=("--processes", "2", "--limit-max-requests", "20"))
    seen = set()
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        for _ in range(100):
            response = client.post("/pid")
            assert response.status_code == 200
            seen.add(response.text)
    assert len(seen) > 2


async def test_interface_server_that_drains_finishes_what_is_under_way(
    start: StartGateway,
) -> None:
    admin = free_address()
    gateway = start(interface=("--admin-bind", admin))
    assert (probe(admin, "/healthz"), probe(admin, "/readyz")) == (200, 200)
    with gateway.connect() as client:
        client.send(request("/slow?interface-drain"))
        gateway.launcher.wait_for_note("interface-drain")
        async with connect(f"{gateway.ws_url}/echo?interface-closed") as websocket:
            gateway.interface.signal(SIGTERM)
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == 1012
        assert (probe(admin, "/healthz"), probe(admin, "/readyz")) == (200, 503)
        with pytest.raises(ConnectionRefusedError):
            gateway.connect()
        gateway.launcher.open_gate("interface-drain")
        answer = client.answer()
        assert (answer.body, client.rest()) == (b"done", b"")
    assert gateway.interface.process.wait(30) == 0


def test_idle_connections_do_not_hold_up_a_drain(start: StartGateway) -> None:
    gateway = start()
    with gateway.connect() as idle, gateway.connect() as unused:
        idle.send(request("/hello?idle"))
        assert idle.answer().body == b"hello idle"
        assert gateway.interface.end() == 0
        assert (idle.rest(), unused.rest()) == (b"", b"")


def test_drain_that_takes_too_long_is_ended(start: StartGateway) -> None:
    gateway = start("--graceful-timeout", "0.5")
    with gateway.connect() as client:
        client.send(request("/never?too-long", method="POST"))
        gateway.launcher.wait_for_note("too-long")
        assert gateway.worker.end() == 0
        assert client.answer().status == 503
    assert "graceful time-out: ending 1 connections" in gateway.worker.stderr


def test_interface_server_is_ready_as_long_as_redis_is_there(launch: Launcher) -> None:
    admin = free_address()
    launch.interface("--admin-bind", admin)
    wait_until(lambda: probe(admin, "/readyz") == 200, "readiness")
