import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway_interface.listeners import Listeners, open_listeners
from gateway_layer.errors import ConfigError
from gateway_layer.process.addresses import BindError, check_free, parse_address


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes the listeners that a test opens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as path:
        yield Path(path)


def listen(stack: ExitStack, *bind: str, admin: str | None = None, n: int = 1) -> Listeners:
    listeners = open_listeners(bind, admin, n)
    stack.callback(listeners.close)
    return listeners


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def accept_now(sock: socket.socket) -> bool:
    try:
        sock.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_url_names_the_port_that_the_system_chose(opened: ExitStack) -> None:
    listeners = listen(opened, "127.0.0.1:0")
    port = port_of(listeners.by_process[0][0])
    assert port > 0
    assert listeners.urls == [f"http://127.0.0.1:{port}"]


def test_each_process_has_a_socket_of_the_push_api(opened: ExitStack) -> None:
    listeners = open_listeners(["127.0.0.1:0"], None, 2, "127.0.0.1:0")
    opened.callback(listeners.close)
    ports = {port_of(sock) for sock in listeners.push}
    assert (len(listeners.push), len(ports)) == (2, 1)
    assert listeners.push_url == f"http://127.0.0.1:{ports.pop()}"
    listeners.keep_only(1)
    assert [sock.fileno() >= 0 for sock in listeners.push] == [False, True]


def test_clients_can_connect(opened: ExitStack) -> None:
    sock = listen(opened, "127.0.0.1:0").by_process[0][0]
    socket.create_connection(sock.getsockname(), timeout=5).close()
    assert accept_now(sock)


def test_processes_share_one_port_by_sockets_of_their_own(opened: ExitStack) -> None:
    listeners = listen(opened, "127.0.0.1:0", n=3)
    sockets = [sockets[0] for sockets in listeners.by_process]
    assert len({sock.fileno() for sock in sockets}) == 3
    assert len({port_of(sock) for sock in sockets}) == 1


def test_connections_are_spread_over_the_processes(opened: ExitStack) -> None:
    listeners = listen(opened, "127.0.0.1:0", n=2)
    sockets = [sockets[0] for sockets in listeners.by_process]
    for _ in range(64):
        socket.create_connection(sockets[0].getsockname(), timeout=5).close()
    assert all(accept_now(sock) for sock in sockets)


@pytest.mark.parametrize("processes", [1, 2])
def test_port_that_is_taken_is_named(opened: ExitStack, processes: int) -> None:
    taken = port_of(listen(opened, "127.0.0.1:0", n=processes).by_process[0][0])
    with pytest.raises(BindError, match=rf"^127\.0\.0\.1:{taken} is already in use$"):
        open_listeners([f"127.0.0.1:{taken}"], None, processes)


def test_failure_closes_what_was_open_already(opened: ExitStack, folder: Path) -> None:
    taken = port_of(listen(opened, "127.0.0.1:0").by_process[0][0])
    path = folder / "gw.sock"
    with pytest.raises(BindError):
        open_listeners([f"unix:{path}", f"127.0.0.1:{taken}"], None, 2)
    assert not path.exists()


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(BindError, match=r"192\.0\.2\.1:80 is not an address of this machine"):
        open_listeners(["192.0.2.1:80"], None, 1)


def test_name_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BindError, match=r"nowhere\.invalid:80 is not an address"):
        open_listeners(["nowhere.invalid:80"], None, 1)


def test_folder_that_does_not_exist_is_named(folder: Path) -> None:
    with pytest.raises(BindError, match=r"gw\.sock: no such file or directory"):
        open_listeners([f"unix:{folder}/none/gw.sock"], None, 1)


def test_unix_socket_is_one_for_all_processes(opened: ExitStack, folder: Path) -> None:
    listeners = listen(opened, f"unix:{folder}/gw.sock", n=2)
    assert listeners.by_process[0][0] is listeners.by_process[1][0]
    assert listeners.urls == [f"unix:{folder}/gw.sock"]


def test_file_of_a_unix_socket_is_removed_at_the_end(opened: ExitStack, folder: Path) -> None:
    path = folder / "gw.sock"
    listeners = listen(opened, f"unix:{path}")
    assert stat.S_ISSOCK(path.stat().st_mode)
    listeners.close()
    assert not path.exists()


