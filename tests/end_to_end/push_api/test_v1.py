"""The push API beyond AWS, over two interface servers."""

import base64
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Command,
    Launcher,
    RawClient,
)
from tests.end_to_end.push_api.site import Site, error_of, gone, hears_nothing
from websockets.sync.client import ClientConnection

# Who may push.


@pytest.mark.parametrize("authorization", ["Bearer wrong", "Basic YTpi", ""])
def test_wrong_credentials_are_forbidden(site: Site, authorization: str) -> None:
    answer = httpx.get(f"{site.url}/v1/openapi.json", headers={"authorization": authorization})
    assert error_of(answer) == (403, "ForbiddenException")


def test_public_listener_has_no_push_api(site: Site, client: tuple[ClientConnection, str]) -> None:
    for interface in (site.interface, site.pusher):
        answer = httpx.post(f"{interface.urls[0]}/@connections/{client[1]}", content=b"no")
        assert "x-amzn-errortype" not in answer.headers
    assert hears_nothing(client[0])


def test_unix_socket_is_open(launch: Launcher, tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path / "s"))
    interface = launch.interface("--push-bind", f"unix:{tmp_path / 's'}", "--processes", "2")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(str(path))
        raw = RawClient(sock)
        raw.send(b"GET /v1/groups/none/connections HTTP/1.1\r\nhost: here\r\n\r\n")
        assert json.loads(raw.answer().body) == {"connections": [], "count": 0}
    assert interface.end() == 0
    assert not path.exists()


def test_loopback_is_open_but_not_for_web_pages(launch: Launcher) -> None:
    interface = launch.interface("--push-bind", "127.0.0.1:0")
    url = f"{interface.urls[1]}/v1/groups/none/connections"
    assert httpx.get(url).status_code == 200
    assert httpx.get(url, headers={"origin": "https://evil.example"}).status_code == 403
    assert interface.end() == 0


def test_address_that_others_reach_needs_credentials(launch: Launcher) -> None:
    command: Command = launch.run("gateway-interface", "--push-bind", "0.0.0.0:0")
    assert command.process.wait(TIMEOUT_S) == 2
    assert command.stderr.count("\n") == 1
    assert "--push-bind 0.0.0.0:0: without --push-key" in command.stderr


# Groups, and many at once.


def test_connection_is_shown_whole(
    site: Site, client: tuple[ClientConnection, str], group: Callable[..., str]
) -> None:
    name = group(client[1])
    shown = site.http.get(f"/v1/connections/{client[1]}").json()
    assert shown["reply_channel"] == client[1]
    assert (shown["path"], shown["user_agent"]) == ("/address", "a browser")
    assert (shown["groups"], shown["client"]["host"]) == ([name], "127.0.0.1")
    assert (shown["epoch"], len(shown["worker"])) == (1, 22)


def test_members_of_a_group_are_listed(
    site: Site, client: tuple[ClientConnection, str], group: Callable[..., str]
) -> None:
    listed = site.http.get(f"/v1/groups/{group(client[1])}/connections").json()
    assert listed == {"connections": [client[1]], "count": 1}


def test_group_send_reaches_members_but_those_excluded(
    site: Site, client: tuple[ClientConnection, str], group: Callable[..., str]
) -> None:
    with site.connect() as (other, other_channel):
        name = group(client[1], other_channel)
        answer = site.http.post(
            f"/v1/groups/{name}", content=b"news", params={"exclude": other_channel}
        )
        assert answer.json() == {"sent": 1}
        assert client[0].recv(TIMEOUT_S) == "news"
        assert hears_nothing(other)


def test_group_send_is_not_repeated_under_one_key(
    site: Site, client: tuple[ClientConnection, str], group: Callable[..., str]
) -> None:
    path, key = f"/v1/groups/{group(client[1])}", {"idempotency-key": "k"}
    answers = [site.http.post(path, content=b"once", headers=key).json() for _ in range(2)]
    assert answers == [{"sent": 1}, {"sent": 1}]
    assert client[0].recv(TIMEOUT_S) == "once"
    assert hears_nothing(client[0])


def test_group_without_members_gets_nothing(site: Site) -> None:
    assert site.http.post("/v1/groups/nobody", content=b"x").json() == {"sent": 0}


