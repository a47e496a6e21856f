from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway_layer.errors import ApplicationError, ClientDisconnected
from gateway_worker.core.http import HttpResponseRules


def start(status: Any = 200, **keys: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, **keys}


def body(data: Any = b"", **keys: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **keys}


def started(method: str = "GET", status: int = 200, **fields: str) -> HttpResponseRules:
    rules = HttpResponseRules(method)
    headers = [(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()]
    rules.send(start(status, headers=headers))
    return rules


def test_a_response_passes_as_plain_events() -> None:
    rules = HttpResponseRules("GET")
    assert rules.send(start(headers=[(b"content-type", b"text/plain")])) == {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain")],
    }
    assert rules.started
    assert not rules.complete
    assert rules.send(body(b"hello")) == {
        "type": "http.response.body",
        "body": b"hello",
        "more_body": False,
    }
    assert rules.complete


def test_what_may_be_left_out_has_its_default() -> None:
    rules = HttpResponseRules("GET")
    assert rules.start({"type": "http.response.start", "status": 200})["headers"] == []
    assert rules.body({"type": "http.response.body"}) == (b"", False)


def test_unknown_keys_do_not_travel() -> None:
    event = HttpResponseRules("GET").send(start(trailers=False, secret=object()))
    assert event.keys() == {"type", "status", "headers"}


def test_the_event_is_not_the_applications_own_object() -> None:
    headers = [[b"a", b"b"]]
    event = HttpResponseRules("GET").send(start(headers=headers))
    headers.clear()
    assert event["headers"] == [(b"a", b"b")]


def test_headers_may_come_from_any_iterable_of_pairs() -> None:
    headers = ([name, bytearray(b"v")] for name in (b"X-One", memoryview(b"x-two")))
    event = HttpResponseRules("GET").send(start(headers=headers))
    assert event["headers"] == [(b"x-one", b"v"), (b"x-two", b"v")]
    assert all(type(part) is bytes for field in event["headers"] for part in field)


def test_an_enum_status_becomes_a_plain_int() -> None:
    assert type(HttpResponseRules("GET").send(start(HTTPStatus.OK))["status"]) is int


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (start("200"), 'event["status"]'),
        (start(True), 'event["status"]'),
        ({"type": "http.response.start"}, 'event["status"]'),
        (start(headers=None), 'event["headers"]'),
        (start(headers=[(b"a", b"b"), (b"c",)]), 'event["headers"][1]'),
        (start(headers=[7]), 'event["headers"][0]'),
        (start(headers=[(b"a", b"b")] * 3 + [(b"c", "d")]), 'event["headers"][3][1]'),
        (start(headers=[("a", b"b")]), 'event["headers"][0][0]'),
    ],
)
def test_a_wrong_type_is_named_with_its_path(message: dict[str, Any], path: str) -> None:
    rules = HttpResponseRules("GET")
    with pytest.raises(TypeError) as caught:
        rules.send(message)
    assert str(caught.value).startswith(f"{path} must be ")
    assert not rules.started


@pytest.mark.parametrize("status", [0, 99, 101, 199, 600, 1000])
def test_a_status_that_is_no_final_one_is_refused(status: int) -> None:
    with pytest.raises(ApplicationError, match="status"):
        HttpResponseRules("GET").send(start(status))


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b":status", b"a\r\nb", b"a\0", b"\xc3\xa9"])
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(ApplicationError, match=r'event\["headers"\]\[1\]: invalid header name'):
        HttpResponseRules("GET").send(start(headers=[(b"x", b"y"), (name, b"v")]))


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\n", b"\r", b"a\0b", b"\x1b[0m"])
def test_a_control_character_in_a_value_is_refused_with_the_name(value: bytes) -> None:
    with pytest.raises(ApplicationError, match="'x-evil'"):
        HttpResponseRules("GET").send(start(headers=[(b"x", b"y"), (b"X-Evil", value)]))


def test_tabs_and_latin_1_in_values_pass() -> None:
    headers = [(b"x-name", b"\xe9t\xe9\t!")]
    assert HttpResponseRules("GET").send(start(headers=headers))["headers"] == headers


def test_transfer_encoding_is_ignored() -> None:
    headers = [(b"Transfer-Encoding", b"chunked"), (b"x", b"y")]
    assert HttpResponseRules("GET").send(start(headers=headers))["headers"] == [(b"x", b"y")]


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b" 1", b"1_0", b"0x1", b"1, 1", b"9" * 19])
def test_a_content_length_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(ApplicationError, match="Content-Length"):
        HttpResponseRules("GET").send(start(headers=[(b"content-length", value)]))


