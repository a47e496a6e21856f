from enum import StrEnum
from http import HTTPStatus
from typing import Any

import pytest

from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_worker.core.websocket import WebSocketRules, WebSocketState

ACCEPT = {"type": "websocket.accept"}
SEND = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close"}
DENY = {"type": "websocket.http.response.start", "status": 401, "headers": []}
BODY = {"type": "websocket.http.response.body", "body": b"no"}


def opened() -> WebSocketRules:
    rules = WebSocketRules()
    rules.send(ACCEPT)
    return rules


def test_accept_has_its_defaults() -> None:
    rules = WebSocketRules()
    assert rules.send(ACCEPT) == {
        **ACCEPT,
        "subprotocol": None,
        "headers": [],
        "resume": False,
    }
    assert rules.accepted
    assert not rules.closed
    assert not rules.denied


def test_accept_carries_subprotocol_and_headers() -> None:
    message = {**ACCEPT, "subprotocol": "graphql-ws", "headers": [[b"Set-Cookie", b"a=b"]]}
    event = WebSocketRules().send(message)
    assert event["subprotocol"] == "graphql-ws"
    assert event["headers"] == [(b"set-cookie", b"a=b")]


@pytest.mark.parametrize("subprotocol", ["", "a b", "a\r\nb: c", "é"])
def test_a_subprotocol_that_is_no_token_is_refused(subprotocol: str) -> None:
    with pytest.raises(ApplicationError, match="subprotocol"):
        WebSocketRules().send({**ACCEPT, "subprotocol": subprotocol})


@pytest.mark.parametrize("name", [b"Sec-WebSocket-Protocol", b"upgrade", b"connection"])
def test_what_the_handshake_writes_itself_may_not_be_given(name: bytes) -> None:
    rules = WebSocketRules()
    with pytest.raises(ApplicationError, match=r'event\["headers"\]\[0\]'):
        rules.send({**ACCEPT, "headers": [(name, b"x")]})
    assert rules.state is WebSocketState.CONNECTING


@pytest.mark.parametrize("other", [{}, {"bytes": None}])
def test_a_text_passes(other: dict[str, Any]) -> None:
    assert opened().send({**SEND, "text": "wörld", **other}) == {**SEND, "text": "wörld"}


@pytest.mark.parametrize("data", [b"\0\xff", bytearray(b"\0\xff"), memoryview(b"\0\xff")])
def test_bytes_pass_as_plain_bytes(data: object) -> None:
    event = opened().send({"type": "websocket.send", "bytes": data, "text": None})
    assert event == {"type": "websocket.send", "bytes": b"\0\xff"}
    assert type(event["bytes"]) is bytes


def test_empty_payloads_are_payloads() -> None:
    assert opened().send({"type": "websocket.send", "text": ""})["text"] == ""
    assert opened().send({"type": "websocket.send", "bytes": b""})["bytes"] == b""


def test_a_str_subclass_becomes_a_plain_str() -> None:
    class Word(StrEnum):
        HELLO = "hello"

    text = opened().send({**SEND, "text": Word.HELLO})["text"]
    assert type(text) is str
    assert text == "hello"


@pytest.mark.parametrize("payload", [{}, {"text": None}, {"text": "a", "bytes": b"b"}])
def test_exactly_one_payload_is_needed(payload: dict[str, Any]) -> None:
    with pytest.raises(ApplicationError, match="exactly one"):
        opened().send({"type": "websocket.send", **payload})


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"type": "websocket.send", "text": b"x"}, 'event["text"]'),
        ({"type": "websocket.send", "text": "a\ud800"}, 'event["text"]'),
        ({"type": "websocket.send", "bytes": "x"}, 'event["bytes"]'),
        ({"type": "websocket.close", "code": "1000"}, 'event["code"]'),
        ({"type": "websocket.close", "code": True}, 'event["code"]'),
        ({"type": "websocket.close", "code": None}, 'event["code"]'),
        ({"type": "websocket.close", "reason": b"x"}, 'event["reason"]'),
        ({"type": "websocket.close", "reason": "\udfff"}, 'event["reason"]'),
    ],
)
def test_a_wrong_type_is_named_with_its_path(message: dict[str, Any], path: str) -> None:
    rules = opened()
    with pytest.raises(TypeError) as caught:
        rules.send(message)
    assert str(caught.value).startswith(path)
    assert rules.state is WebSocketState.OPEN


