"""Event streams that outlive their worker: the client sees one response without gap or double."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from signal import SIGKILL, SIGTERM

import pytest
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Gateway,
    Launcher,
    RawClient,
    request,
    send_signal,
    wait_until,
)

from gateway_layer.embedded import EmbeddedServer

StartGateway = Callable[..., Gateway]

APP = "sse_apps:site"
LAST = 9
FLOOD = 8_000
"""The last events of its streams, as there."""

IDS = re.compile(rb"^id: (\d+)\ndata: (.*)\n\n", re.MULTILINE)


class Stream:
    """A client of an event stream."""

    def __init__(self, client: RawClient, path: str, *fields: str, method: str = "GET") -> None:
        self.client = client
        self.body = bytearray()
        client.send(request(path, *fields, method=method))
        self.head = client.until(b"\r\n\r\n")

    @property
    def ids(self) -> list[int]:
        return [int(number) for number, _text in IDS.findall(self.body)]

    def _read(self) -> bytes | None:
        piece = self.client.chunk()
        self.body += piece or b""
        return piece

    def read_until(self, text: bytes) -> None:
        """Read on until the text has come since the last call."""
        before = len(self.body)
        while text not in self.body[before:]:
            assert self._read(), "the stream ended"

    def read_to_end(self) -> bool:
        """Read the rest; False if the response was cut."""
        while piece := self._read():
            pass
        return piece is not None


@pytest.fixture(scope="module")
def shared(
    redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Two workers, of which one may be killed: it is replaced."""
    redis_server.start()
    launcher = Launcher(tmp_path_factory.mktemp("sse"), redis_server.url, namespace="sse")
    try:
        worker = launcher.worker("--processes", "2", app=APP, ready=False)
        yield Gateway(launcher, launcher.interface(), worker)
    finally:
        launcher.close()


def kill_noted(gateway: Gateway, name: str) -> None:
    """Kill the worker that has noted last that it sent what it will."""
    send_signal(int(gateway.launcher.wait_for_note(name)[-1]), SIGKILL)


# Another worker goes on.


def test_stream_of_a_killed_worker_goes_on_with_the_next_event(shared: Gateway) -> None:
    with shared.connect() as client:
        stream = Stream(client, "/plain?killed")
        kill_noted(shared, "killed")
        assert stream.read_to_end()
        assert stream.ids == list(range(1, LAST + 1))
        assert b"".join(b"id: %d\ndata: \n\n" % number for number in stream.ids) == stream.body
        assert shared.launcher.notes("killed")[1].endswith(" 3")
        # The connection is whole: the answer to the next request is its own.
        client.send(request("/plain?again", "last-event-id: 8"))
        assert client.answer().body.endswith(b"\xbfid: 9\ndata: \n\n")