def test_two_content_lengths_are_refused() -> None:
    with pytest.raises(ApplicationError, match="two Content-Length"):
        HttpResponseRules("GET").send(start(headers=[(b"content-length", b"1")] * 2))


def test_a_body_longer_than_declared_is_refused() -> None:
    rules = started(content_length="4")
    rules.send(body(b"abc", more_body=True))
    with pytest.raises(ApplicationError, match="content longer than Content-Length"):
        rules.send(body(b"de"))
    assert not rules.complete


def test_a_body_that_ends_before_what_was_declared_is_refused() -> None:
    rules = started(content_length="4")
    with pytest.raises(ApplicationError, match="content shorter than Content-Length"):
        rules.send(body(b"abc"))
    assert not rules.complete


def test_a_refused_body_does_not_count() -> None:
    rules = started(content_length="4")
    with pytest.raises(ApplicationError):
        rules.send(body(b"abcde"))
    rules.send(body(b"abcd"))
    assert rules.complete


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_content_swallows_its_body(method: str, status: int) -> None:
    rules = started(method, status, content_length="999")
    assert rules.body(body(b"abc", more_body=True)) == (b"", True)
    assert rules.body(body(b"def")) == (b"", False)
    assert rules.complete


def test_content_length_stays_with_head_but_not_with_204() -> None:
    headers = [(b"content-length", b"3")]
    assert HttpResponseRules("HEAD").send(start(headers=headers))["headers"] == headers
    assert HttpResponseRules("GET").send(start(204, headers=headers))["headers"] == []


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc")])
def test_other_byte_strings_become_bytes(data: object) -> None:
    sent, _ = started().body(body(data))
    assert sent == b"abc"
    assert type(sent) is bytes


@pytest.mark.parametrize("data", ["abc", None, 3, [1]])
def test_a_body_that_is_no_byte_string_is_refused(data: object) -> None:
    with pytest.raises(TypeError, match=r'event\["body"\] must be bytes'):
        started().send(body(data))


def test_a_body_before_the_start_is_refused() -> None:
    with pytest.raises(
        ApplicationError, match=r"response\.body'.*expected 'http\.response\.start'"
    ):
        HttpResponseRules("GET").send(body())


def test_a_second_start_is_refused() -> None:
    with pytest.raises(
        ApplicationError, match=r"response\.start'.*expected 'http\.response\.body'"
    ):
        started().send(start())


def test_nothing_may_follow_a_complete_response() -> None:
    rules = started()
    rules.send(body())
    with pytest.raises(ApplicationError, match="the response is complete"):
        rules.send(body())


@pytest.mark.parametrize(
    "message", [None, "http.response.start", [], {}, {"type": 3}, {"type": []}, {"type": "x.y"}]
)
def test_what_is_no_message_is_refused_with_what_is_expected(message: Any) -> None:
    with pytest.raises(ApplicationError, match=r"unexpected .*expected 'http\.response\.start'"):
        HttpResponseRules("GET").send(message)


def test_sending_after_the_client_left_is_an_os_error() -> None:
    rules = started()
    rules.receive_disconnect()
    with pytest.raises(ClientDisconnected) as caught:
        rules.send(body())
    assert isinstance(caught.value, OSError)


def test_a_client_that_leaves_a_complete_response_changes_nothing() -> None:
    rules = started()
    rules.send(body())
    rules.receive_disconnect()
    assert rules.complete


@given(st.lists(st.binary(max_size=20), min_size=1), st.integers(-3, 3))
def test_exactly_the_declared_length_completes(parts: list[bytes], error: int) -> None:
    total = sum(map(len, parts))
    declared = max(0, total + error)
    rules = started(content_length=str(declared))
    try:
        for left, part in enumerate(parts, 1):
            rules.send(body(part, more_body=left < len(parts)))
    except ApplicationError:
        assert declared != total
    assert rules.complete is (declared == total)


# Extensions


def trailers(*headers: Any, **keys: Any) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": list(headers), **keys}


def announced(method: str = "GET", status: int = 200) -> HttpResponseRules:
    """A response that has announced trailers."""
    rules = HttpResponseRules(method)
    assert rules.send(start(status, trailers=True))["trailers"] is True
    return rules


def test_announced_trailers_end_the_response() -> None:
    rules = announced()
    assert rules.send(body(b"x"))["more_body"] is True
    assert not rules.complete
    assert rules.send(trailers((b"X-Sum", b"1"), more_trailers=True)) == {
        "type": "http.response.trailers",
        "headers": [(b"x-sum", b"1")],
        "more_trailers": True,
    }
    assert not rules.complete
    assert rules.send(trailers())["more_trailers"] is False
    assert rules.complete


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_without_content_still_ends_with_its_trailers(method: str, status: int) -> None:
    rules = announced(method, status)
    assert rules.send(body(b"x")) == {"type": "http.response.body", "body": b"", "more_body": True}
    rules.send(trailers((b"x", b"y")))
    assert rules.complete


