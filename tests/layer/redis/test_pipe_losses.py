"""Connections to Redis that fail, and what is not a Redis."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.layer.redis.pipes import piped, until

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import parse_address
from gateway_layer.redis.pipe import ConnectionLost, Pipe, Reply
from gateway_layer.redis.resp import pack_command

# Connections that fail.


async def test_without_a_server_a_write_says_so(tmp_path: Path) -> None:
    pipe = Pipe(parse_address(f"unix://{tmp_path}/none.sock"), name="test")
    pipe.start()
    with pytest.raises(LayerUnavailable, match=r"none\.sock.*No such file"):
        await pipe.wait_connected(0.1)
    with pytest.raises(LayerUnavailable):
        pipe.push(b"k", b"entry")
    with pytest.raises(LayerUnavailable):
        await pipe.execute("PING")
    await pipe.close()


async def test_an_absent_server_is_one_line_and_its_return_another(
    log: pytest.LogCaptureFixture,
) -> None:
    server = EmbeddedServer()
    server.start()
    url = server.url
    server.kill()
    pipe = Pipe(parse_address(url), name="test")
    pipe.start()
    with pytest.raises(LayerUnavailable):
        await pipe.wait_connected(0.3)  # several tries
    with server:
        await pipe.wait_connected(5)
        assert [record.levelname for record in log.records] == ["WARNING", "INFO"]
        assert "unreachable" in log.messages[0]
        assert log.messages[0].endswith(
            "; start Redis or Valkey, or name it with --redis; waiting for it"
        )
        assert "is back" in log.messages[1]
        await pipe.close()


async def test_a_killed_server_is_found_again_when_it_is_back(
    redis_server: EmbeddedServer, redis_url: str, log: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    async with piped(
        redis_url,
        on_connected=lambda info: events.append(info.run_id),
        on_disconnected=lambda error: events.append(type(error).__name__),
    ) as pipe:
        redis_server.kill()
        await until(lambda: not pipe.connected)
        redis_server.start()
        await pipe.wait_connected(10)
        assert await pipe.execute("PING") == b"PONG"
        first, lost, second = events
        assert (lost, pipe.stats.reconnects) == ("ConnectionLost", 1)
        assert first != second
        assert len(log.messages) == 2


async def test_each_pending_command_gets_the_loss_once(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    async with piped(redis_url, blocking_s=60.0) as pipe:
        seen: list[Any] = []
        pipe.write(pack_command("BLPOP", "none", 60), seen.append)
        pipe.write(pack_command("PING"), seen.append)
        pipe.push(b"k", b"1", lambda *told: seen.append(told))
        pipe.push(b"k", b"2", lambda *told: seen.append(told))
        pipe.write(pack_command("PING"), None)
        redis_server.restart()
        await until(lambda: bool(seen) and pipe.connected)
        assert await pipe.execute("PING") == b"PONG"
        told = seen[2:]
        assert [type(error) for error in (*seen[:2], told[0][0], told[1][0])] == [
            ConnectionLost
        ] * 4
        assert [(index, count) for _, index, count in told] == [(0, 2), (1, 2)]


async def test_what_the_dying_turn_wrote_is_told_as_well(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    async with piped(redis_url) as pipe:
        seen: list[Any] = []

        def on_lost(reply: Reply) -> None:
            assert isinstance(reply, ConnectionLost)
            with pytest.raises(LayerUnavailable):
                pipe.write(pack_command("PING"), seen.append)
            seen.append(reply)

        redis_server.kill()
        pipe.write(pack_command("PING"), on_lost)
        pipe.push(b"k", b"1", lambda *told: seen.append(told))
        await until(lambda: len(seen) == 2)
        assert seen[1][1:] == (0, 1)


async def test_callbacks_of_the_connection_that_fail_do_not_stop_the_pipe(
    redis_server: EmbeddedServer, redis_url: str, log: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with piped(redis_url, on_connected=fail, on_disconnected=fail) as pipe:
        redis_server.restart()
        await until(lambda: pipe.stats.reconnects == 1)
        assert await pipe.execute("PING") == b"PONG"
    assert sum(record.exc_info is not None for record in log.records) == 4


async def test_a_server_that_stands_still_is_dropped(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    async with piped(redis_url, reply_timeout_s=0.3) as pipe:
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ConnectionLost, match=r"no reply for 0\.3 s"):
                await pipe.execute("PING")
            with pytest.raises(LayerUnavailable, match=r"no answer within 0\.3 s"):
                await pipe.wait_connected(1.0)
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        await pipe.wait_connected(10)
        assert await pipe.execute("PING") == b"PONG"


async def test_an_idle_connection_is_left_alone(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    async with piped(redis_url, reply_timeout_s=0.1) as pipe:
        os.kill(redis_server.pid, signal.SIGSTOP)
        await asyncio.sleep(0.4)  # nothing is awaited, so nothing is overdue
        os.kill(redis_server.pid, signal.SIGCONT)
        assert await pipe.execute("PING") == b"PONG"
        assert pipe.stats.reconnects == 0


async def test_a_blocking_read_is_not_taken_for_a_dead_server(redis_url: str) -> None:
    async with piped(redis_url, reply_timeout_s=0.2, blocking_s=1.0) as pipe:
        assert await pipe.execute("BLMPOP", 1, 1, "none", "LEFT") is None
        assert pipe.stats.reconnects == 0


async def test_a_blocking_read_of_a_dead_server_ends(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    async with piped(redis_url, reply_timeout_s=0.2, blocking_s=0.5) as pipe:
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ConnectionLost):
                await pipe.execute("BLMPOP", "0.5", 1, "none", "LEFT")
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)


async def test_a_slow_server_meets_a_bound_and_gets_all_when_it_is_back(
    redis_server: EmbeddedServer, redis_url: str
) -> None:
    entry = bytes(2**20)
    async with piped(redis_url) as pipe:
        os.kill(redis_server.pid, signal.SIGSTOP)
        taken = 0
        try:
            with pytest.raises(LayerUnavailable, match="64 MiB"):  # noqa: PT012 - at some round
                while taken < 200:
                    pipe.push(b"k", entry)
                    taken += 1
            assert 60 < taken < 70
            assert pipe.paused
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        assert await until_taken(pipe, b"k") == taken
        assert not pipe.paused


async def until_taken(pipe: Pipe, key: bytes) -> Reply:
    await until(lambda: not pipe.paused)
    return await pipe.execute("LLEN", key)


@asynccontextmanager
async def pretender(answer: bytes) -> AsyncIterator[str]:
    """Run a server that answers whatever it is told with the same bytes."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if await reader.read(1000):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
        (b"+PONG\r\n+OK\r\n$-1\r\n$-1\r\n+more\r\n", "no command asked for"),
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
        (b"-LOADING the dataset\r\n+OK\r\n+\r\n+\r\n", "LOADING"),
    ],
)
async def test_what_is_not_a_willing_redis_is_named(answer: bytes, reason: str) -> None:
    async with pretender(answer) as url:
        pipe = Pipe(parse_address(url), name="test", reply_timeout_s=0.3)
        pipe.start()
        with pytest.raises(LayerUnavailable, match=reason):
            await pipe.wait_connected(0.4)
        await pipe.close()
