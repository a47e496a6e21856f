"""The examples, each started by the commands of its README, as a reader would do it."""

import asyncio
import base64
import hashlib
import json
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.end_to_end.processes import TIMEOUT_S, Launcher, RawClient, request as head_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from gateway_layer.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = (
    *("hello", "chat", "classic", "flask_shop", "django_chat"),
    *("fastapi_stream", "consumers", "background"),
)


def commands_of(name: str) -> list[list[str]]:
    """The commands that the README of an example shows."""
    text = (ROOT / "examples" / name / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture(scope="module")
def launch(
    request: pytest.FixtureRequest,
    redis_server: EmbeddedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Launcher]:
    """The running example of this name; the tests of one example share it."""
    name: str = request.param
    launcher = Launcher(tmp_path_factory.mktemp(name), redis_server.url)
    env = {"CHAT_DATABASE": str(launcher.folder / "chat.sqlite3")}
    try:
        for command, *words in commands_of(name):
            if command == "python" and "migrate" in words:
                start = [sys.executable, *words]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("CHAT_DATABASE", env["CHAT_DATABASE"])
                    subprocess.run(start, cwd=ROOT, check=True, capture_output=True, timeout=50)
            elif command == "export":
                env["GATEWAY_REDIS"] = redis_server.url
            elif command == "gateway-worker":
                options = [word for word in words if word != "&"]
                launcher.run(command, *options, "--app-dir", str(ROOT), **env)
            elif command == "gateway-dev":
                # Two workers, so that nothing works only because all is in one process.
                options = ["--bind", "127.0.0.1:0", "--workers", "2", "--no-reload"]
                launcher.run(command, *words, *options, "--app-dir", str(ROOT), **env)
        for started in launcher.commands:
            started.wait_ready()
        yield launcher
    finally:
        launcher.close()


@pytest.fixture
def url(launch: Launcher) -> str:
    """Where the example serves."""
    return launch.commands[-1].urls[0]


@pytest.fixture
def ws_url(url: str) -> str:
    return url.replace("http", "ws", 1)


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """One visitor of the example, who keeps cookies."""
    async with httpx.AsyncClient(base_url=url, follow_redirects=True, timeout=TIMEOUT_S) as client:
        yield client


def example(name: str) -> pytest.MarkDecorator:
    """The test is about this example."""
    return pytest.mark.parametrize("launch", [name], indirect=True, scope="module")


async def read_json(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT_S):
        frame: dict[str, Any] = json.loads(await client.recv())
        return frame


@pytest.mark.parametrize("name", EXAMPLES)
def test_readme_has_five_lines_and_a_command(name: str) -> None:
    lines = (ROOT / "examples" / name / "README.md").read_text().splitlines()
    assert len([line for line in lines if line]) == 5
    commands = [words for words in commands_of(name) if words[0] == "gateway-dev"]
    assert [words[:2] for words in commands] == [["gateway-dev", f"examples.{name}.app:app"]]


# --- hello, classic -------------------------------------------------------------------------------


@example("hello")
async def test_hello_greets(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).text == "Hello, world!"


@example("classic")
async def test_classic_describes_a_request(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/any/path?of=yours")
    assert answer.text == "DELETE /any/path\nquery: of=yours\n"


@example("classic")
async def test_classic_has_an_instance_for_each_websocket(ws_url: str) -> None:
    # Three, of which two at least are with the same worker.
    async with connect(ws_url) as one, connect(ws_url) as two, connect(ws_url) as three:
        for client in (one, two, three):
            await client.send("a")
            assert await client.recv() == "1: a"
        await one.send(b"\0\1")
        assert await one.recv() == "2: 2 bytes"


# --- chat -----------------------------------------------------------------------------------------


@example("chat")
async def test_chat_welcomes_who_joins(ws_url: str) -> None:
    async with connect(f"{ws_url}/ws") as client:
        await client.send(json.dumps({"type": "join", "name": "Ada"}))
        assert (await read_json(client))["type"] == "welcome"


# --- flask_shop -----------------------------------------------------------------------------------


@example("flask_shop")
async def test_shop_keeps_the_cart_of_each_visitor(http: httpx.AsyncClient, url: str) -> None:
    await http.post("/cart/sencha", data={"packets": 2})
    page = (await http.post("/cart/assam", data={"packets": 1})).text
    assert "2 packets of Sencha" in page
    assert "€ 22.70" in page
    async with httpx.AsyncClient(base_url=url) as other:
        assert "Your cart is empty." in (await other.get("/")).text


@example("flask_shop")
async def test_shop_takes_an_order_once(http: httpx.AsyncClient) -> None:
    await http.post("/cart/oolong", data={"packets": 3})
    assert "On the way: 3 packets." in (await http.post("/order")).text
    assert "The cart is empty." in (await http.post("/order")).text


@example("flask_shop")
@pytest.mark.parametrize("path", ["/cart/coffee", "/cart/assam"])
async def test_shop_refuses_what_it_does_not_sell(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path, data={"packets": 0})).status_code == 400


@example("flask_shop")
async def test_shop_streams_its_prices(http: httpx.AsyncClient) -> None:
    answer = await http.get("/prices.csv")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text.splitlines()[0] == "1,Assam,590"


# --- fastapi_stream -------------------------------------------------------------------------------


async def events_of(
    http: httpx.AsyncClient, name: str, path: str = "/events?since=0-0", **headers: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Id and content of each event about uploads of this name."""
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    last_id = ""
    async with asyncio.timeout(TIMEOUT_S), http.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                last_id = value
            elif field == "data" and (event := json.loads(value))["name"] == name:
                yield last_id, event


async def until(
    events: AsyncIterator[tuple[str, dict[str, Any]]], state: str
) -> list[tuple[str, dict[str, Any]]]:
    found = []
    async for event_id, event in events:
        found.append((event_id, event))
        if event["state"] == state:
            return found
    raise AssertionError(f"the events ended without {state!r}")


@example("fastapi_stream")
async def test_upload_is_taken_whole(http: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 16384
    answer = await http.put("/uploads/whole", content=content)
    assert answer.json() == {
        "name": "whole",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@example("fastapi_stream")
async def test_upload_is_seen_to_grow_while_it_is_sent(http: httpx.AsyncClient) -> None:
    go_on = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield bytes(2_097_152)
        await go_on.wait()
        yield bytes(10)

    sending = asyncio.create_task(http.put("/uploads/slow", content=content()))
    seen = await until(events_of(http, "slow"), "under way")
    assert seen[-1][1]["received"] < 2_097_162
    go_on.set()
    assert (await sending).json()["size"] == 2_097_162
    assert (await until(events_of(http, "slow"), "done"))[-1][1]["received"] == 2_097_162


@example("fastapi_stream")
async def test_events_go_on_after_the_last_one_that_was_seen(http: httpx.AsyncClient) -> None:
    await http.put("/uploads/seen", content=bytes(3_000_000))
    everything = await until(events_of(http, "seen"), "done")
    assert len(everything) > 2
    rest = await until(events_of(http, "seen", last_event_id=everything[0][0]), "done")
    assert rest == everything[1:]


@example("fastapi_stream")
async def test_new_page_gets_what_happens_from_now_on(http: httpx.AsyncClient) -> None:
    await http.put("/uploads/before", content=b"1")
    async with asyncio.timeout(TIMEOUT_S), http.stream("GET", "/events") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        await http.put("/uploads/after", content=b"1")
        async for line in lines:
            assert "before" not in line
            if '"state": "done"' in line:
                break


@example("fastapi_stream")
async def test_upload_that_breaks_off_is_told(url: str, http: httpx.AsyncClient) -> None:
    address = url.removeprefix("http://").split(":")
    with RawClient(socket.create_connection((address[0], int(address[1])), TIMEOUT_S)) as client:
        client.send(head_of("/uploads/broken", "content-length: 1000", method="PUT") + b"begun")
        await until(events_of(http, "broken"), "begun")
    assert (await until(events_of(http, "broken"), "broken off"))[-1][1]["total"] == 1000


@example("fastapi_stream")
async def test_wrong_event_id_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/events", headers={"last-event-id": "$"})
    assert answer.status_code == 422


# --- django_chat ----------------------------------------------------------------------------------


async def enter(http: httpx.AsyncClient, name: str, room: str) -> dict[str, str]:
    """Go through the lobby into a room; the headers with which the page's WebSocket comes."""
    await http.get("/")
    form = {"name": name, "room": room, "csrfmiddlewaretoken": http.cookies["csrftoken"]}
    page = await http.post("/", data=form)
    assert f"Write, {name}" in page.text
    origin = str(http.base_url).rstrip("/")
    return {"Cookie": f"sessionid={http.cookies['sessionid']}", "Origin": origin}


@example("django_chat")
async def test_what_one_says_in_a_room_the_other_hears(
    http: httpx.AsyncClient, url: str, ws_url: str
) -> None:
    async with httpx.AsyncClient(base_url=url, follow_redirects=True) as second:
        ada = await enter(http, "Ada", "garden")
        grace = await enter(second, "Grace", "garden")
    async with (
        connect(f"{ws_url}/ws/garden/", additional_headers=ada) as one,
        connect(f"{ws_url}/ws/garden/", additional_headers=grace) as other,
    ):
        assert [await read_json(one), await read_json(other)] == [{"history": []}] * 2
        await one.send(json.dumps({"text": "good morning"}))
        line = (await read_json(other))["line"]
        assert (line["name"], line["text"]) == ("Ada", "good morning")


@example("django_chat")
async def test_a_room_remembers(http: httpx.AsyncClient, ws_url: str) -> None:
    headers = await enter(http, "Ada", "archive")
    async with connect(f"{ws_url}/ws/archive/", additional_headers=headers) as client:
        await read_json(client)
        for number in range(3):
            await client.send(json.dumps({"text": f"line {number}"}))
            await read_json(client)
    async with connect(f"{ws_url}/ws/archive/", additional_headers=headers) as client:
        history = (await read_json(client))["history"]
    assert [line["text"] for line in history] == ["line 0", "line 1", "line 2"]
    assert 'archive</a> <span class="faint">3 lines' in (await http.get("/")).text


@example("django_chat")
@pytest.mark.parametrize("text", ["[]", '{"text": " "}', json.dumps({"text": "x" * 501})])
async def test_a_wrong_line_is_answered(http: httpx.AsyncClient, ws_url: str, text: str) -> None:
    headers = await enter(http, "Ada", "errors")
    async with connect(f"{ws_url}/ws/errors/", additional_headers=headers) as client:
        await read_json(client)
        await client.send(text)
        assert "error" in await read_json(client)


@example("django_chat")
async def test_who_has_no_name_stays_outside(http: httpx.AsyncClient, ws_url: str) -> None:
    assert (await http.get("/garden/")).url.path == "/"
    with pytest.raises(InvalidStatus, match="403"):
        await connect(f"{ws_url}/ws/garden/")


@example("django_chat")
async def test_a_page_of_another_site_stays_outside(http: httpx.AsyncClient, ws_url: str) -> None:
    headers = await enter(http, "Ada", "garden") | {"Origin": "http://elsewhere.example"}
    with pytest.raises(InvalidStatus, match="403"):
        await connect(f"{ws_url}/ws/garden/", additional_headers=headers)


# --- consumers ------------------------------------------------------------------------------------

STROKE = {"colour": "#336699", "line": [0, 0.5, 1, 0.25]}


@example("consumers")
async def test_board_shows_a_stroke_to_everybody(http: httpx.AsyncClient, ws_url: str) -> None:
    assert "Drawing board" in (await http.get("/")).text
    async with connect(f"{ws_url}/board") as one, connect(f"{ws_url}/board") as other:
        await one.send(json.dumps(STROKE))
        assert [await read_json(one), await read_json(other)] == [STROKE, STROKE]


@example("consumers")
@pytest.mark.parametrize(
    "wrong", [[], STROKE | {"line": [0, 0, 0, 2]}, STROKE | {"colour": "red"}, STROKE | {"a": 1}]
)
async def test_board_closes_on_what_is_no_stroke(ws_url: str, wrong: object) -> None:
    async with connect(f"{ws_url}/board") as client:
        await client.send(json.dumps(wrong))
        with pytest.raises(ConnectionClosedError, match="that is no stroke"):
            await client.recv()


@example("consumers")
async def test_other_addresses_are_not_there(http: httpx.AsyncClient, ws_url: str) -> None:
    assert (await http.get("/other")).status_code == 404
    with pytest.raises(InvalidStatus, match="403"):
        await connect(f"{ws_url}/other")


# --- background -----------------------------------------------------------------------------------

PLACE = {"x": -0.5, "y": 0, "width": 3.2}


@example("background")
async def test_thumbnail_is_pushed_to_the_page_that_wanted_it(
    http: httpx.AsyncClient, ws_url: str
) -> None:
    assert "Thumbnails" in (await http.get("/")).text
    async with connect(f"{ws_url}/desk") as one, connect(f"{ws_url}/desk") as other:
        await one.send(json.dumps(PLACE))
        await other.send(json.dumps(PLACE | {"width": 1}))
        answers = [await read_json(one), await read_json(other)]
    assert [answer["place"] for answer in answers] == [PLACE, PLACE | {"width": 1}]
    for answer in answers:
        assert base64.b64decode(answer["png"]).startswith(b"\x89PNG\r\n")


@example("background")
async def test_painter_goes_on_when_a_page_has_left(ws_url: str) -> None:
    async with connect(f"{ws_url}/desk") as gone:
        await gone.send(json.dumps(PLACE))
    async with connect(f"{ws_url}/desk") as client:
        await client.send(json.dumps(PLACE))
        assert (await read_json(client))["place"] == PLACE


@example("background")
@pytest.mark.parametrize(
    "wrong", [[], {"x": 0, "y": 0}, PLACE | {"width": 0}, PLACE | {"x": 10**400}]
)
async def test_desk_closes_on_what_is_no_place(ws_url: str, wrong: object) -> None:
    async with connect(f"{ws_url}/desk") as client:
        await client.send(json.dumps(wrong))
        with pytest.raises(ConnectionClosedError, match="that is no place"):
            await client.recv()
