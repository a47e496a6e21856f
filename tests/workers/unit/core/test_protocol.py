"""What an application may send on a connection of a protocol of its own."""

from typing import Any

import pytest

from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_worker.core.protocol import ProtocolRules, ProtocolState

ACCEPT = {"type": "line.accept"}
SEND = {"type": "line.send", "text": "x"}


@pytest.fixture
def rules() -> ProtocolRules:
    return ProtocolRules("line")


@pytest.fixture
def opened(rules: ProtocolRules) -> ProtocolRules:
    rules.send(ACCEPT)
    return rules


@pytest.mark.parametrize("resume", [True, False])
def test_accept_says_whether_the_connection_can_be_resumed(
    rules: ProtocolRules, resume: bool
) -> None:
    assert rules.send({**ACCEPT, "resume": resume})["resume"] is resume
    assert rules.state is ProtocolState.OPEN


def test_connection_is_not_resumed_unless_accept_says_so(rules: ProtocolRules) -> None:
    assert rules.send(ACCEPT) == {"type": "line.accept", "resume": False}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "line.send", "text": "grüße"},
        {"type": "line.send", "bytes": b"\x00"},
        {"type": "line.colour", "rgb": [1, 2, {"three": None}]},
        {"type": "line.send.later", "text": "", "after_s": 0.5},
    ],
)
def test_any_message_of_the_protocol_passes_as_it_is(
    opened: ProtocolRules, message: dict[str, Any]
) -> None:
    assert opened.send(message) == message


def test_message_is_a_copy(opened: ProtocolRules) -> None:
    message: dict[str, Any] = {"type": "line.colour", "rgb": [1]}
    event = opened.send(message)
    message["rgb"].append(2)
    assert event["rgb"] == [1]


def test_close_has_a_code_and_a_reason(opened: ProtocolRules) -> None:
    expected = {"type": "line.close", "code": 1000, "reason": ""}
    assert opened.send({"type": "line.close", "reason": None}) == expected
    assert opened.state is ProtocolState.CLOSED


def test_close_before_accept_refuses(rules: ProtocolRules) -> None:
    rules.send({"type": "line.close"})
    assert rules.closed
    assert rules.state is ProtocolState.DENIED


@pytest.mark.parametrize(
    "message",
    [
        SEND,
        {"type": "websocket.accept"},
        {"type": "line"},
        {"type": "lines.accept"},
        {"type": "line.connect"},
        {"type": 1},
        {},
        "line.accept",
    ],
    ids=str,
)
def test_message_that_does_not_begin_the_connection_is_refused(
    rules: ProtocolRules, message: Any
) -> None:
    with pytest.raises(ApplicationError, match="unexpected"):
        rules.send(message)
    assert rules.state is ProtocolState.CONNECTING


@pytest.mark.parametrize(
    "message",
    [ACCEPT, {"type": "line.disconnect"}, {"type": "line.send", "text": "x", "bytes": b"x"}],
    ids=str,
)
def test_message_that_an_open_connection_does_not_take_is_refused(
    opened: ProtocolRules, message: Any
) -> None:
    with pytest.raises(ApplicationError, match="unexpected"):
        opened.send(message)


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"type": "line.send", "text": b"x"}, 'event\\["text"\\] must be a str'),
        ({"type": "line.send", "text": "\ud800"}, 'event\\["text"\\] holds a lone surrogate'),
        ({"type": "line.send", "bytes": "x"}, 'event\\["bytes"\\] must be bytes'),
        ({"type": "line.colour", "rgb": [{1}]}, 'event\\["rgb"\\]\\[0\\]'),
        ({"type": "line.close", "code": True}, 'event\\["code"\\] must be a int'),
        ({"type": "line.close", "reason": 1}, 'event\\["reason"\\] must be a str'),
    ],
)
def test_value_of_a_wrong_type_is_named(
    opened: ProtocolRules, message: dict[str, Any], path: str
) -> None:
    with pytest.raises(TypeError, match=path):
        opened.send(message)
    assert opened.state is ProtocolState.OPEN


def test_only_text_and_bytes_may_be_large(opened: ProtocolRules) -> None:
    opened.send({"type": "line.send", "text": "x" * 100_000})
    with pytest.raises(ApplicationError, match="4096 may be sent"):
        opened.send({"type": "line.send", "body": b"x" * 4097})


def test_after_the_client_left_sending_raises_an_oserror(opened: ProtocolRules) -> None:
    opened.receive_disconnect()
    with pytest.raises(ClientDisconnected):
        opened.send(SEND)


def test_what_the_application_closed_stays_closed_by_it(opened: ProtocolRules) -> None:
    opened.send({"type": "line.close"})
    opened.receive_disconnect()
    assert opened.state is ProtocolState.CLOSED
    with pytest.raises(ApplicationError, match="has closed"):
        opened.send(SEND)