def test_file_of_a_dead_process_is_replaced(opened: ExitStack, folder: Path) -> None:
    path = folder / "gw.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen(opened, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_unix_socket_on_which_somebody_answers_is_left_alone(
    opened: ExitStack, folder: Path
) -> None:
    path = folder / "gw.sock"
    listen(opened, f"unix:{path}")
    with pytest.raises(BindError, match="already in use"):
        open_listeners([f"unix:{path}"], None, 1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    path = folder / "letter.txt"
    path.write_text("Dear")
    with pytest.raises(BindError, match="exists and is not a socket"):
        open_listeners([f"unix:{path}"], None, 1)
    assert path.read_text() == "Dear"


def test_file_of_a_successor_is_not_removed(opened: ExitStack, folder: Path) -> None:
    path = folder / "gw.sock"
    listeners = listen(opened, f"unix:{path}")
    path.rename(folder / "kept")
    listen(opened, f"unix:{path}")
    listeners.close()
    assert path.exists()


def test_child_keeps_its_own_sockets_only(opened: ExitStack, folder: Path) -> None:
    listeners = listen(opened, "127.0.0.1:0", f"unix:{folder}/gw.sock", n=2)
    other = listeners.by_process[0][0]
    mine = listeners.keep_only(1)
    assert [sock.fileno() >= 0 for sock in mine] == [True, True]
    assert other.fileno() == -1


def test_admin_address_is_bound_once(opened: ExitStack) -> None:
    listeners = listen(opened, "127.0.0.1:0", admin="127.0.0.1:0", n=2)
    assert listeners.admin is not None
    assert port_of(listeners.admin) != port_of(listeners.by_process[0][0])


def test_ipv6_stands_in_brackets(opened: ExitStack) -> None:
    listeners = listen(opened, "[::1]:0")
    port = port_of(listeners.by_process[0][0])
    assert listeners.urls == [f"http://[::1]:{port}"]


def test_sockets_do_not_block(opened: ExitStack, folder: Path) -> None:
    listeners = listen(opened, "127.0.0.1:0", f"unix:{folder}/gw.sock", n=2)
    blocking = [os.get_blocking(sock.fileno()) for socks in listeners.by_process for sock in socks]
    assert not any(blocking)


def test_closing_twice_is_nothing(opened: ExitStack) -> None:
    listeners = listen(opened, "127.0.0.1:0")
    listeners.close()
    listeners.close()


@pytest.mark.parametrize(
    "text",
    [
        "8000",
        ":8000",
        "host:",
        "host:port",
        "host:65536",
        "host:-1",
        "::1:8000",
        "unix:",
        "",
        "a:²",
    ],
)
def test_address_that_is_none_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError, match="--bind"):
        parse_address(text)


def test_address_that_is_none_says_how_it_is_written() -> None:
    with pytest.raises(
        ConfigError, match=r"^--bind 8000: write host:port, as in 127\.0\.0\.1:8000"
    ):
        parse_address("8000")


def test_wrong_admin_address_names_its_own_option() -> None:
    with pytest.raises(ConfigError, match=r"^--admin-bind 9000: "):
        open_listeners(["127.0.0.1:0"], "9000", 1)


def test_addresses_that_are_free_stay_free(opened: ExitStack, folder: Path) -> None:
    free = port_of(listen(opened, "127.0.0.1:0").by_process[0][0])
    opened.close()
    bind = [f"127.0.0.1:{free}", f"unix:{folder}/gw.sock"]
    check_free(bind)
    assert len(listen(opened, *bind).urls) == 2


def test_addresses_that_are_taken_are_not_free(opened: ExitStack, folder: Path) -> None:
    for url in listen(opened, "127.0.0.1:0", f"unix:{folder}/gw.sock").urls:
        with pytest.raises(BindError, match="is already in use"):
            check_free([url.removeprefix("http://")])


def test_path_may_be_written_as_a_url() -> None:
    assert parse_address("unix:///run/gw.sock").path == "/run/gw.sock"
