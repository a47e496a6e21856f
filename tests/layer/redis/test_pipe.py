import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.layer.redis.pipes import calls, items, piped, until

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.pipe import ConnectionLost, Pipe, RedisReplyError, Reply
from gateway_layer.redis.resp import pack_command

# What leaves, and in which order.


async def test_fifty_pushes_of_a_turn_are_one_command(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        for number in range(50):
            pipe.push(b"k", b"%d" % number)
        assert await pipe.execute("LLEN", "k") == 50
        assert calls(redis_url)["rpush"] == 1
        assert items(redis_url, "k") == [b"%d" % number for number in range(50)]
        assert pipe.stats.entries == 50


async def test_pushes_to_several_keys_are_one_command_each(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        for number in range(10):
            pipe.push(b"a" if number % 2 else b"b", b"%d" % number)
        await pipe.execute("PING")
        assert calls(redis_url)["rpush"] == 2
        assert items(redis_url, "a") == [b"1", b"3", b"5", b"7", b"9"]


async def test_pushes_of_two_turns_are_two_commands(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        pipe.push(b"k", b"1")
        await pipe.execute("PING")
        pipe.push(b"k", b"2")
        await pipe.execute("PING")
        assert calls(redis_url)["rpush"] == 2
        assert items(redis_url, "k") == [b"1", b"2"]


async def test_a_push_stands_where_the_first_of_its_turn_was_written(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        lengths: list[Reply] = []
        pipe.write(pack_command("LLEN", "k"), lengths.append)
        pipe.push(b"k", b"1")
        pipe.write(pack_command("LLEN", "k"), lengths.append)
        pipe.push(b"k", b"2")
        await pipe.execute("PING")
        assert lengths == [0, 2]


async def test_commands_of_a_transaction_leave_together(redis_url: str) -> None:
    packed = [pack_command(*one) for one in (("MULTI",), ("RPUSH", "k", "a"), ("EXEC",))]
    async with piped(redis_url) as pipe:
        before = pipe.stats.commands
        replies: list[Reply] = []
        pipe.write_all(b"".join(packed), (None, replies.append, replies.append))
        assert await pipe.execute("LLEN", "k") == 1
        assert replies == [b"QUEUED", [1]]
        assert pipe.stats.commands == before + 4


async def test_a_transaction_that_finds_no_room_is_not_begun(redis_url: str) -> None:
    large = pack_command("SET", "k", bytes(40 * 2**20))
    async with piped(redis_url) as pipe:
        pipe.write(large)
        with pytest.raises(LayerUnavailable):
            pipe.write_all(pack_command("MULTI") + large + pack_command("EXEC"), (None,) * 3)
        assert await pipe.execute("STRLEN", "k") == 40 * 2**20


async def test_what_is_held_leaves_in_order_at_the_release(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        assert pipe.idle
        release = pipe.hold()
        pipe.push(b"k", b"1")
        length: list[Reply] = []
        pipe.write(pack_command("LLEN", "k"), length.append)
        pipe.flush()
        await asyncio.sleep(0.02)
        assert (pipe.held, pipe.idle) == (True, False)
        assert items(redis_url, "k") == []
        release()
        assert (pipe.held, pipe.idle) == (False, False)
        assert await pipe.execute("RPUSH", "k", "2") == 2
        assert length == [1]
        assert items(redis_url, "k") == [b"1", b"2"]


async def test_what_is_held_has_not_left_so_no_reply_is_late(redis_url: str) -> None:
    async with piped(redis_url, reply_timeout_s=0.2) as pipe:
        release = pipe.hold()
        reply = asyncio.create_task(pipe.execute("RPUSH", "k", "1"))
        await asyncio.sleep(0.6)
        release()
        assert await reply == 1
        assert pipe.stats.reconnects == 0


async def test_what_is_held_is_bounded(redis_url: str) -> None:
    large = pack_command("SET", "k", bytes(40 * 2**20))
    async with piped(redis_url) as pipe:
        release = pipe.hold()
        pipe.write(large)
        with pytest.raises(LayerUnavailable):
            pipe.write(large)
        release()
        assert await pipe.execute("STRLEN", "k") == 40 * 2**20


async def test_replies_come_in_the_order_of_the_commands(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        seen: list[Reply] = []
        for number in range(500):
            pipe.write(pack_command("ECHO", number), seen.append)
        await until(lambda: len(seen) == 500)
        assert seen == [b"%d" % number for number in range(500)]


async def test_replies_have_the_types_of_resp2(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        assert await pipe.execute("SET", "k", "v") == b"OK"
        assert await pipe.execute("GET", "none") is None
        assert await pipe.execute("INCR", "n") == 1
        assert await pipe.execute("MGET", "k", "none") == [b"v", None]


async def test_a_large_entry_arrives_whole(redis_url: str) -> None:
    entry = os.urandom(5_000_000)
    async with piped(redis_url) as pipe:
        pipe.push(b"k", entry)
        assert await pipe.execute("LPOP", "k") == entry


async def test_each_push_may_ask_for_the_length(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        await pipe.execute("RPUSH", "k", "old")
        seen: list[tuple[int | Exception, int, int]] = []
        for watched in (True, False, True):
            pipe.push(b"k", b"x", (lambda *told: seen.append(told)) if watched else None)
        await pipe.execute("PING")
        assert seen == [(4, 0, 3), (4, 2, 3)]


async def test_a_refused_push_tells_each_who_asked(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        await pipe.execute("SET", "k", "not a list")
        seen: list[Any] = []
        pipe.push(b"k", b"1", lambda *told: seen.append(told))
        pipe.push(b"k", b"2", lambda *told: seen.append(told))
        await pipe.execute("PING")
        assert [(error.code, index, count) for error, index, count in seen] == [
            ("WRONGTYPE", 0, 2),
            ("WRONGTYPE", 1, 2),
        ]


async def test_a_reply_may_call_for_the_next_command_for_ever(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        left = 5000

        def again(_: Reply) -> None:
            nonlocal left
            left -= 1
            if left:
                pipe.write(pack_command("PING"), again)

        pipe.write(pack_command("PING"), again)
        await until(lambda: not left)


async def test_a_reader_gets_what_another_pipe_pushes(redis_url: str) -> None:
    read = pack_command("BLMPOP", 1, 1, "k", "LEFT", "COUNT", 32)
    async with piped(redis_url, blocking_s=1.0) as reader, piped(redis_url) as writer:
        got: list[bytes] = []

        def on_entries(reply: Reply) -> None:
            if isinstance(reply, ConnectionLost):
                return
            if isinstance(reply, list):
                got.extend(reply[1])
            reader.write(read, on_entries)

        reader.write(read, on_entries)
        for number in range(200):
            writer.push(b"k", b"%d" % number)
            if number % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(got) == 200)
        assert got == [b"%d" % number for number in range(200)]


# Errors of commands and callbacks.


async def test_an_error_reply_is_raised_with_its_code_and_the_pipe_goes_on(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        with pytest.raises(RedisReplyError, match="unknown command") as caught:
            await pipe.execute("NONSENSE")
        assert caught.value.code == "ERR"
        assert await pipe.execute("PING") == b"PONG"


async def test_errors_that_nobody_asked_for_are_counted_and_logged_once(
    redis_url: str, log: pytest.LogCaptureFixture
) -> None:
    async with piped(redis_url) as pipe:
        await pipe.execute("SET", "k", "not a list")
        pipe.write(pack_command("LPUSH", "k", "1"), None)
        pipe.push(b"k", b"2")
        pipe.write(pack_command("LPUSH", "k", "3"))
        await pipe.execute("PING")
        assert pipe.stats.errors == 3
    (message,) = log.messages
    assert "WRONGTYPE" in message


async def test_a_failing_callback_harms_no_other(
    redis_url: str, log: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with piped(redis_url) as pipe:
        seen: list[Any] = []
        pipe.write(pack_command("PING"), fail)
        pipe.push(b"k", b"1", fail)
        pipe.push(b"k", b"2", lambda *told: seen.append(told))
        pipe.write(pack_command("PING"), seen.append)
        await until(lambda: len(seen) == 2)
        assert seen == [(2, 1, 2), b"PONG"]
    assert [record.exc_info is not None for record in log.records] == [True, True]


async def test_a_cancelled_execute_leaves_the_replies_in_step(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        waiting = asyncio.create_task(pipe.execute("ECHO", "forgotten"))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await pipe.execute("ECHO", "mine") == b"mine"


# The end.


async def test_close_sends_what_was_written(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        pipe.push(b"k", b"last words")
        await pipe.close()
        assert items(redis_url, "k") == [b"last words"]


async def test_close_sends_what_is_held(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
        pipe.hold()
        pipe.push(b"k", b"last words")
        await pipe.close()
        assert items(redis_url, "k") == [b"last words"]


async def test_close_tells_pending_commands_and_says_it_was_on_purpose(redis_url: str) -> None:
    ended: list[Exception | None] = []
    async with piped(redis_url, on_disconnected=ended.append) as pipe:
        seen: list[Reply] = []
        pipe.write(pack_command("BLPOP", "none", 60), seen.append)
        await pipe.close()
        assert [type(reply) for reply in seen] == [ConnectionLost]
        assert ended == [None]
        with pytest.raises(LayerUnavailable, match="closed"):
            pipe.write(pack_command("PING"))


async def test_close_may_come_twice_and_before_start(redis_url: str) -> None:
    pipe = Pipe(parse_address(redis_url), name="test")
    await pipe.close()
    await pipe.close()
    with pytest.raises(LayerUnavailable, match="closed"):
        await pipe.wait_connected(None)


async def test_close_wakes_who_waits_for_a_connection(tmp_path: Path) -> None:
    pipe = Pipe(parse_address(f"unix://{tmp_path}/none.sock"), name="test")
    pipe.start()
    waiting = asyncio.create_task(pipe.wait_connected(None))
    await asyncio.sleep(0)
    await pipe.close()
    with pytest.raises(LayerUnavailable, match="closed"):
        await waiting


async def test_close_does_not_wait_for_a_server_that_stands_still(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    async with piped(redis_url) as pipe:
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            pipe.push(b"k", bytes(2**22))
            async with asyncio.timeout(3):
                await pipe.close()
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_either_loop_pushes_reads_loses_and_finds(
    redis_server: EmbeddedServer, redis_url: str, run: Callable[[Awaitable[None]], None]
) -> None:
    async def scenario() -> None:
        async with piped(redis_url, blocking_s=1.0) as pipe:
            for number in range(20):
                pipe.push(b"k", b"%d" % number)
            reply = await pipe.execute("BLMPOP", 1, 1, "k", "LEFT", "COUNT", 32)
            assert reply == [b"k", [b"%d" % number for number in range(20)]]
            await asyncio.to_thread(redis_server.restart)
            await until(lambda: pipe.stats.reconnects == 1)
            assert await pipe.execute("PING") == b"PONG"

    run(scenario())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_process_that_stood_still_itself_does_not_blame_the_server(
    redis_url: str, run: Callable[[Awaitable[None]], None]
) -> None:
    async def scenario() -> None:
        async with piped(redis_url, reply_timeout_s=0.2) as pipe:
            seen: list[Reply] = []
            pipe.write(pack_command("PING"), seen.append)
            await asyncio.sleep(0)
            time.sleep(0.5)  # noqa: ASYNC251 - the loop is what stands still
            await until(lambda: bool(seen))
            assert seen == [b"PONG"]
            assert pipe.stats.reconnects == 0

    run(scenario())