def test_trailers_do_not_replace_the_check_of_content_length() -> None:
    rules = HttpResponseRules("GET")
    rules.send(start(headers=[(b"content-length", b"3")], trailers=True))
    with pytest.raises(ApplicationError, match="shorter"):
        rules.send(body(b"xy"))


def test_trailers_that_were_not_announced_are_refused() -> None:
    rules = started()
    with pytest.raises(ApplicationError, match=r"trailers'.*expected 'http\.response\.body'"):
        rules.send(trailers())
    rules.send(body())
    with pytest.raises(ApplicationError, match="the response is complete"):
        rules.send(trailers())


def test_trailers_before_the_end_of_the_body_are_refused() -> None:
    rules = announced()
    rules.send(body(b"x", more_body=True))
    with pytest.raises(ApplicationError, match=r"expected 'http\.response\.body'"):
        rules.send(trailers())


def test_a_body_among_the_trailers_is_refused() -> None:
    rules = announced()
    rules.send(body())
    with pytest.raises(ApplicationError, match=r"expected 'http\.response\.trailers'"):
        rules.send(body(b"x"))


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"host", b"set-cookie"])
def test_a_field_that_has_to_precede_the_content_is_no_trailer(name: bytes) -> None:
    rules = announced()
    rules.send(body())
    with pytest.raises(ApplicationError, match="is not allowed in trailers"):
        rules.send(trailers((name, b"1")))
    rules.send(trailers())
    assert rules.complete


def test_a_trailer_with_a_control_character_is_refused() -> None:
    rules = announced()
    rules.send(body())
    with pytest.raises(ApplicationError, match="control character"):
        rules.send(trailers((b"x", b"a\r\n\r\nb")))


def test_sending_trailers_after_the_client_left_is_an_os_error() -> None:
    rules = announced()
    rules.send(body())
    rules.receive_disconnect()
    with pytest.raises(ClientDisconnected):
        rules.send(trailers())


def hint(*links: Any) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": list(links)}


def test_early_hints_come_before_the_start_any_number() -> None:
    rules = HttpResponseRules("GET")
    for _ in range(2):
        assert rules.send(hint(b"</a>; rel=preload", bytearray(b"</b>"))) == {
            "type": "http.response.early_hint",
            "links": [b"</a>; rel=preload", b"</b>"],
        }
    assert not rules.started
    rules.send(start())
    with pytest.raises(ApplicationError, match="early_hint"):
        rules.send(hint(b"</c>"))


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (hint("</a>"), 'event["links"][0]'),
        (hint(b"", 3), 'event["links"][1]'),
        (hint() | {"links": b"</a>"}, 'event["links"]'),
        (hint() | {"links": None}, 'event["links"]'),
    ],
)
def test_links_of_a_wrong_type_are_named(message: dict[str, Any], path: str) -> None:
    with pytest.raises(TypeError) as caught:
        HttpResponseRules("GET").send(message)
    assert str(caught.value).startswith(f"{path} must be ")


def test_a_link_with_a_control_character_is_refused() -> None:
    with pytest.raises(ApplicationError, match="control character"):
        HttpResponseRules("GET").send(hint(b"</a>\r\nset-cookie: b"))


def test_a_path_stands_for_the_body() -> None:
    rules = started(content_length="5")
    message = {"type": "http.response.pathsend", "path": "/file"}
    assert rules.send(message) == message
    assert (rules.room, rules.complete) == (5, False)


def test_a_path_is_refused_before_the_start_and_after_the_end() -> None:
    rules = HttpResponseRules("GET")
    message = {"type": "http.response.pathsend", "path": "/file"}
    with pytest.raises(ApplicationError, match=r"expected 'http\.response\.start'"):
        rules.send(message)
    rules.send(start())
    rules.send(body())
    with pytest.raises(ApplicationError, match="complete"):
        rules.send(message)


@pytest.mark.parametrize("path", [b"/file", None, 3])
def test_a_path_that_is_no_text_is_refused(path: object) -> None:
    with pytest.raises(TypeError, match=r'event\["path"\] must be a str'):
        started().send({"type": "http.response.pathsend", "path": path})


def test_there_is_no_room_where_no_content_is_allowed() -> None:
    assert started("HEAD", content_length="5").room == 0
    assert started().room is None