def test_a_subprotocol_of_a_wrong_type_is_named() -> None:
    with pytest.raises(TypeError, match=r'event\["subprotocol"\] must be a str'):
        WebSocketRules().send({**ACCEPT, "subprotocol": b"x"})


def test_close_has_its_defaults() -> None:
    rules = opened()
    assert rules.send({**CLOSE, "reason": None}) == {**CLOSE, "code": 1000, "reason": ""}
    assert rules.closed
    assert rules.accepted
    assert not rules.denied


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
def test_codes_that_may_be_in_a_frame_pass(code: int) -> None:
    assert opened().send({**CLOSE, "code": code})["code"] == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, -1])
def test_codes_that_may_not_be_in_a_frame_are_refused(code: int) -> None:
    rules = opened()
    with pytest.raises(ApplicationError, match=r"RFC 6455 7\.4"):
        rules.send({**CLOSE, "code": code})
    assert not rules.closed


def test_a_reason_may_take_123_bytes() -> None:
    assert opened().send({**CLOSE, "reason": "é" * 61 + "x"})["reason"] == "é" * 61 + "x"
    with pytest.raises(ApplicationError, match="at most 123 bytes"):
        opened().send({**CLOSE, "reason": "é" * 62})


def test_close_before_accept_denies() -> None:
    rules = WebSocketRules()
    rules.send(CLOSE)
    assert rules.denied
    assert rules.closed
    assert not rules.accepted


def test_a_denial_response_passes_with_its_own_types() -> None:
    rules = WebSocketRules()
    assert rules.send({**DENY, "status": HTTPStatus.UNAUTHORIZED}) == DENY
    assert rules.denied
    assert not rules.closed
    assert rules.send({**BODY, "more_body": True}) == {**BODY, "more_body": True}
    assert not rules.closed
    assert rules.send(BODY) == {**BODY, "more_body": False}
    assert rules.closed


def test_a_denial_keeps_the_rules_of_a_response() -> None:
    rules = WebSocketRules()
    rules.send({**DENY, "headers": [(b"content-length", b"1")]})
    with pytest.raises(ApplicationError, match="longer than Content-Length"):
        rules.send(BODY)
    assert not rules.closed


@pytest.mark.parametrize(
    ("before", "message", "expected"),
    [
        ([], SEND, "websocket.accept"),
        ([], BODY, "websocket.accept"),
        ([ACCEPT], ACCEPT, "websocket.send"),
        ([ACCEPT], DENY, "websocket.send"),
        ([DENY], ACCEPT, "websocket.http.response.body"),
        ([DENY], CLOSE, "websocket.http.response.body"),
        ([ACCEPT, CLOSE], SEND, "has closed"),
        ([ACCEPT, CLOSE], CLOSE, "has closed"),
        ([CLOSE], ACCEPT, "has denied"),
        ([DENY, BODY], BODY, "has denied"),
        ([], {"type": "http.response.start"}, "websocket.accept"),
        ([ACCEPT], {"type": ["x"]}, "websocket.send"),
        ([ACCEPT], {}, "websocket.send"),
        ([ACCEPT], "websocket.send", "websocket.send"),
    ],
)
def test_wrong_order_says_what_is_expected(
    before: list[dict[str, Any]], message: Any, expected: str
) -> None:
    rules = WebSocketRules()
    for event in before:
        rules.send(event)
    state = rules.state
    with pytest.raises(ApplicationError, match=expected) as caught:
        rules.send(message)
    assert not isinstance(caught.value, OSError)
    assert rules.state is state


@pytest.mark.parametrize("before", [[], [ACCEPT], [DENY]])
def test_sending_after_the_client_left_is_an_os_error(before: list[dict[str, Any]]) -> None:
    rules = WebSocketRules()
    for event in before:
        rules.send(event)
    rules.receive_disconnect()
    assert rules.closed
    with pytest.raises(ClientDisconnected) as caught:
        rules.send(SEND)
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("before", [[ACCEPT, CLOSE], [CLOSE], [DENY, BODY]])
def test_what_the_application_ended_stays_so(before: list[dict[str, Any]]) -> None:
    rules = WebSocketRules()
    for event in before:
        rules.send(event)
    state = rules.state
    rules.receive_disconnect()
    assert rules.state is state
