import hiredis
import pytest
from hypothesis import given, strategies as st

from gateway_layer.errors import GatewayError
from gateway_layer.redis.resp import RedisReplyError, pack_command, pack_rpush


def test_a_command_is_an_array_of_bulk_strings() -> None:
    assert pack_command("SET", b"k", 7) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n7\r\n"


def test_text_goes_as_utf_8() -> None:
    assert pack_command("ä") == b"*1\r\n$2\r\n\xc3\xa4\r\n"


def test_rpush_names_the_key_once_and_keeps_the_order() -> None:
    assert pack_rpush(b"k", [b"1", b"2"]) == pack_command("RPUSH", b"k", b"1", b"2")


def test_rpush_without_entries_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        pack_rpush(b"k", [])


def test_a_part_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError):
        pack_command("SET", None)  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=40))
def test_any_bytes_arrive_as_they_were(parts: list[bytes]) -> None:
    reader = hiredis.Reader()
    reader.feed(pack_command(*parts))
    assert reader.gets() == parts


def test_an_error_reply_has_its_first_word_as_code() -> None:
    error = RedisReplyError("NOSCRIPT No matching script.")
    assert (error.code, str(error)) == ("NOSCRIPT", "NOSCRIPT No matching script.")
    assert isinstance(error, GatewayError)


def test_an_error_reply_without_words_has_an_empty_code() -> None:
    assert RedisReplyError("").code == ""
