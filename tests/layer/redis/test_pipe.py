import asyncio
import logging
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import parse_address, sync_client
from gateway_layer.redis.pipe import ConnectionLost, Pipe, RedisReplyError, Reply
from gateway_layer.redis.resp import pack_command


@asynccontextmanager
async def piped(url: str, **options: Any) -> AsyncIterator[Pipe]:
    """Run a connected pipe."""
    pipe = Pipe(parse_address(url), name="test", **options)
    pipe.start()
    try:
        await pipe.wait_connected(5)
        yield pipe
    finally:
        await pipe.close()


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any condition, not only what sets an Event
            await asyncio.sleep(0.005)


def calls(url: str) -> dict[str, int]:
    """How often each command ran since the statistics were reset."""
    with sync_client(url) as client:
        stats: dict[str, dict[str, int]] = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


def items(url: str, key: str) -> list[bytes]:
    with sync_client(url) as client:
        found: list[bytes] = client.lrange(key, 0, -1)
    return found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gateway.redis")
    return caplog


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


# Being let in.


async def test_the_password_of_the_default_user_lets_in() -> None:
    with EmbeddedServer(extra=["--requirepass", "s/ecret"]) as server:
        async with piped(f"{server.url}?password=s%2Fecret") as pipe:
            assert await pipe.execute("PING") == b"PONG"


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "NOAUTH"), ("?password=hunter2", "WRONGPASS"), ("?username=x", "WRONGPASS")],
)
async def test_a_refused_password_is_one_clear_line(
    query: str, code: str, log: pytest.LogCaptureFixture
) -> None:
    with EmbeddedServer(extra=["--requirepass", "secret"]) as server:
        pipe = Pipe(parse_address(server.url + query), name="test")
        pipe.start()
        with pytest.raises(LayerUnavailable, match=code):
            await pipe.wait_connected(0.5)
        await pipe.close()
    (record,) = log.records
    assert record.levelname == "ERROR"
    assert "refused the connection pipe=test url=unix://" in record.getMessage()
    assert "hunter2" not in record.getMessage()


async def test_an_acl_user_with_few_rights_is_let_in(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        client.acl_setuser(
            "few", enabled=True, passwords=["+pw"], keys=["gw:*"], commands=["+rpush", "+info"]
        )
    async with piped(f"{redis_url}?username=few&password=pw") as pipe:
        assert await pipe.execute("RPUSH", "gw:k", "x") == 1
        assert pipe.server is not None
        assert pipe.server.version >= (7,)
        with pytest.raises(RedisReplyError, match="NOPERM"):
            await pipe.execute("CONFIG", "GET", "maxmemory-policy")


async def test_a_user_without_info_is_let_in_with_nothing_known(redis_url: str) -> None:
    with sync_client(redis_url) as client:
        client.acl_setuser("less", enabled=True, nopass=True, commands=["+ping"])
    async with piped(f"{redis_url}?username=less&password=any") as pipe:
        assert pipe.server is not None
        assert pipe.server.version == ()


async def test_the_database_of_the_url_is_selected(redis_url: str) -> None:
    async with piped(f"{redis_url}?db=3") as pipe:
        await pipe.execute("SET", "k", "v")
    with sync_client(f"{redis_url}?db=3") as client:
        assert client.get("k") == b"v"


async def test_an_unknown_database_is_one_clear_line(
    redis_url: str, log: pytest.LogCaptureFixture
) -> None:
    pipe = Pipe(parse_address(f"{redis_url}?db=9999"), name="test")
    pipe.start()
    with pytest.raises(LayerUnavailable, match="DB index is out of range"):
        await pipe.wait_connected(0.3)
    await pipe.close()
    assert len(log.messages) == 1


async def test_the_connection_has_a_name(redis_url: str) -> None:
    async with piped(f"{redis_url}?client_name=blue") as pipe:
        assert await pipe.execute("CLIENT", "GETNAME") == b"blue:test"


async def test_tcp_is_spoken_too(redis_server: EmbeddedServer, redis_url: str) -> None:
    async with piped(f"redis://127.0.0.1:{redis_server.port}/1") as pipe:
        assert await pipe.execute("PING") == b"PONG"


# TLS, in front of a server that may have been built without it.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, key


@asynccontextmanager
async def tls_in_front_of(path: str, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """Run a TLS listener that passes bytes on to a Unix socket; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_tls_with_the_right_authority_is_spoken(
    redis_url: str, certificate: tuple[Path, Path]
) -> None:
    async with tls_in_front_of(redis_url.removeprefix("unix://"), certificate) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={certificate[0]}"
        async with piped(url) as pipe:
            pipe.push(b"k", bytes(300_000))
            assert await pipe.execute("LLEN", "k") == 1


@pytest.mark.parametrize(
    ("host", "trusted"), [("localhost", False), ("127.0.0.1", True)], ids=["authority", "name"]
)
async def test_tls_with_a_wrong_certificate_is_refused_in_one_line(
    redis_url: str,
    certificate: tuple[Path, Path],
    log: pytest.LogCaptureFixture,
    host: str,
    trusted: bool,
) -> None:
    async with tls_in_front_of(redis_url.removeprefix("unix://"), certificate) as port:
        query = f"?ssl_ca_certs={certificate[0]}" if trusted else ""
        pipe = Pipe(parse_address(f"rediss://{host}:{port}{query}"), name="test")
        pipe.start()
        with pytest.raises(LayerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await pipe.wait_connected(0.5)
        await pipe.close()
    assert len([record for record in log.records if record.name == "gateway.redis"]) == 1


# The end.


async def test_close_sends_what_was_written(redis_url: str) -> None:
    async with piped(redis_url) as pipe:
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
