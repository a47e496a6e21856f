"""WebSocket as every ASGI site has it, and what plain ASGI alone can do."""

from typing import Any

from tests.differential.client import (
    BINARY,
    CONT,
    FIN,
    HANDSHAKE,
    PING,
    PONG,
    RSV1,
    TEXT,
    Visit,
    deflate,
    frame,
    inflate,
)
from tests.differential.exchanges.registry import ASGI, PLAIN, Exchanges

EXCHANGES = Exchanges(*ASGI)
RAW = Exchanges(*PLAIN)
"""For plain ASGI, and for what no application makes a difference to."""

MIB = 2**20


def talk(visit: Visit, *frames: tuple[int, bytes], path: str = "/ws/echo") -> Any:
    """Send each frame, read the answer to each, and close."""
    ws = visit.websocket(path)
    seen = []
    for opcode, payload in frames:
        ws.frame(opcode, payload)
        seen.append(ws.read())
    return {"handshake": ws.answer, "frames": [*seen, *ws.end()]}


def provoke(visit: Visit, data: bytes) -> Any:
    """Send what is wrong and read what comes."""
    ws = visit.websocket("/ws/echo")
    ws.client.send(data)
    return ws.finish()


# Messages.


@EXCHANGES.add
def ws_text(visit: Visit) -> Any:
    return talk(visit, (TEXT, b"hello"), (TEXT, "grüße €".encode()), (TEXT, b""))


@EXCHANGES.add
def ws_binary(visit: Visit) -> Any:
    return talk(visit, (BINARY, b"\0\xff"), (BINARY, b""))


