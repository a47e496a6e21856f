"""Connections whose worker goes: what the client sees, and what the next instance is told."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from signal import SIGHUP, SIGKILL, SIGTERM

import pytest
from tests.end_to_end.processes import Gateway, request, send_signal, wait_until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

StartGateway = Callable[..., Gateway]

APP = "survival_apps:site"


@pytest.fixture
def gateway(start: StartGateway) -> Gateway:
    """One worker: its successor takes over."""
    return start(app=APP)


def is_served(gateway: Gateway) -> bool:
    """Whether a worker takes requests."""
    with gateway.connect() as client:
        client.sock.settimeout(0.3)
        client.send(request("/once?x=0"))
        try:
            return client.answer().status == 200
        except TimeoutError:
            return False


class Counter:
    """A client of `/count`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.resumed = 0
        self.pid = 0
        self.asked = 0

    async def ask(self, text: str = "hello") -> int:
        """Say something, and return the count of the answer, which has to be for it."""
        await self.socket.send(text)
        return await self.answer(text)

    async def answer(self, text: str) -> int:
        async with asyncio.timeout(30):
            said, count, resumed, pid = str(await self.socket.recv()).split()
        assert said == text
        self.resumed, self.pid = int(resumed), int(pid)
        return int(count)

    async def closed(self) -> int | None:
        """Wait for the end, and return its code."""
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(30):
                await self.socket.recv()
        return self.socket.close_code


@asynccontextmanager
async def counting(gateway: Gateway, name: str = "count") -> AsyncIterator[Counter]:
    async with connect(f"{gateway.ws_url}/count?{name}") as socket:
        yield Counter(socket)


# A worker that dies.


async def test_socket_outlives_a_killed_worker_with_its_state(gateway: Gateway) -> None:
    async with counting(gateway) as client:
        assert [await client.ask(), await client.ask()] == [1, 2]
        send_signal(client.pid, SIGKILL)
        assert await client.ask() == 3
        assert client.resumed == 1


async def test_event_under_way_is_handled_by_the_next_instance(gateway: Gateway) -> None:
    async with counting(gateway, "under-way") as client:
        assert await client.ask() == 1
        await client.socket.send("wait")
        gateway.launcher.wait_for_note("under-way", 2)
        await client.socket.send("behind")
        send_signal(client.pid, SIGKILL)
        gateway.launcher.open_gate("under-way")
        assert [await client.answer("wait"), await client.answer("behind")] == [2, 3]


async def test_client_that_leaves_while_no_worker_runs_is_told_to_the_next(
    start: StartGateway,
) -> None:
    gateway = start("--lease", "1", app=APP)
    async with counting(gateway, "left") as client:
        await client.ask()
        gateway.worker.kill()
    gateway.launcher.worker(app=APP)
    wait_until(lambda: gateway.launcher.notes("left")[-1] == "disconnected 1000", "the end")
    assert gateway.launcher.notes("left")[-2].startswith("connected 1 ")


async def test_connection_that_workers_die_of_is_closed_and_named(gateway: Gateway) -> None:
    async with counting(gateway, "poison") as poison, counting(gateway, "harmless") as other:
        await other.ask()
        await poison.socket.send("die")
        assert await poison.closed() == 1011
        assert len([one for one in gateway.launcher.notes("poison") if "connected" in one]) == 3
        gateway.interface.wait_for("workers die of this connection, closed: connection=")
        assert await other.ask() == 2


