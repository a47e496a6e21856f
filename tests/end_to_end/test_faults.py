"""Processes that are killed, stopped or blocked: every client sees a clear end, soon."""

import time
from collections.abc import Callable
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
from tests.end_to_end.processes import Gateway, request, runs, send_signal, wait_until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

StartGateway = Callable[..., Gateway]

SOON_S = 5.0
"""Far below the lease of 10 s: whoever hears within it heard the supervisor's word."""


def wait_until_served(gateway: Gateway) -> None:
    wait_until(lambda: gateway.request("/hello").status == 200, "an answer")


def test_killed_worker_is_502_soon_where_repeating_could_do_harm(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/never?502", method="POST"))
        gateway.launcher.wait_for_note("502")
        killed_at = time.monotonic()
        send_signal(gateway.worker.child, SIGKILL)
        assert client.answer().status == 502
        assert time.monotonic() - killed_at < SOON_S


def test_killed_worker_is_replaced_and_serves(gateway: Gateway) -> None:
    wait_until_served(gateway)
    before = gateway.worker.child
    send_signal(before, SIGKILL)
    gateway.worker.wait_for_new_child(before)
    wait_until_served(gateway)


def test_killed_worker_cuts_a_chunked_response(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/pieces?cut"))
        client.until(b"\r\n\r\n")
        assert client.chunk() == b"one"
        send_signal(gateway.worker.child, SIGKILL)
        assert client.rest() == b""


def test_killed_worker_resets_a_response_that_only_a_close_would_end(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/pieces?reset", version="1.0"))
        client.until(b"\r\n\r\n")
        assert client.exactly(3) == b"one"
        send_signal(gateway.worker.child, SIGKILL)
        with pytest.raises(ConnectionResetError):
            client.rest()


async def test_killed_worker_closes_websockets_with_1012(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/echo?1012") as client:
        await client.send("one")
        assert await client.recv() == "one"
        send_signal(gateway.worker.child, SIGKILL)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1012


async def test_killed_interface_server_is_a_disconnect_in_the_application(
    gateway: Gateway,
) -> None:
    with gateway.connect() as client:
        client.send(request("/leave?http-orphan"))
        gateway.launcher.wait_for_note("http-orphan")
        async with connect(f"{gateway.ws_url}/echo?ws-orphan") as websocket:
            before = gateway.interface.child
            send_signal(before, SIGKILL)
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
    assert "http.disconnect" in gateway.launcher.wait_for_note("http-orphan", 2)
    assert gateway.launcher.wait_for_note("ws-orphan")[0].startswith("websocket.disconnect 1006")
    gateway.interface.wait_for_new_child(before)
    wait_until_served(gateway)


def test_blocked_worker_is_not_taken_for_dead(start: StartGateway) -> None:
    gateway = start("--lease", "0.5")
    answer = gateway.request("/block?3")
    assert (answer.status, answer.body) == (200, b"awake")


async def test_stopped_worker_is_dead_after_its_lease_and_answers_nobody_afterwards(
    start: StartGateway,
) -> None:
    gateway = start("--lease", "0.5", interface=("--queue-deadline", "1"))
    with gateway.connect() as client:
        client.send(request("/slow?late", method="POST"))
        gateway.launcher.wait_for_note("late")
        async with connect(f"{gateway.ws_url}/echo?late-too") as websocket:
            worker = gateway.worker.child
            send_signal(worker, SIGSTOP)
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == 1012
        assert client.answer().status == 502
        gateway.launcher.open_gate("late")
        send_signal(worker, SIGCONT)
        assert client.rest() == b""
    # It ends, since nothing that runs in it may say a word any more, and is replaced.
    gateway.worker.wait_for_new_child(worker)
    wait_until_served(gateway)


async def test_interface_server_that_was_held_for_dead_goes_on(start: StartGateway) -> None:
    gateway = start("--lease", "0.5", worker=("--on-worker-exit", "resume"))
    interface = gateway.interface.child
    for number in range(2):
        async with connect(f"{gateway.ws_url}/echo?zombie-{number}") as websocket:
            send_signal(interface, SIGSTOP)
            note = gateway.launcher.wait_for_note(f"zombie-{number}")[0]
            assert note.startswith("websocket.disconnect 1006")
            send_signal(interface, SIGCONT)
            await websocket.send("again")
            assert await websocket.recv() == "again"
    wait_until_served(gateway)
    assert gateway.interface.child == interface


@pytest.mark.parametrize("which", ["interface", "worker"])
def test_children_end_with_a_parent_that_is_killed(start: StartGateway, which: str) -> None:
    gateway = start()
    command = gateway.interface if which == "interface" else gateway.worker
    child = command.child
    send_signal(command.process.pid, SIGKILL)
    command.process.wait()
    wait_until(lambda: not runs(child), "the end of the child")