@EXCHANGES.add
def ws_fragments(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    ws.frame(TEXT, b"gr\xc3", flags=0)
    ws.frame(CONT, b"\xbc", flags=0)
    ws.frame(PING, b"between")
    pong = ws.read()
    ws.frame(CONT, b"sse")
    return {"handshake": ws.answer, "frames": [pong, ws.read(), *ws.end()]}


@EXCHANGES.add
def ws_ping(visit: Visit) -> Any:
    return talk(visit, (PING, b""), (PING, b"x" * 125))


@EXCHANGES.add
def ws_unasked_pong(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    ws.frame(PONG, b"nobody asked")
    ws.text("after")
    return {"handshake": ws.answer, "frames": [ws.read(), *ws.end()]}


@EXCHANGES.add
def ws_large(visit: Visit) -> Any:
    return talk(visit, (TEXT, b"x" * MIB), (BINARY, bytes(range(256)) * 16_384))


@EXCHANGES.add
def ws_sizes_around_the_forms_of_length(visit: Visit) -> Any:
    return talk(visit, *((BINARY, b"x" * size) for size in (125, 126, 65_535, 65_536)))


@EXCHANGES.add
def ws_many(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    for number in range(300):
        ws.text(f"message {number}")
    return {"frames": [ws.read() for _ in range(300)], "end": ws.end()}


@EXCHANGES.add
def ws_many_from_the_application(visit: Visit) -> Any:
    return visit.websocket("/ws/count/300").finish()


@RAW.add
def ws_early(visit: Visit) -> Any:
    """A frame in the same packet as the handshake."""
    with visit.connect() as client:
        client.send(visit.head("/ws/echo", *HANDSHAKE) + frame(TEXT, b"early"))
        status = client.head()["status"]
        return [status, client.comes_within(2.0)]


@EXCHANGES.add
def ws_compressed(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo", "sec-websocket-extensions: permessage-deflate")
    message = b"again and " * 100
    ws.frame(TEXT, deflate(message), flags=FIN | RSV1)
    first, payload = ws.raw() or (0, b"")
    text = (inflate(payload) if first & RSV1 else payload) == message
    return {"handshake": ws.answer, "right": text, "flags": first, "end": ws.end()}


# Ends.


@EXCHANGES.add
def ws_client_closes(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    return {"handshake": ws.answer, "end": ws.end(1000, "bye")}


@EXCHANGES.add
def ws_client_closes_with_own_code(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    return {"handshake": ws.answer, "end": ws.end(4001, "für mich")}


@EXCHANGES.add
def ws_client_closes_without_code(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    return {"handshake": ws.answer, "end": ws.end(None)}


@EXCHANGES.add
def ws_client_vanishes(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo")
    ws.text("still there")
    seen = ws.read()
    ws.client.leave()
    return [ws.answer, seen]


@EXCHANGES.add
def ws_application_closes(visit: Visit) -> Any:
    return visit.websocket("/ws/close/1000").finish()


@EXCHANGES.add
def ws_application_closes_with_own_code(visit: Visit) -> Any:
    return visit.websocket("/ws/close/4002").finish()


@EXCHANGES.add
def ws_refused(visit: Visit) -> Any:
    return visit.websocket("/ws/refuse").finish()


@EXCHANGES.add
def ws_denied(visit: Visit) -> Any:
    return visit.websocket("/ws/deny").finish()


@EXCHANGES.add
def ws_unknown_path(visit: Visit) -> Any:
    return visit.websocket("/ws").finish()


@EXCHANGES.add
def ws_error(visit: Visit) -> Any:
    return visit.websocket("/ws/error").finish()


@EXCHANGES.add
def ws_error_before_accept(visit: Visit) -> Any:
    return visit.websocket("/ws/error-early").finish()


@EXCHANGES.add
def ws_application_returns(visit: Visit) -> Any:
    return visit.websocket("/ws/leave").finish()


# Handshakes.


@EXCHANGES.add
def ws_greeted(visit: Visit) -> Any:
    ws = visit.websocket("/ws/greet")
    return {"handshake": ws.answer, "frames": [ws.read(), *ws.end()]}


@EXCHANGES.add
def ws_subprotocol(visit: Visit) -> Any:
    ws = visit.websocket("/ws/greet", "sec-websocket-protocol: chat, superchat")
    return {"handshake": ws.answer, "frames": [ws.read(), *ws.end()]}


@EXCHANGES.add
def ws_subprotocols_in_two_fields(visit: Visit) -> Any:
    fields = ("sec-websocket-protocol: one,two", "sec-websocket-protocol: three")
    ws = visit.websocket("/ws/greet", *fields)
    return {"handshake": ws.answer, "frames": [ws.read(), *ws.end()]}


@EXCHANGES.add
def ws_path_query_and_fields(visit: Visit) -> Any:
    fields = ("cookie: a=1", "origin: http://here", "x-twice: 1", "x-twice: caf\xe9")
    ws = visit.websocket("/ws/echo?a=%C3%A9&b", *fields)
    return {"handshake": ws.answer, "end": ws.end()}


@EXCHANGES.add
def ws_path_for_http(visit: Visit) -> Any:
    return visit.ask("/ws/echo")


@EXCHANGES.add
def ws_handshake_at_a_path_for_http(visit: Visit) -> Any:
    return visit.websocket("/stream").finish()


@RAW.add
def ws_escaped_path(visit: Visit) -> Any:
    ws = visit.websocket("/ws/echo/caf%C3%A9%2F%ff")
    return {"handshake": ws.answer, "end": ws.end()}


def shake(visit: Visit, *fields: str, method: str = "GET", version: str = "1.1") -> Any:
    with visit.connect() as client:
        client.send(visit.head("/ws/echo", *fields, method=method, version=version))
        answer = client.answer(method)
        return {**answer, "connection": client.after(answer)}


@RAW.add
def ws_without_key(visit: Visit) -> Any:
    return shake(visit, *HANDSHAKE[:3])


@RAW.add
def ws_with_malformed_key(visit: Visit) -> Any:
    return shake(visit, *HANDSHAKE[:3], "sec-websocket-key: short")


@RAW.add
def ws_without_version(visit: Visit) -> Any:
    return shake(visit, *HANDSHAKE[:2], HANDSHAKE[3])


@RAW.add
def ws_of_version_8(visit: Visit) -> Any:
    return shake(visit, *HANDSHAKE[:2], "sec-websocket-version: 8", HANDSHAKE[3])


# Wrong frames.


@RAW.add
def ws_invalid_utf_8(visit: Visit) -> Any:
    return provoke(visit, frame(TEXT, b"\xff"))


@RAW.add
def ws_unmasked(visit: Visit) -> Any:
    return provoke(visit, frame(TEXT, b"bare", masked=False))


@RAW.add
def ws_reserved_opcode(visit: Visit) -> Any:
    return provoke(visit, frame(0x3, b"what"))


@RAW.add
def ws_reserved_bit(visit: Visit) -> Any:
    return provoke(visit, frame(TEXT, b"bit", flags=FIN | RSV1))


@RAW.add
def ws_continuation_of_nothing(visit: Visit) -> Any:
    return provoke(visit, frame(CONT, b"and then"))


@RAW.add
def ws_fragmented_ping(visit: Visit) -> Any:
    return provoke(visit, frame(PING, b"half", flags=0))


@RAW.add
def ws_ping_of_126(visit: Visit) -> Any:
    return provoke(visit, frame(PING, b"x" * 126))


@RAW.add
def ws_close_with_reserved_code(visit: Visit) -> Any:
    return provoke(visit, frame(0x8, b"\x03\xed"))


@RAW.add
def ws_close_of_one_octet(visit: Visit) -> Any:
    return provoke(visit, frame(0x8, b"\x03"))


@RAW.add
def ws_too_large(visit: Visit) -> Any:
    """16 MiB are allowed by both; that 17 come is told in the head of the frame."""
    return provoke(visit, b"\x82\xff" + (17 * MIB).to_bytes(8, "big") + bytes(4))


# Plain ASGI.


@RAW.add
def ws_receive_after_close(visit: Visit) -> Any:
    return visit.websocket("/ws/linger/4002").finish()


@RAW.add
def ws_send_after_close(visit: Visit) -> Any:
    return visit.websocket("/ws/after-close/1000").finish()


@RAW.add
def ws_send_after_the_client_left(visit: Visit) -> Any:
    ws = visit.websocket("/ws/after-leave")
    return {"handshake": ws.answer, "end": ws.end()}


@RAW.add
def ws_send_before_accept(visit: Visit) -> Any:
    return visit.websocket("/ws/silent-accept").finish()


@RAW.add
def ws_accept_twice(visit: Visit) -> Any:
    return visit.websocket("/ws/twice").finish()


@RAW.add
def ws_accept_without_receive(visit: Visit) -> Any:
    ws = visit.websocket("/ws/unasked")
    return {"handshake": ws.answer, "frames": [ws.read(), *ws.end()]}


@RAW.add
def ws_returns_without_answer(visit: Visit) -> Any:
    return visit.websocket("/ws/leave-early").finish()


@RAW.add
def ws_text_and_bytes_keys(visit: Visit) -> Any:
    return visit.websocket("/ws/both").finish()
