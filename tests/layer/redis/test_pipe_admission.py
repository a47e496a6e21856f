"""Being let in: passwords, users, databases, TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.layer.redis.pipes import piped

from gateway_layer.embedded import EmbeddedServer
from gateway_layer.errors import LayerUnavailable
from gateway_layer.redis.address import parse_address, sync_client
from gateway_layer.redis.pipe import Pipe, RedisReplyError

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
