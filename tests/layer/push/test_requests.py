"""Requests and answers without I/O."""

from typing import Any

import pytest

from gateway_layer.codec import pack, unpack
from gateway_layer.errors import (
    ChannelFull,
    ConnectionGone,
    LayerUnavailable,
    MessageTooLarge,
    ProtocolError,
    PushTimeout,
)
from gateway_layer.push.events import check_event, check_key, close_event, send_event
from gateway_layer.push.frames import FRAMES, PUSH_CAPACITY, Push
from gateway_layer.push.owners import Owners
from gateway_layer.push.requests import (
    add_request,
    discard_request,
    group_list_request,
    group_results,
    group_send_request,
    info_of,
    info_request,
    outcome_of,
    push_request,
    push_requests,
    read_answers,
    script_calls,
    split_reply_channel,
)
from gateway_layer.redis.keys import Keys
from gateway_layer.wire import MAX_ENTRY_BYTES, envelope_head, read_entry

SEND = {"type": "websocket.send", "text": "x"}


@pytest.mark.parametrize("channel", ["", "queue", "a!", "!b", "a!b!c", "a b!c", None, 5])
def test_what_is_no_reply_channel_is_refused(channel: Any) -> None:
    with pytest.raises(TypeError):
        split_reply_channel(channel)


@pytest.mark.parametrize(
    "given", [{}, {"text": "x", "data": b"y"}, {"text": b"x"}, {"data": "x"}, {"text": "\ud800"}]
)
def test_message_is_one_of_text_bytes_and_json(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        send_event(**given)


def test_message_over_16_mib_is_too_large() -> None:
    with pytest.raises(MessageTooLarge):
        send_event(data=bytes(16 * 2**20))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_close_code_that_may_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        close_event(code, "")


def test_close_reason_has_123_bytes() -> None:
    assert close_event(1000, "x" * 123)["reason"] == "x" * 123
    with pytest.raises(ValueError, match="123 bytes"):
        close_event(1000, "ü" * 62)


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"type": "websocket.accept"},
        {"type": ["websocket.send"]},
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": 5, "bytes": b"x"},
        {"type": "websocket.send", "text": "x", "bytes": b"x"},
        {"type": "websocket.close", "code": "1000"},
        {"type": "websocket.close", "code": True},
        {"type": "websocket.close", "code": 1006},
        {"type": "websocket.close", "code": 1000, "reason": b"x"},
    ],
)
def test_event_that_cannot_be_pushed_is_refused(event: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        check_event(event)


def test_event_keeps_nothing_beside_its_message() -> None:
    assert check_event({**SEND, "bytes": None, "gateway.part": True}) == SEND
    assert check_event({"type": "websocket.close"})["code"] == 1000


@pytest.mark.parametrize("key", ["", "k" * 129, b"k", 5])
def test_key_is_a_short_str(key: Any) -> None:
    with pytest.raises(TypeError, match="idempotency key"):
        check_key(key)


@pytest.mark.parametrize(
    "request_",
    [
        push_request("p!c", SEND, "key", confirm=True),
        info_request("p!c"),
        add_request("g", "p!c"),
        discard_request("g", "p!c"),
        group_send_request("g", SEND, ["p!c"], "key"),
        group_list_request("g"),
    ],
    ids=lambda request: str(request.op),
)
def test_owner_reads_what_a_request_packs(request_: Any) -> None:
    frame = unpack(request_.packed(("r", 1)))
    read = FRAMES[frame[1]]._make(frame)
    assert (read.connection, read.reply, frame[3:]) == (
        request_.connection,
        ("r", 1),
        request_.rest,
    )


def test_excluded_are_named_by_their_connections() -> None:
    assert group_send_request("g", SEND, ["p!a", "q!b"]).rest[2] == ("a", "b")
    with pytest.raises(TypeError, match="sequence"):
        group_send_request("g", SEND, "p!a")


def test_many_are_cut_by_number_and_by_size() -> None:
    by_number = [len(run) for run in push_requests([("p!c", SEND)] * 2500)]
    big = {"type": "websocket.send", "bytes": bytes(2**20)}
    by_size = [len(run) for run in push_requests([("p!c", big)] * 9)]
    assert (by_number, by_size) == ([1024, 1024, 452], [4, 4, 1])


def test_call_of_the_script_carries_what_fits() -> None:
    frames = [push_request("p!c", SEND).packed(("r", n)) for n in range(20_000)]
    calls = list(script_calls(Keys("gw"), envelope_head("r"), "p", frames))
    assert sum(count for count, _command in calls) == len(frames)
    read = []
    for count, command in calls:
        entries = [bytes(entry) for entry in command[8:]]  # type: ignore[arg-type] # all bytes
        assert command[2:5] == (2, b"gw:{p}:up", b"gw:{p}:push")
        assert command[6:8] == (PUSH_CAPACITY, b"gw:{p}:inc")
        assert all(len(entry) <= MAX_ENTRY_BYTES + 64 for entry in entries)
        found = [Push._make(frame) for entry in entries for frame in read_entry(entry).frames]
        assert len(found) == count
        read += found
    assert [frame.reply for frame in read] == [("r", n) for n in range(20_000)]


def test_large_frames_go_in_several_calls() -> None:
    frames = [bytes(2**20)] * 10
    calls = list(script_calls(Keys("gw"), envelope_head("r"), "p", frames))
    assert [count for count, _command in calls] == [4, 4, 2]


@pytest.mark.parametrize("value", [5, [5], [[1, "ok"]], [["1", "ok", None]], {}, ["ok"]])
def test_answers_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(ProtocolError):
        read_answers(pack(value))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("gone", ConnectionGone),
        ("full", ChannelFull),
        ("bad", ProtocolError),
        ("else", ProtocolError),
    ],
)
def test_status_means_an_error(status: str, error: type[Exception]) -> None:
    assert isinstance(outcome_of(status, None), error)


def test_status_ok_gives_the_payload() -> None:
    assert outcome_of("ok", 5) == 5


@pytest.mark.parametrize("payload", [None, 5, {}, {"client": 5}])
def test_info_that_lacks_something_is_refused(payload: Any) -> None:
    with pytest.raises(ProtocolError):
        info_of("p!c", payload)


def test_group_leaves_out_those_that_are_gone_or_silent() -> None:
    answers = [("a", 1), ("b", ConnectionGone("b")), ("c", PushTimeout("c")), ("d", 2)]
    assert group_results(answers) == [("a", 1), ("d", 2)]


@pytest.mark.parametrize("error", [LayerUnavailable("no Redis"), ProtocolError("refused")])
def test_group_raises_what_all_have_to_know(error: Exception) -> None:
    with pytest.raises(type(error)):
        group_results([("a", 1), ("b", error)])


def test_registered_processes_are_asked_alone() -> None:
    owners = Owners()
    assert owners.take_in([b"a"], b"1", [b"a", b"b"], 0.0) == (["a"], [])


def test_after_a_loss_whoever_lives_or_lived_is_sent_to_for_5_s() -> None:
    owners = Owners()
    owners.take_in([b"a"], b"1", [b"a", b"b"], 0.0)
    assert owners.take_in([], None, [], 10.0) == ([], ["a", "b"])
    assert owners.take_in([b"a"], b"2", [b"a", b"c"], 11.0) == (["a"], ["b", "c"])
    assert owners.take_in([b"a"], b"2", [b"a", b"c"], 16.5) == (["a"], [])