async def test_connection_that_workers_die_of_takes_no_other_with_it(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--processes", "2"))

    async def talk(client: Counter) -> None:
        for expected in range(1, 10_000):
            assert await client.ask() == expected
            if given_up.is_set():
                return

    given_up = asyncio.Event()
    async with AsyncExitStack() as stack, counting(gateway, "poison") as poison:
        others = [await stack.enter_async_context(counting(gateway)) for _ in range(30)]
        talks = [asyncio.create_task(talk(one)) for one in others]
        await poison.socket.send("die")
        assert await poison.closed() == 1011
        given_up.set()
        await asyncio.gather(*talks)


async def test_connection_is_given_up_when_no_worker_comes(start: StartGateway) -> None:
    gateway = start("--lease", "1", app=APP, interface=("--resume-timeout", "0.5"))
    async with counting(gateway) as client:
        await client.ask()
        gateway.worker.kill()
        assert await client.closed() == 1013


@pytest.mark.parametrize(("argument", "code"), [("close", 4004), ("deny", 1008)])
async def test_next_instance_may_refuse(gateway: Gateway, argument: str, code: int) -> None:
    async with connect(f"{gateway.ws_url}/second-thoughts?{argument}") as socket:
        await socket.send("die")
        assert await Counter(socket).closed() == code


async def test_next_instance_must_speak_the_same_subprotocol(gateway: Gateway) -> None:
    offered = [Subprotocol("first"), Subprotocol("second")]
    async with connect(f"{gateway.ws_url}/subprotocol", subprotocols=offered) as socket:
        await socket.recv()
        await socket.send("die")
        assert await Counter(socket).closed() == 1012


async def test_worker_that_dies_before_accepting_is_followed_by_another(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/undecided") as socket:
        assert await socket.recv() == "accepted 1"


async def test_application_that_prefetches_confirms_by_itself(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/prefetch") as socket:
        await socket.send("one")
        answers = [str(await socket.recv())]
        for text in ("die", "three", "end"):
            await socket.send(text)
        answers += [str(await socket.recv()) for _ in range(3)]
    assert answers == ["one 0", "die 1", "three 1", "end 1"]


async def test_state_that_is_too_large_raises_in_receive(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/too-much") as socket:
        assert await socket.recv() == "ApplicationError"
        await socket.send("hello")
        assert await socket.recv() == "kept 0"


@pytest.mark.parametrize(("policy", "kept"), [("resume", True), ("close", False), ("auto", False)])
async def test_worker_may_decide_for_the_application(
    start: StartGateway, policy: str, kept: bool
) -> None:
    gateway = start(worker=("--on-worker-exit", policy))
    async with connect(f"{gateway.ws_url}/echo?policy") as socket:
        await socket.send("one")
        assert await socket.recv() == "one"
        send_signal(gateway.worker.child, SIGKILL)
        if kept:
            await socket.send("two")
            assert await socket.recv() == "two"
        else:
            assert await Counter(socket).closed() == 1012


# A worker that drains.


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "limit"])
async def test_socket_outlives_a_worker_that_drains(start: StartGateway, how: str) -> None:
    limit = ("--limit-max-requests", "2") if how == "limit" else ()
    gateway = start(app=APP, worker=limit)
    second = gateway.launcher.worker(app=APP) if how == "SIGTERM" else gateway.worker
    async with counting(gateway, how) as client:
        assert await client.ask() == 1
        first = client.pid
        if how == "SIGTERM":
            started = gateway.worker if first in gateway.worker.children else second
            started.signal(SIGTERM)
            assert started.process.wait(30) == 0
        elif how == "SIGHUP":
            gateway.worker.signal(SIGHUP)
        else:
            assert gateway.request("/once?x=0").status == 200
        wait_until(lambda: len(gateway.launcher.notes(how)) >= 3, "the hand-over")
        assert [await client.ask(), await client.ask()] == [2, 3]
        assert (client.resumed, client.pid != first) == (1, True)
    notes = [line.rpartition(" ")[0] for line in gateway.launcher.wait_for_note(how, 4)]
    # The old instance has ended before the new one begins.
    assert notes == ["connected 0", "disconnected", "connected 1", "disconnected"]


async def test_draining_worker_lets_the_application_handle_what_it_has(
    start: StartGateway,
) -> None:
    gateway = start(app=APP)
    async with counting(gateway, "busy") as client:
        assert await client.ask() == 1
        await client.socket.send("wait")
        await client.socket.send("behind")
        gateway.launcher.wait_for_note("busy", 2)
        gateway.worker.signal(SIGTERM)
        wait_until(lambda: not is_served(gateway), "the drain")
        await client.socket.send("later")
        gateway.launcher.worker(app=APP)
        gateway.launcher.open_gate("busy")
        texts = ("wait", "behind", "later")
        assert [await client.answer(text) for text in texts] == [2, 3, 4]
        assert client.resumed == 1
    waits = [line for line in gateway.launcher.notes("busy") if line == "waiting"]
    assert len(waits) == 1  # nothing ran twice


async def test_sockets_stay_while_there_is_no_worker_at_all(gateway: Gateway) -> None:
    async with counting(gateway) as client:
        assert await client.ask() == 1
        assert gateway.worker.end() == 0
        await client.socket.send("meanwhile")
        with gateway.connect() as waiting:
            waiting.send(request("/once?x=0", "connection: close"))
            gateway.launcher.worker(app=APP)
            assert waiting.answer().status == 200
        assert await client.answer("meanwhile") == 2


async def test_drain_of_an_interface_server_is_spread_over_its_period(
    start: StartGateway,
) -> None:
    gateway = start(app=APP, interface=("--drain-period", "1"))
    sockets = [await connect(f"{gateway.ws_url}/count?spread") for _ in range(8)]
    ends: list[float] = []

    async def closed(socket: ClientConnection) -> int | None:
        code = await Counter(socket).closed()
        ends.append(time.monotonic())
        return code

    begin = time.monotonic()
    gateway.interface.signal(SIGTERM)
    codes = await asyncio.gather(*map(closed, sockets))
    assert set(codes) == {1012}
    assert ends[-1] - ends[0] >= 0.5
    assert ends[0] - begin < 0.5
    assert gateway.interface.process.wait(30) == 0


# Hibernation.


async def test_idle_socket_hibernates_and_wakes_with_its_state(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--hibernate-after", "0.3"))
    async with counting(gateway, "sleep") as client:
        assert await client.ask() == 1
        notes = gateway.launcher.wait_for_note("sleep", 2)
        assert notes[1] == "disconnected 1012"
        await asyncio.sleep(0.3)
        assert len(gateway.launcher.notes("sleep")) == 2  # nobody wakes it for nothing
        assert [await client.ask(), await client.ask()] == [2, 3]
        assert client.resumed == 1


async def test_client_that_leaves_in_hibernation_is_told(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--hibernate-after", "0.3"))
    async with counting(gateway, "asleep") as client:
        await client.ask()
        gateway.launcher.wait_for_note("asleep", 2)
    notes = gateway.launcher.wait_for_note("asleep", 4)
    assert notes[2].startswith("connected 1 ")
    assert notes[3] == "disconnected 1000"


async def test_busy_socket_does_not_hibernate(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--hibernate-after", "1"))
    async with counting(gateway) as client:
        for expected in range(1, 16):
            assert await client.ask() == expected
            await asyncio.sleep(0.1)
        assert client.resumed == 0


# Requests.


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_idempotent_request_is_repeated(gateway: Gateway, method: str) -> None:
    answer = gateway.request("/once", "content-length: 5", method=method, body=b"hello")
    assert (answer.status, answer.body) == (200, b"1 5")


def test_body_that_came_after_the_opening_is_repeated_too(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/once?late", "content-length: 30000", method="PUT"))
        for _ in range(3):
            time.sleep(0.05)
            client.send(b"x" * 10_000)
        assert client.answer().body == b"1 30000"


def test_request_is_repeated_twice_at_most(gateway: Gateway) -> None:
    assert gateway.request("/once?x=2").body == b"2 0"
    assert gateway.request("/once?y=3").status == 502
    gateway.interface.wait_for("workers die of this request: GET '/once'")


def put(gateway: Gateway, size: int, *fields: str, apart: bool) -> int:
    """Return the status of a PUT whose worker dies; its body comes with the head, or later."""
    head = request("/once", f"content-length: {size}", *fields, method="PUT")
    with gateway.connect() as client:
        if not apart:
            client.send(head + b"x" * size)
            return client.answer().status
        client.send(head)
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        for at in range(0, size, 4000):
            client.send(b"x" * min(4000, size - at))
        answer = client.answer()
        assert answer.status != 200 or answer.body == b"1 %d" % size
        return answer.status


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(("size", "status"), [(20_000, 200), (20_001, 502)])
def test_body_is_kept_up_to_its_limit(
    start: StartGateway, size: int, status: int, apart: bool
) -> None:
    gateway = start(app=APP, interface=("--retry-body", "20000"))
    fields = ("expect: 100-continue",) if apart else ()
    assert put(gateway, size, *fields, apart=apart) == status


def test_end_of_a_body_that_came_after_the_opening_is_repeated(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/once", "transfer-encoding: chunked", method="PUT"))
        client.send(b"5\r\nhello\r\n")
        time.sleep(0.05)
        client.send(b"0\r\n\r\n")
        assert client.answer().body == b"1 5"


def test_nothing_is_repeated_where_no_body_may_be(start: StartGateway) -> None:
    gateway = start(app=APP, interface=("--retry-body", "0"))
    assert gateway.request("/once").status == 502


def test_post_is_not_repeated(gateway: Gateway) -> None:
    began = time.monotonic()
    fields = ("content-length: 0", "idempotency-key: one")
    assert gateway.request("/once?post", *fields, method="POST").status == 502
    assert time.monotonic() - began < 5
    assert gateway.launcher.notes("post") == ["POST 0"]


@pytest.mark.parametrize(("field", "status"), [("idempotency-key: one", 200), ("x-key: one", 502)])
def test_idempotency_key_makes_a_post_repeatable_if_told_so(
    start: StartGateway, field: str, status: int
) -> None:
    gateway = start(app=APP, interface=("--retry-idempotency-key",))
    answer = gateway.request("/once", "content-length: 0", field, method="POST")
    assert answer.status == status


# Frameworks.


@pytest.mark.parametrize(
    "framework",
    ["starlette", "fastapi", "litestar", "channels", "consumer", "confirming_quart"],
)
async def test_framework_handles_again_what_its_worker_died_of(
    start: StartGateway, framework: str
) -> None:
    gateway = start(app=f"resuming_frameworks:{framework}", worker=("--on-worker-exit", "resume"))
    async with connect(f"{gateway.ws_url}/") as socket:
        await socket.send("hello")
        async with asyncio.timeout(30):
            assert await socket.recv() == "hello 1"


async def test_quart_loses_what_its_worker_died_of_unless_it_confirms(
    start: StartGateway,
) -> None:
    gateway = start(app="resuming_frameworks:quart", worker=("--on-worker-exit", "resume"))
    async with connect(f"{gateway.ws_url}/") as socket:
        first = gateway.worker.child
        await socket.send("one")
        gateway.worker.wait_for_new_child(first)
        await socket.send("two")
        async with asyncio.timeout(30):
            assert await socket.recv() == "two 1"
