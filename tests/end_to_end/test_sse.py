"""Event streams that outlive their worker: the client sees one response without gap or double."""

import re
import socket
import time
from collections.abc import Callable
from signal import SIGKILL, SIGTERM

import pytest
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Command,
    Gateway,
    RawClient,
    request,
    send_signal,
    wait_until,
)
from tests.end_to_end.sse_apps import FLOOD, LAST

StartGateway = Callable[..., Gateway]

APP = "sse_apps:site"
IDS = re.compile(rb"^id: (\d+)\ndata: (.*)\n\n", re.MULTILINE)


class Stream:
    """A client of an event stream."""

    def __init__(self, client: RawClient, path: str, *fields: str, method: str = "GET") -> None:
        self.client = client
        self.body = b""
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


def start_stopped(gateway: Gateway, client: RawClient, path: str) -> tuple[Stream, Command]:
    """Have a worker stop in the middle of the 4th event, and start another worker."""
    stream = Stream(client, path)
    stream.read_until(b"id: 3\n")
    gateway.launcher.wait_for_note(path.partition("?")[2])
    return stream, gateway.launcher.worker(app=APP)


def kill_noted(gateway: Gateway, name: str) -> None:
    send_signal(int(gateway.launcher.wait_for_note(name)[-1]), SIGKILL)


# Another worker goes on.


def test_stream_of_a_killed_worker_goes_on_with_the_next_event(start: StartGateway) -> None:
    gateway = start(app=APP)
    with gateway.connect() as client:
        stream, _other = start_stopped(gateway, client, "/plain?killed")
        kill_noted(gateway, "killed")
        assert stream.read_to_end()
        assert stream.ids == list(range(1, LAST + 1))
        assert b"".join(b"id: %d\ndata: \n\n" % number for number in stream.ids) == stream.body
        assert gateway.launcher.notes("killed")[1].endswith(" 3")
        # The connection is whole: the answer to the next request is its own.
        client.send(request("/plain?again", "last-event-id: 8"))
        assert IDS.findall(client.answer().body) == [(b"9", b"")]


def test_stream_of_a_worker_that_drains_goes_on_with_the_next_event(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--graceful-timeout", "0.2"))
    with gateway.connect() as client:
        stream, other = start_stopped(gateway, client, "/plain?drained")
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
            pid = int(gateway.launcher.wait_for_note("flood")[0])
            quiet_since, sent = time.monotonic(), 0

            def waits_for_the_client() -> bool:
                nonlocal quiet_since, sent
                if len(gateway.launcher.notes("flood")) != sent:
                    quiet_since, sent = time.monotonic(), len(gateway.launcher.notes("flood"))
                return time.monotonic() - quiet_since > 0.5

            wait_until(waits_for_the_client, "a full window")
            assert sent < FLOOD / 100
            send_signal(pid, SIGKILL)
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
def test_response_that_cannot_go_on_is_cut(start: StartGateway, path: str) -> None:
    gateway = start(app=APP)
    with gateway.connect() as client:
        client.send(request(f"{path}?cut"))
        kill_noted(gateway, "cut")
        assert not client.answer().whole
    assert len(gateway.launcher.notes("cut")) == 1


def test_answer_to_a_post_is_cut(start: StartGateway) -> None:
    gateway = start(app=APP)
    with gateway.connect() as client:
        stream = Stream(client, "/plain?post", method="POST")
        kill_noted(gateway, "post")
        assert not stream.read_to_end()
    assert len(gateway.launcher.notes("post")) == 1


def test_without_the_option_the_response_is_cut(start: StartGateway) -> None:
    gateway = start(app=APP, interface=("--no-sse-resume",))
    with gateway.connect() as client:
        stream, _other = start_stopped(gateway, client, "/plain?off")
        kill_noted(gateway, "off")
        assert not stream.read_to_end()
        assert stream.body.endswith(b"id: 4\ndata: lost\n")
    assert len(gateway.launcher.notes("off")) == 1


def test_another_answer_than_an_event_stream_is_a_cut(start: StartGateway) -> None:
    gateway = start(app=APP)
    with gateway.connect() as client:
        stream, _other = start_stopped(gateway, client, "/no-content?other")
        kill_noted(gateway, "other")
        assert not stream.read_to_end()
        assert stream.ids == [1, 2, 3]
    assert gateway.launcher.notes("other")[1:] == ["asked"]


def test_worker_that_does_not_go_on_in_time_is_a_cut(start: StartGateway) -> None:
    gateway = start(app=APP, interface=("--response-timeout", "1"))
    with gateway.connect() as client:
        stream, _other = start_stopped(gateway, client, "/silent?silent")
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


def test_stream_of_which_workers_die_is_cut_after_two(start: StartGateway) -> None:
    gateway = start(app=APP, worker=("--processes", "2"))
    with gateway.connect() as client:
        stream, _other = start_stopped(gateway, client, "/deadly?deadly")
        kill_noted(gateway, "deadly")
        assert not stream.read_to_end()
        assert stream.ids == [1, 2, 3]
        assert b"lost" not in stream.body
    assert gateway.launcher.notes("deadly")[1:] == ["asked", "asked"]
    gateway.interface.wait_for("workers die of this request")
