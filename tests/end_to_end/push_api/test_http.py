"""The push API as an HTTP server, and what its description is worth."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Launcher,
    RawClient,
    wait_until,
)
from tests.end_to_end.push_api.site import TOKEN, Site, error_of

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.names import new_pid


def request(method: str, path: str, *fields: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: here", f"authorization: Bearer {TOKEN}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    with site.raw() as raw:
        raw.send(
            request("POST", "/v1/groups/none", "content-length: 2", body=b"hi")
            + request("GET", "/nothing")
            + request("HEAD", "/v1/groups/none/connections")
            + request("GET", "/v1/groups/none/connections")
        )
        assert json.loads(raw.answer().body) == {"sent": 0}
        assert raw.answer().status == 404
        assert raw.answer("HEAD").headers["content-length"] == "28"
        assert json.loads(raw.answer().body) == {"connections": [], "count": 0}


def test_slow_request_does_not_hold_up_others(site: Site) -> None:
    with site.raw() as slow:
        slow.send(request("POST", "/v1/groups/none", "content-length: 2", body=b"h"))
        assert site.http.post("/v1/groups/none", content=b"hi").status_code == 200
        slow.send(b"i")
        assert slow.answer().status == 200


def test_chunked_body_that_grows_too_large_is_refused(site: Site) -> None:
    with site.raw() as raw:
        raw.send(request("POST", "/@connections/a!b", "transfer-encoding: chunked"))
        raw.send(b"%x\r\n%b\r\n" % (131_073, b"a" * 131_073))
        answer = raw.answer()
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


def test_announced_body_that_is_too_large_is_refused_before_it_comes(site: Site) -> None:
    with site.raw() as raw:
        raw.send(request("POST", "/v1/push", "content-length: 16777217", "expect: 100-continue"))
        assert raw.answer().status == 413


def test_body_is_asked_for_where_the_client_waits(site: Site) -> None:
    with site.raw() as raw:
        raw.send(request("POST", "/v1/groups/none", "content-length: 1", "expect: 100-continue"))
        assert raw.answer().status == 100
        raw.send(b"a")
        assert raw.answer().status == 200


def test_malformed_request_is_refused_in_the_same_form(site: Site) -> None:
    with site.raw() as raw:
        raw.send(b"nonsense\r\n\r\n")
        answer = raw.answer()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "BadRequestException")


def test_late_request_is_answered_408(launch: Launcher) -> None:
    interface = launch.interface("--push-bind", "127.0.0.1:0", "--body-timeout", "0.3")
    host, _, port = interface.urls[1].removeprefix("http://").rpartition(":")
    with RawClient(socket.create_connection((host, int(port)), timeout=TIMEOUT_S)) as raw:
        raw.send(b"POST /v1/groups/g HTTP/1.1\r\nhost: [::1]\r\ncontent-length: 9\r\n\r\na")
        assert raw.answer().status == 408


def test_without_redis_pushes_are_refused_as_unavailable(
    launch: Launcher, redis_server: EmbeddedServer
) -> None:
    interface = launch.interface("--push-bind", "127.0.0.1:0")
    redis_server.kill()
    try:
        answer = httpx.post(f"{interface.urls[1]}/v1/groups/g", content=b"", timeout=TIMEOUT_S)
        assert error_of(answer) == (503, "ServiceUnavailableException")
    finally:
        redis_server.start()


def test_idle_connection_does_not_delay_the_end(launch: Launcher) -> None:
    interface = launch.interface("--push-bind", "127.0.0.1:0")
    with httpx.Client(base_url=interface.urls[1]) as client:
        assert client.get("/v1/openapi.json").status_code == 200
        assert interface.end() == 0


# OpenAPI.

SCHEMATHESIS = """
[generation]
database = "none"

[checks]  # a well-formed id belongs to a connection that is gone
positive_data_acceptance.expected-statuses = ["2xx", "410"]

[[operations]]  # x-gateway-frame: text and a body that is none; no schema can say that
include-name = ["POST /@connections/{id}", "POST /v1/groups/{group}"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "410"]
"""


def test_schemathesis_finds_nothing(site: Site, tmp_path: Path) -> None:
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(SCHEMATHESIS)
    # After a loss of Redis's data, whoever is not known is not gone for some seconds.
    nobody = f"/v1/connections/{new_pid()}!{new_pid()}"
    wait_until(lambda: site.http.get(nobody).status_code == 410)
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "--config-file", configuration),
            *("run", f"{site.url}/v1/openapi.json", "--header", f"Authorization: Bearer {TOKEN}"),
            *("--max-examples", "10", "--seed", "1", "--max-time", "10", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S * 1.8,
    )
    assert done.returncode == 0, done.stdout + done.stderr
