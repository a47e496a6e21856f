"""WebSocket through real processes, with the `websockets` client and byte by byte."""

import ast
import hashlib
import os
import struct

import pytest
from tests.end_to_end.apps import pattern
from tests.end_to_end.processes import Gateway, request
from tests.end_to_end.raw_websocket import (
    CLOSE,
    CONT,
    FIN_CONT,
    FIN_TEXT,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    close_frame,
    frame,
    open_raw,
    read_frame,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close
from websockets.typing import Subprotocol


async def closing(client: ClientConnection) -> Close:
    """Wait for the end, and return the server's close frame."""
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    assert caught.value.rcvd is not None
    return caught.value.rcvd


async def refusal(gateway: Gateway, path: str) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(gateway.ws_url + path):
            pass
    return caught.value


async def test_text_comes_back(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/echo?text") as client:
        await client.send("grüße")
        assert await client.recv() == "grüße"


async def test_binary_comes_back(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/echo?binary") as client:
        await client.send(b"\x00\xff")
        assert await client.recv() == b"\x00\xff"


async def test_messages_keep_their_order(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/echo?order") as client:
        for number in range(500):
            await client.send(str(number))
        assert [await client.recv() for _ in range(500)] == [str(n) for n in range(500)]


@pytest.mark.parametrize("deflate", [None, "deflate"])
async def test_large_messages_pass_unchanged(gateway: Gateway, deflate: str | None) -> None:
    text, data = pattern(3_000_000).decode(), os.urandom(3_000_000)
    url = f"{gateway.ws_url}/echo?large"
    async with connect(url, compression=deflate, max_size=None) as client:
        await client.send(text)
        assert await client.recv() == text
        await client.send(data)
        echoed = await client.recv(decode=False)
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(data).digest()


async def test_scope_is_what_asgi_says(gateway: Gateway) -> None:
    offered = [Subprotocol("first"), Subprotocol("second")]
    async with connect(f"{gateway.ws_url}/scope?a=%20", subprotocols=offered) as client:
        scope = ast.literal_eval(str(await client.recv()))
        address = client.transport.get_extra_info("sockname")
    headers, extensions = scope.pop("headers"), scope.pop("extensions")
    assert (b"upgrade", b"websocket") in [(name, value.lower()) for name, value in headers]
    assert extensions.keys() == {"gateway", "websocket.http.response"}
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/scope",
        "raw_path": b"/scope",
        "query_string": b"a=%20",
        "root_path": "",
        "client": address,
        "server": gateway.interface.address,
        "subprotocols": ["first", "second"],
        "state": {"counter": [0], "own": "lifespan"},
    }


async def test_application_chooses_the_subprotocol(gateway: Gateway) -> None:
    offered = [Subprotocol("first"), Subprotocol("second")]
    async with connect(f"{gateway.ws_url}/greet", subprotocols=offered) as client:
        assert client.subprotocol == "second"


async def test_application_adds_headers_to_the_handshake(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/greet", subprotocols=[Subprotocol("second")]) as client:
        assert client.response is not None
        assert client.response.headers["x-greeting"] == "good day"


async def test_close_before_accept_is_403(gateway: Gateway) -> None:
    assert (await refusal(gateway, "/refuse")).response.status_code == 403


async def test_application_denies_with_a_response_of_its_own(gateway: Gateway) -> None:
    response = (await refusal(gateway, "/deny")).response
    assert (response.status_code, response.headers["x-why"]) == (401, "no ticket")
    assert response.body == b"no entry"


async def test_application_closes_with_code_and_reason(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/close?4001") as client:
        assert await client.recv() == "last words"
        assert await closing(client) == Close(4001, "as asked")


async def test_application_hears_the_code_and_the_reason_of_the_client(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/echo?codes") as client:
        await client.close(4002, "goodbye")
    assert gateway.launcher.wait_for_note("codes") == ["websocket.disconnect 4002 goodbye"]


def test_client_that_vanishes_is_1006_to_the_application(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?vanished")
    client.sock.close()
    assert gateway.launcher.wait_for_note("vanished") == ["websocket.disconnect 1006 "]


def test_close_without_a_code_is_1005_to_the_application(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?no-code")
    with client:
        client.send(frame(CLOSE, b""))
        assert read_frame(client) == (CLOSE, b"")
    assert gateway.launcher.wait_for_note("no-code") == ["websocket.disconnect 1005 "]


async def test_sending_after_the_client_left_raises_an_oserror(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/send-after-leave?ws-left"):
        pass
    assert gateway.launcher.wait_for_note("ws-left") == ["ClientDisconnected"]


async def test_application_that_returns_closes_with_1000(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/return") as client:
        assert (await closing(client)).code == 1000


async def test_application_that_raises_closes_with_1011(gateway: Gateway) -> None:
    async with connect(f"{gateway.ws_url}/raise") as client:
        assert (await closing(client)).code == 1011
    gateway.worker.wait_for("ValueError: raised in a websocket")
    assert "application failed websocket '/raise'" in gateway.worker.stderr


def test_bytes_before_the_answer_are_held_and_delivered_after_it(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(request("/slow?held", *HANDSHAKE) + frame(FIN_TEXT, b"hasty"))
        gateway.launcher.wait_for_note("held")
        client.send(frame(FIN_TEXT, b"again"))
        gateway.launcher.open_gate("held")
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert read_frame(client) == (FIN_TEXT, b"hasty")
        assert read_frame(client) == (FIN_TEXT, b"again")


def test_fragments_are_one_message(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?fragments")
    with client:
        client.send(frame(TEXT, b"in ") + frame(PING, b"between") + frame(CONT, b"three "))
        assert read_frame(client) == (PONG, b"between")
        client.send(frame(FIN_CONT, b"parts"))
        assert read_frame(client) == (FIN_TEXT, b"in three parts")


def test_ping_is_answered_with_its_payload(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?ping")
    with client:
        client.send(frame(PING, b"are you there"))
        assert read_frame(client) == (PONG, b"are you there")


def test_text_that_is_no_utf_8_closes_with_1007(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?bad-text")
    with client:
        client.send(frame(FIN_TEXT, b"\xff"))
        opcode, payload = read_frame(client)
    assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1007))


def test_frame_against_the_protocol_closes_with_1002(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?bad-frame")
    with client:
        client.send(frame(FIN_CONT, b"of nothing"))
        opcode, payload = read_frame(client)
    assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1002))


def test_close_frame_is_answered_and_the_socket_closed(gateway: Gateway) -> None:
    client, _ = open_raw(gateway, "/echo?closed")
    with client:
        client.send(close_frame(1000))
        assert read_frame(client) == (CLOSE, struct.pack("!H", 1000))
        assert client.rest() == b""


def test_deflate_is_negotiated_without_context(gateway: Gateway) -> None:
    client, head = open_raw(gateway, "/echo?offer", "sec-websocket-extensions: permessage-deflate")
    client.sock.close()
    (field,) = [line for line in head.split("\r\n") if "extensions" in line]
    assert "permessage-deflate" in field
    assert "server_no_context_takeover" in field
    assert "client_no_context_takeover" in field


@pytest.mark.parametrize(("size", "compressed"), [(100, False), (3000, True)])
def test_only_longer_messages_are_compressed(gateway: Gateway, size: int, compressed: bool) -> None:
    offer = "sec-websocket-extensions: permessage-deflate"
    client, _ = open_raw(gateway, "/echo?compressed", offer)
    with client:
        client.send(
            b"".join(frame(TEXT if at == 0 else CONT, b"x" * 100) for at in range(0, size, 100))
        )
        client.send(frame(FIN_CONT, b""))
        opcode, payload = read_frame(client)
    assert bool(opcode & 0x40) is compressed
    assert (len(payload) < size) is compressed


async def test_malformed_handshakes_are_refused(gateway: Gateway) -> None:
    fields = [field for field in HANDSHAKE if "key" not in field]
    assert gateway.request("/echo", *fields).status in (400, 426)
    old = [field.replace("13", "8") for field in HANDSHAKE]
    answer = gateway.request("/echo", *old)
    assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")
