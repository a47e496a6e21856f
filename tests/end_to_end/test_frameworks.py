"""Applications of Starlette and FastAPI run unchanged."""

import json
from collections.abc import Iterator

import httpx
import pytest
from tests.end_to_end.processes import Launcher
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from gateway_layer.embedded import EmbeddedServer

MIB = 2**20


@pytest.fixture(scope="module")
def url(redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One interface server before two pools of workers: /fast is FastAPI, the rest Starlette."""
    launcher = Launcher(tmp_path_factory.mktemp("frameworks"), redis_server.url)
    try:
        for name in ("starlette", "fastapi"):
            app = f"framework_apps:{name}_site"
            launcher.worker("--queue", name, "--lifespan", "on", app=app, ready=False)
        routes = ("--route", "/=starlette", "--route", "/fast=fastapi")
        yield launcher.interface(*routes).urls[0]
    finally:
        launcher.close()


def test_starlette_streams(url: str) -> None:
    response = httpx.get(f"{url}/stream")
    assert response.text == "".join(f"{number}\n" for number in range(100))
    assert response.headers["transfer-encoding"] == "chunked"


def test_starlette_takes_an_upload(url: str) -> None:
    file = ("big.bin", b"x" * (2 * MIB))
    response = httpx.post(f"{url}/upload", files={"file": file}, data={"text": "with words"})
    assert response.json() == {"name": "big.bin", "size": 2 * MIB, "text": "with words"}


def test_starlette_has_the_state_of_its_lifespan(url: str) -> None:
    answer = httpx.get(f"{url}/greeting?a=b").json()
    assert answer == {"greeting": "from the lifespan", "url": f"{url}/greeting?a=b"}


def test_starlette_answers_404_for_an_unknown_path(url: str) -> None:
    response = httpx.get(f"{url}/nowhere")
    assert (response.status_code, response.text) == (404, "Not Found")


async def test_starlette_speaks_websocket(url: str) -> None:
    ws_url = url.replace("http", "ws", 1)
    async with connect(f"{ws_url}/echo", subprotocols=[Subprotocol("chat")]) as client:
        await client.send("hello")
        assert await client.recv() == "hello from the lifespan"
        assert client.subprotocol == "chat"


async def test_starlette_refuses_a_websocket_at_an_unknown_path(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{url.replace('http', 'ws', 1)}/nowhere"):
            pass
    assert caught.value.response.status_code == 403


def test_fastapi_answers_in_json(url: str) -> None:
    answer = httpx.get(f"{url}/fast/items/7").json()
    assert answer == {"number": 7, "greeting": "from the lifespan"}


def test_fastapi_refuses_what_does_not_validate(url: str) -> None:
    assert httpx.get(f"{url}/fast/items/seven").status_code == 422


def test_fastapi_takes_an_upload(url: str) -> None:
    response = httpx.post(f"{url}/fast/upload", files={"file": ("a.txt", b"some text")})
    assert response.json() == {"name": "a.txt", "size": 9}


async def test_fastapi_speaks_websocket(url: str) -> None:
    async with connect(f"{url.replace('http', 'ws', 1)}/fast/echo?name=Ada") as client:
        await client.send("good day")
        assert json.loads(await client.recv()) == {"name": "Ada", "said": "good day"}
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4000
