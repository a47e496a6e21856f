"""Two interface servers, one of them with the push API, and who talks to them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
from botocore.config import Config
from tests.end_to_end.processes import (
    TIMEOUT_S,
    Launcher,
    RawClient,
    wait_until,
)
from websockets.sync.client import ClientConnection, connect

TOKEN = "a-token"
ACCESS, SECRET = "AKIDEXAMPLE", "secret/with+signs="
CREDENTIALS = ("--push-key", f"{ACCESS}={SECRET}", "--push-token", TOKEN)
SILENCE_S = 0.1
"""How long a client is watched that must get nothing: everything under way arrives in 10 ms."""


class Site:
    """Two interface servers with one Redis; the second has the push API, the first the clients."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        launcher.worker(ready=False)
        self.interface = launcher.interface()
        self.pusher = launcher.interface("--push-bind", "127.0.0.1:0", *CREDENTIALS)
        self.url = self.pusher.urls[1]
        self.http = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=TIMEOUT_S
        )

    @contextmanager
    def connect(self) -> Iterator[tuple[ClientConnection, str]]:
        """Open a WebSocket at the interface server that has no push API."""
        url = self.interface.urls[0].replace("http", "ws", 1)
        with connect(f"{url}/address", user_agent_header="a browser") as client:
            yield client, str(client.recv(TIMEOUT_S))

    def aws(self, **options: Any) -> Any:
        return boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=f"{self.url}/prod",
            region_name="eu-north-1",
            aws_access_key_id=options.pop("access", ACCESS),
            aws_secret_access_key=options.pop("secret", SECRET),
            config=Config(retries={"max_attempts": options.pop("retries", 0)}),
        )

    def raw(self) -> RawClient:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return RawClient(socket.create_connection((host, int(port)), timeout=TIMEOUT_S))


def gone(site: Site) -> str:
    """Return the reply channel of a connection that is over."""
    with site.connect() as (_client, channel):
        pass
    wait_until(lambda: site.http.get(f"/v1/connections/{channel}").status_code == 410)
    return channel


def hears_nothing(connection: ClientConnection) -> bool:
    try:
        connection.recv(SILENCE_S)
    except TimeoutError:
        return True
    return False


def error_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json()["message"], str)
    return answer.status_code, answer.headers["x-amzn-errortype"]