def test_stream_of_a_worker_that_drains_goes_on_with_the_next_event(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--graceful-timeout", "0.2"))
    with gateway.connect() as client:
        stream = Stream(client, "/plain?drained")
        gateway.launcher.wait_for_note("drained")
        other = gateway.launcher.worker(app=APP)
        assert gateway.worker.end() == 0
        assert stream.read_to_end()
        assert stream.ids == list(range(1, LAST + 1))
        assert gateway.launcher.notes("drained")[1] == f"{other.child} 3"


def test_stream_goes_on_however_often_where_each_worker_sends_something(
    start: StartGateway,
) -> None:
    gateway = start(app=APP, worker=("--processes", "2"))
    with gateway.connect() as client:
        stream = Stream(client, "/steady?often")
        for number in range(1, 6):
            pid = gateway.launcher.wait_for_note("often", number)[-1]
            stream.read_until(f"data: {pid}\n\n".encode())
            send_signal(int(pid), SIGKILL)
        stream.read_until(b"data: " + gateway.launcher.wait_for_note("often", 6)[-1].encode())
        assert stream.ids == list(range(1, len(stream.ids) + 1))


def test_stream_of_a_client_that_does_not_read_goes_on_when_it_does(start: StartGateway) -> None:
    gateway = start(app=APP)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(TIMEOUT_S)
        sock.connect(gateway.interface.address)
        with RawClient(sock) as client:
            stream = Stream(client, "/flood?flood")
            quiet_since, sent = time.monotonic(), 0

            def waits_for_the_client() -> bool:
                nonlocal quiet_since, sent
                if len(gateway.launcher.notes("flood")) != sent:
                    quiet_since, sent = time.monotonic(), len(gateway.launcher.notes("flood"))
                return time.monotonic() - quiet_since > 0.5

            wait_until(waits_for_the_client, "a full window")
            before = gateway.worker.child
            send_signal(before, SIGKILL)
            gateway.worker.wait_for_new_child(before)
            # The death is known when the new worker serves the first, and what is asked for because
            # of it is served before the second: the stream is not, as long as there is no room.
            for _ in range(2):
                assert gateway.request("/plain?served", "last-event-id: 8").status == 200
            assert len(gateway.launcher.notes("flood")) == sent < FLOOD / 100
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            assert stream.read_to_end()
            assert stream.ids == list(range(1, FLOOD + 1))


def test_event_larger_than_the_window_comes_whole(start: StartGateway) -> None:
    gateway = start(app=APP, interface=("--window", "1000"))
    with gateway.connect() as client:
        stream = Stream(client, "/large")
        stream.read_until(b"\n\n")
        assert len(stream.body) == 20 * len(b"data: \n" + bytes(1000)) + 1


# Nobody may, or can, go on.


@pytest.mark.parametrize("path", ["/gzip", "/sized", "/without-ids"])
def test_response_that_cannot_go_on_is_cut(shared: Gateway, path: str) -> None:
    name = f"cut{path.replace('/', '-')}"
    with shared.connect() as client:
        client.send(request(f"{path}?{name}"))
        kill_noted(shared, name)
        assert not client.answer().whole
    assert len(shared.launcher.notes(name)) == 1


def test_answer_to_a_post_is_cut(shared: Gateway) -> None:
    with shared.connect() as client:
        stream = Stream(client, "/plain?post", method="POST")
        kill_noted(shared, "post")
        assert not stream.read_to_end()
    assert len(shared.launcher.notes("post")) == 1


def test_without_the_option_the_response_is_cut(start: StartGateway) -> None:
    gateway = start(app=APP, interface=("--no-sse-resume",))
    with gateway.connect() as client:
        stream = Stream(client, "/plain?off")
        stream.read_until(b"lost\n")
        kill_noted(gateway, "off")
        assert not stream.read_to_end()
        assert stream.body.endswith(b"id: 4\ndata: lost\n")
    assert len(gateway.launcher.notes("off")) == 1


def test_another_answer_than_an_event_stream_is_a_cut(shared: Gateway) -> None:
    with shared.connect() as client:
        stream = Stream(client, "/no-content?other")
        kill_noted(shared, "other")
        assert not stream.read_to_end()
        assert stream.ids == [1, 2, 3]
    assert shared.launcher.notes("other")[1:] == ["asked"]


def test_worker_that_does_not_go_on_in_time_is_a_cut(start: StartGateway) -> None:
    gateway = start(app=APP, interface=("--response-timeout", "1"))
    with gateway.connect() as client:
        stream = Stream(client, "/silent?silent")
        kill_noted(gateway, "silent")
        assert not stream.read_to_end()
    assert gateway.launcher.notes("silent")[1:] == ["asked"]


def test_no_worker_in_time_is_a_cut(start: StartGateway) -> None:
    gateway = start(
        app=APP, worker=("--graceful-timeout", "0"), interface=("--queue-deadline", "1")
    )
    with gateway.connect() as client:
        stream = Stream(client, "/plain?nobody")
        gateway.launcher.wait_for_note("nobody")
        gateway.worker.signal(SIGTERM)
        assert not stream.read_to_end()
        assert stream.ids == [1, 2, 3]


def test_stream_of_which_workers_die_is_cut_after_two(shared: Gateway) -> None:
    with shared.connect() as client:
        stream = Stream(client, "/deadly?deadly")
        kill_noted(shared, "deadly")
        assert not stream.read_to_end()
        assert stream.ids == [1, 2, 3]
        assert b"lost" not in stream.body
    assert shared.launcher.notes("deadly")[1:] == ["asked", "asked"]
    shared.interface.wait_for("workers die of this request")
