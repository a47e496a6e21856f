"""A protocol of its own: what it gets of the session, with `examples/line_server`."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Command,
    Launcher,
    RawClient,
    send_signal,
    wait_until,
)

from gateway_layer.push.sync import SyncPush

ROOT = Path(__file__).parents[2]

MIB = 2**20
FLOOD_BYTES = 65_535  # of the application, a line


class Site:
    """A server of lines with a worker."""

    def __init__(self, launcher: Launcher, server: Command, worker: Command) -> None:
        self.launcher = launcher
        self.server = server
        self.worker = worker

    def connect(self, server: Command | None = None) -> "LineClient":
        text = (server or self.server).stderr
        (port,) = re.findall(r"line_server ready: 127\.0\.0\.1:(\d+)", text)
        sock = socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT_S)
        return LineClient(sock)

    def pusher(self) -> SyncPush:
        return SyncPush(self.launcher.layer[1], namespace=self.launcher.namespace)


class LineClient(RawClient):
    """A client who speaks lines."""

    def __enter__(self) -> "LineClient":
        return self

    def ask(self, text: str) -> list[str]:
        """Say something, and return the words behind it in the answer."""
        self.send(f"{text}\n".encode())
        return self.answer_to(text)

    def answer_to(self, text: str) -> list[str]:
        answer = self.line()
        assert answer.startswith(f"{text} "), answer
        return answer.removeprefix(f"{text} ").split()

    def lines_to(self, last: str) -> list[str]:
        lines = [self.line()]
        while lines[-1] != last:
            assert lines[-1], "the connection has ended"
            lines.append(self.line())
        return lines

    def send_some(self, data: memoryview) -> int:
        """Send until the other side has taken nothing for a second; return how much it took."""
        sent = 0
        self.sock.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + 65_536])
        self.sock.settimeout(TIMEOUT_S)
        return sent

    def line(self) -> str:
        return self.until(b"\n").decode().removesuffix("\n")


def start_server(launcher: Launcher, *options: str) -> Command:
    module = ("-m", "examples.line_server.server", "--bind", "127.0.0.1:0")
    server = launcher.run("python", *module, *launcher.layer, *options, PYTHONPATH=str(ROOT))
    server.wait_for("line_server ready: ")
    return server


def start_worker(launcher: Launcher, *options: str) -> Command:
    return launcher.worker("--protocols", "line", *options, app="line_apps:site")


@pytest.fixture
def start(launch: Launcher) -> Callable[..., Site]:
    """Starts a server and a worker with `line_apps:site`; options are those of both."""
    return lambda *options: Site(
        launch, start_server(launch, *options), start_worker(launch, *options)
    )


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    return start()


@pytest.fixture
def client(site: Site) -> Iterator[LineClient]:
    """A client who has read its reply channel."""
    with site.connect() as client:
        client.line()
        yield client


# The example.


def test_people_at_two_servers_talk_and_hear_what_is_pushed(launch: Launcher) -> None:
    app = ("examples.line_server.app:app", "--app-dir", str(ROOT), "--protocols", "line")
    servers = [start_server(launch), start_server(launch)]
    worker = launch.run("gateway-worker", *app, *launch.layer)
    worker.wait_ready()
    site = Site(launch, servers[0], worker)
    with site.connect() as ada, site.connect(servers[1]) as grace:
        assert [ada.line(), grace.line()] == ["who are you?"] * 2
        ada.send(b"Ada\r\n")
        assert [ada.line(), grace.line()] == ["Ada is here"] * 2
        grace.send(b"Grace\n")
        assert [ada.line(), grace.line()] == ["Grace is here"] * 2
        send_signal(worker.child, SIGKILL)
        ada.send("still there?\ngrüße\n".encode())
        # What a killed worker was handling may be heard twice.
        heard = ["Ada is here", "Grace is here", "Ada: still there?", "Ada: grüße"]
        assert {*grace.lines_to("Ada: grüße")} <= {*heard}
        pushed = ("group-send", "lines", "from outside", *launch.layer)
        assert launch.run("gateway-push", *pushed).process.wait(TIMEOUT_S) == 0
        assert {*grace.lines_to("from outside")} <= {*heard, "from outside"}
        grace.send(b"bye\n")
        assert {*grace.lines_to("! bye after 0 lines")} <= {*heard, "! bye after 0 lines"}
        assert grace.rest() == b""
        assert {*ada.lines_to("Grace has left")} <= {*heard, "from outside", "Grace has left"}


# Credit.


def test_client_that_sends_much_is_not_read_beyond_the_window(
    site: Site, client: LineClient
) -> None:
    line = b"quiet " + b"x" * 1017 + b"\n"
    total = 32 * MIB // len(line)
    client.send(b"wait\n")
    site.launcher.wait_for_note("line", 2)
    data = memoryview(line * total)
    sent = client.send_some(data)
    assert sent < len(data) // 2  # what the two kernels take, and a window
    site.launcher.open_gate("line")
    client.send(bytes(data[sent:]))
    assert client.answer_to("wait")[0] == "1"
    assert client.ask("end")[0] == str(total + 2)


def test_application_that_sends_much_waits_for_a_client_that_reads_nothing(
    site: Site, client: LineClient
) -> None:
    number = 32 * MIB // FLOOD_BYTES
    client.send(b"flood %d\n" % number)
    notes = site.launcher.wait_for_note("flood")
    still_since = time.monotonic()
    while time.monotonic() < still_since + 1.0:
        before, notes = notes, site.launcher.notes("flood")
        if len(notes) > len(before):
            still_since = time.monotonic()
        time.sleep(0.02)
    assert len(notes) < number // 2
    for _ in range(number):
        assert len(client.line()) == FLOOD_BYTES
    assert client.ask("end")[0] == "2"


# Pushing.


def test_push_reaches_one_client(site: Site) -> None:
    with site.connect() as client, site.pusher() as push:
        address = client.line()
        push.send(address, text="pushed", confirm=True)
        assert client.line() == "pushed"
        assert push.info(address).client == client.sock.getsockname()
        push.close(address, reason="enough")
        assert client.rest() == b"! enough\n"


def test_push_reaches_a_client_that_has_no_worker(site: Site) -> None:
    with site.connect() as client, site.pusher() as push:
        address = client.line()
        site.worker.end()
        client.send(b"hello\n")
        push.send(address, text="pushed", confirm=True)
        assert client.line() == "pushed"
        start_worker(site.launcher)
        assert client.answer_to("hello")[:2] == ["1", "1"]


# Resumption.


def test_connection_outlives_a_killed_worker_with_its_state(site: Site, client: LineClient) -> None:
    _count, _resumed, pid = client.ask("one")
    send_signal(int(pid), SIGKILL)
    assert client.ask("two")[:2] == ["2", "1"]


def test_line_under_way_is_handled_by_the_next_instance(site: Site, client: LineClient) -> None:
    client.ask("one")
    client.send(b"wait\nbehind\n")
    site.launcher.wait_for_note("line", 2)
    send_signal(site.worker.child, SIGKILL)
    site.launcher.open_gate("line")
    assert client.answer_to("wait")[:2] == ["2", "1"]
    assert client.answer_to("behind")[:2] == ["3", "1"]


def test_connection_outlives_a_worker_that_drains(site: Site, client: LineClient) -> None:
    assert client.ask("one")[:2] == ["1", "0"]
    site.worker.signal(SIGTERM)
    start_worker(site.launcher)
    assert site.worker.process.wait(TIMEOUT_S) == 0
    assert client.ask("two")[:2] == ["2", "1"]
    assert site.launcher.notes("line") == ["accepted 0", "disconnected 1012", "accepted 1"]


def test_idle_connection_hibernates_and_wakes_with_its_state(start: Callable[..., Site]) -> None:
    site = start()
    site.worker.end()
    start_worker(site.launcher, "--hibernate-after", "0.3")
    with site.connect() as client:
        client.line()
        assert client.ask("one")[:2] == ["1", "0"]
        site.launcher.wait_for_note("line", 2)
        assert client.ask("two")[:2] == ["2", "1"]


# The end.


@pytest.mark.parametrize(
    ("how", "code"), [("bye", 1000), ("long", 1009), ("drain", 1012), ("killed", 1006)]
)
def test_application_hears_of_the_end(start: Callable[..., Site], how: str, code: int) -> None:
    site = start("--lease", "1")
    with site.connect() as client:
        client.line()
        if how == "bye":
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
        elif how == "long":
            client.send(b"x" * (MIB + 1))
            assert client.rest() == b"! a line is too long\n"
        elif how == "drain":
            assert site.server.end() == 0
            assert client.rest() == b"! the server stops\n"
        else:
            site.server.kill()
        wait_until(
            lambda: site.launcher.notes("line")[-1] == f"disconnected {code}", f"the end, {code}"
        )


def test_client_that_leaves_while_no_worker_runs_is_told_to_the_next(site: Site) -> None:
    with site.connect() as client:
        client.line()
        client.ask("one")
        site.worker.end()
    start_worker(site.launcher)
    notes = site.launcher.wait_for_note("line", 4)
    assert notes[2:] == ["accepted 1", "disconnected 1000"]
