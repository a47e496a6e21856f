"""PEP 3333, "environ Variables" and "Unicode Issues"."""

from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.workers.wsgi.driver import scope_of

from gateway_worker.wsgi.environ import EnvironBuilder


def environ_of(scope: Any) -> dict[str, Any]:
    return EnvironBuilder({"wsgi.version": (1, 0)}).build(scope)


def test_a_request_has_what_pep_3333_wants() -> None:
    scope = scope_of("POST", "/shop", (b"content-type", b"text/plain"), (b"content-length", b"3"))
    scope["query_string"] = b"q=%20&r"
    assert environ_of(scope) == {
        "wsgi.version": (1, 0),
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/shop",
        "QUERY_STRING": "q=%20&r",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "here:80",
        "wsgi.url_scheme": "http",
        "asgi.scope": scope,
    }


def test_requests_share_nothing() -> None:
    builder = EnvironBuilder({})
    builder.build(scope_of("GET", "/", (b"x-first", b"1")))
    assert "HTTP_X_FIRST" not in builder.build(scope_of())


def test_a_path_holds_one_octet_a_character() -> None:
    assert environ_of(scope_of(path="/é"))["PATH_INFO"] == "/Ã©"


def test_octets_that_are_no_utf_8_are_not_lost() -> None:
    scope = scope_of(path="/\ufffd", raw_path=b"/%FF")
    assert environ_of(scope)["PATH_INFO"] == "/\xff"


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "/a", ("", "/a")),
        ("/app", "/app/a", ("/app", "/a")),
        ("/app/", "/app/a", ("/app", "/a")),
        ("/app", "/app", ("/app", "")),
        ("/app", "/apples", ("/app", "/apples")),
        ("/é", "/é/ü", ("/Ã©", "/Ã¼")),
    ],
)
def test_the_root_path_is_the_script_name(root: str, path: str, expected: tuple[str, str]) -> None:
    environ = environ_of(scope_of(path=path, root_path=root))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [(b"x-a", "HTTP_X_A", "1,2"), (b"cookie", "HTTP_COOKIE", "1; 2")],
)
def test_a_field_that_came_twice_is_joined(name: bytes, key: str, expected: str) -> None:
    assert environ_of(scope_of("GET", "/", (name, b"1"), (name, b"2")))[key] == expected


def test_a_name_with_an_underscore_cannot_stand_for_another() -> None:
    environ = environ_of(scope_of("GET", "/", (b"x_user", b"evil"), (b"x-user", b"good")))
    assert environ["HTTP_X_USER"] == "good"


def test_values_are_octets_too() -> None:
    assert environ_of(scope_of("GET", "/", (b"x", b"\xe9")))["HTTP_X"] == "é"


@pytest.mark.parametrize(
    ("server", "scheme", "expected"),
    [
        (None, "http", ("localhost", "80")),
        (("/run/gateway.sock", None), "https", ("localhost", "443")),
        (("::1", 8443), "https", ("::1", "8443")),
    ],
)
def test_server_name_and_port_are_never_empty(
    server: Any, scheme: str, expected: tuple[str, str]
) -> None:
    environ = environ_of(scope_of(server=server, scheme=scheme))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
    assert environ["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("client", [None, ("", None)])
def test_a_client_without_a_port_has_none(client: Any) -> None:
    assert "REMOTE_PORT" not in environ_of(scope_of(client=client))


@given(st.lists(st.from_regex(rb"[a-z0-9-]{1,12}", fullmatch=True), max_size=2000, unique=True))
def test_names_that_clients_make_up_are_not_all_kept(names: list[bytes]) -> None:
    builder = EnvironBuilder({})
    scope = scope_of("GET", "/", *((name, b"v") for name in names))
    first = builder.build(scope)
    assert builder.build(scope) == first
    assert len(builder._keys) <= 1024