def test_many_pushes_have_results_in_order(
    site: Site, client: tuple[ClientConnection, str], group: Callable[..., str]
) -> None:
    connection, channel = client
    name, over = group(channel), gone(site)
    pushes = [
        {"connection": channel, "text": "one"},
        {"connection": over, "text": "late"},
        {"connection": channel, "bytes": base64.b64encode(b"\xfe").decode()},
        {"connection": channel, "json": {"a": [None, "ü"]}},
        {"group": name, "json": None},
    ]
    results = site.http.post("/v1/push", json={"pushes": pushes}).json()["results"]
    assert [result["status"] for result in results] == [200, 410, 200, 200, 200]
    assert results[1]["error"] == "GoneException"
    assert results[4]["sent"] == 1
    heard = [connection.recv(TIMEOUT_S) for _ in range(4)]
    assert [one for one in heard if one != "null"] == ["one", b"\xfe", '{"a":[null,"ü"]}']


@pytest.mark.parametrize("keyed", [False, True])
def test_thousand_pushes_arrive_in_order(
    site: Site, client: tuple[ClientConnection, str], keyed: bool
) -> None:
    connection, channel = client
    pushes = [{"connection": channel, "text": str(number)} for number in range(1000)]
    headers = {"idempotency-key": "k"} if keyed else {}
    for _ in range(2 if keyed else 1):
        answer = site.http.post("/v1/push", json={"pushes": pushes}, headers=headers)
        assert {result["status"] for result in answer.json()["results"]} == {200}
    assert [connection.recv(TIMEOUT_S) for _ in pushes] == [str(n) for n in range(1000)]
    assert hears_nothing(connection)


BAD_BODIES = {
    "no JSON": b"{",
    "no UTF-8": b'{"pushes": "\xff"}',
    "NaN": b'{"pushes": NaN}',
    "a list": b"[]",
    "nothing to push": b'{"pushes": []}',
    "too many": json.dumps({"pushes": [{"group": "g", "text": ""}] * 1001}).encode(),
    "deep": b'{"pushes": ' + b"[" * 100_000,
    "no target": b'{"pushes": [{"text": "a"}]}',
    "two targets": b'{"pushes": [{"connection": "a!b", "group": "g", "text": "a"}]}',
    "two messages": b'{"pushes": [{"group": "g", "text": "a", "json": 1}]}',
    "unknown key": b'{"pushes": [{"group": "g", "text": "a", "more": 1}]}',
    "no reply channel": b'{"pushes": [{"connection": "a", "text": "a"}]}',
    "no group": b'{"pushes": [{"group": "a b", "text": "a"}]}',
    "no text": b'{"pushes": [{"group": "g", "text": 1}]}',
    "no base64": b'{"pushes": [{"group": "g", "bytes": "a"}]}',
    "half a pair": b'{"pushes": [{"group": "g", "json": "\\ud800"}]}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_list_of_pushes_is_refused(site: Site, body: bytes) -> None:
    kind = {"content-type": "application/json"}
    answer = site.http.post("/v1/push", content=body, headers=kind)
    assert error_of(answer) == (400, "BadRequestException")


def test_nothing_of_a_bad_list_is_sent(site: Site, client: tuple[ClientConnection, str]) -> None:
    pushes = [{"connection": client[1], "text": "a"}, {"connection": client[1]}]
    answer = site.http.post("/v1/push", json={"pushes": pushes})
    assert answer.json()["message"].startswith("pushes[1]: ")
    assert hears_nothing(client[0])


def test_list_of_pushes_must_be_said_to_be_json(site: Site) -> None:
    answer = site.http.post("/v1/push", content=b"{}", headers={"content-type": "text/plain"})
    assert error_of(answer) == (415, "UnsupportedMediaTypeException")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/groups/a%20b", "/v1/groups/" + "a" * 100, "/v1/groups/g?exclude=x"),
        *("/v1/groups/g?other=1", "/@connections/a%2Fb", "/@connections/%FF"),
    ],
)
def test_bad_name_is_refused(site: Site, path: str) -> None:
    assert error_of(site.http.post(path, content=b"x")) == (400, "BadRequestException")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/push/", "/v1/groups//connections", "/x/v1/push"])
def test_path_that_is_none_is_not_found(site: Site, path: str) -> None:
    assert error_of(site.http.get(path)) == (404, "NotFoundException")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/@connections/a!b", "POST, GET, DELETE, HEAD"),
        ("GET", "/v1/push", "POST"),
        ("POST", "/v1/connections/a!b", "GET, HEAD"),
    ],
)
def test_other_method_is_answered_with_those_allowed(
    site: Site, method: str, path: str, allowed: str
) -> None:
    answer = site.http.request(method, path)
    assert error_of(answer) == (405, "MethodNotAllowedException")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_bad_idempotency_key_is_refused(site: Site, key: str) -> None:
    answer = site.http.post("/v1/groups/g", content=b"", headers={"idempotency-key": key})
    assert error_of(answer) == (400, "BadRequestException")
