"""The push API as boto3 uses it, over two interface servers."""

import re
import socket
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from tests.end_to_end.processes import (
    TIMEOUT_S,
    RawClient,
    request as http_head,
)
from tests.end_to_end.push_api.site import ACCESS, SECRET, Site, error_of, gone, hears_nothing
from tests.end_to_end.raw_websocket import HANDSHAKE, read_frame
from urllib3 import HTTPResponse
from websockets.sync.client import ClientConnection

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "push-api.md"


def test_boto3_sends_text_to_a_connection_of_another_interface(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    connection, channel = client
    site.aws().post_to_connection(ConnectionId=channel, Data="grüß dich".encode())
    assert connection.recv(TIMEOUT_S) == "grüß dich"


def test_boto3_sends_as_the_document_shows(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    (source,) = re.findall(r"```python\n(import boto3.*?)```", DOCUMENT.read_text(), re.S)
    ours = {"http://127.0.0.1:8400": site.url, '"ACCESS"': repr(ACCESS), '"SECRET"': repr(SECRET)}
    for shown, local in ours.items():
        assert shown in source
        source = source.replace(shown, local)
    connection, channel = client
    exec(source, {"reply_channel": channel})
    assert connection.recv(TIMEOUT_S) == "hello"


def test_boto3_sends_what_is_no_utf_8_as_binary(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    connection, channel = client
    site.aws().post_to_connection(ConnectionId=channel, Data=b"\xff\x00")
    assert connection.recv(TIMEOUT_S) == b"\xff\x00"


def test_boto3_shows_a_connection(site: Site, client: tuple[ClientConnection, str]) -> None:
    shown = site.aws().get_connection(ConnectionId=client[1])
    assert shown["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "a browser"}
    assert shown["ConnectedAt"] <= shown["LastActiveAt"]
    assert shown["ConnectedAt"].tzinfo is not None


def test_boto3_closes_a_connection(site: Site, client: tuple[ClientConnection, str]) -> None:
    connection, channel = client
    site.aws().delete_connection(ConnectionId=channel)
    with pytest.raises(Exception, match="1000"):
        connection.recv(TIMEOUT_S)
    assert connection.close_code == 1000


def test_boto3_raises_that_a_connection_is_gone(site: Site) -> None:
    aws, channel = site.aws(), gone(site)
    with pytest.raises(aws.exceptions.GoneException):
        aws.post_to_connection(ConnectionId=channel, Data=b"late")
    with pytest.raises(aws.exceptions.GoneException):
        aws.get_connection(ConnectionId=channel)
    with pytest.raises(aws.exceptions.GoneException):
        aws.delete_connection(ConnectionId=channel)


def test_boto3_raises_that_a_message_is_too_large(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    aws = site.aws()
    with pytest.raises(aws.exceptions.PayloadTooLargeException):
        aws.post_to_connection(ConnectionId=client[1], Data=b"a" * 131_073)


def test_largest_message_of_boto3_arrives_whole(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    site.aws().post_to_connection(ConnectionId=client[1], Data=b"a" * 131_072)
    assert client[0].recv(TIMEOUT_S) == "a" * 131_072


def test_boto3_with_a_wrong_secret_is_forbidden(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    aws = site.aws(secret="another")
    with pytest.raises(aws.exceptions.ForbiddenException):
        aws.post_to_connection(ConnectionId=client[1], Data=b"no")
    assert hears_nothing(client[0])


def test_boto3_hears_of_an_id_that_is_none(site: Site) -> None:
    with pytest.raises(ClientError) as refused:
        site.aws().post_to_connection(ConnectionId="no id", Data=b"no")
    assert refused.value.response["Error"]["Code"] == "BadRequestException"


def test_repetition_of_a_call_of_boto3_is_sent_once(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    connection, channel = client
    call = {"amz-sdk-invocation-id": str(uuid.uuid4())}
    for _ in range(2):
        answer = site.http.post(f"/@connections/{channel}", content=b"once", headers=call)
        assert answer.status_code == 200
    assert connection.recv(TIMEOUT_S) == "once"
    assert hears_nothing(connection)


def test_call_that_boto3_repeats_by_itself_is_sent_once(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    statuses: list[int] = []

    def lose_first_answer(request: Any, **_: Any) -> AWSResponse | None:
        raw = request.headers.items()
        fields = {name: v if isinstance(v, str) else v.decode() for name, v in raw}
        if statuses:
            return None
        done = httpx.post(request.url, headers=fields, content=request.body)
        statuses.append(done.status_code)
        return AWSResponse(request.url, 503, {}, HTTPResponse(BytesIO(), preload_content=False))

    aws = site.aws(retries=1)
    aws.meta.events.register("before-send", lose_first_answer)
    answer = aws.post_to_connection(ConnectionId=client[1], Data=b"once")
    assert (statuses, answer["ResponseMetadata"]["RetryAttempts"]) == ([200], 1)
    assert client[0].recv(TIMEOUT_S) == "once"
    assert hears_nothing(client[0])


def test_client_that_reads_nothing_is_a_limit_exceeded_and_gone_then(site: Site) -> None:
    aws = site.aws()
    with RawClient(socket.create_connection(site.interface.address, timeout=TIMEOUT_S)) as raw:
        raw.send(http_head("/address", *HANDSHAKE))
        raw.until(b"\r\n\r\n")
        channel = read_frame(raw)[1].decode()

        def push(times: int) -> None:
            for _ in range(times):
                aws.post_to_connection(ConnectionId=channel, Data=b"a" * 131_072)

        with pytest.raises(aws.exceptions.LimitExceededException) as refused:
            push(500)
        fields = refused.value.response["ResponseMetadata"]["HTTPHeaders"]
        assert fields["x-amz-retry-after"] == "1000"
        with pytest.raises(aws.exceptions.GoneException):
            push(1)


def test_one_key_for_two_connections_means_two_messages(
    site: Site, client: tuple[ClientConnection, str]
) -> None:
    key = {"idempotency-key": "k"}
    with site.connect() as (other, other_channel):
        for channel in (client[1], other_channel):
            site.http.post(f"/@connections/{channel}", content=b"each", headers=key)
        assert client[0].recv(TIMEOUT_S) == other.recv(TIMEOUT_S) == "each"


@pytest.mark.parametrize(("frame", "expected"), [("binary", b"hi"), ("text", "hi")])
def test_frame_can_be_chosen(
    site: Site, client: tuple[ClientConnection, str], frame: str, expected: str | bytes
) -> None:
    path = f"/@connections/{client[1]}"
    site.http.post(path, content=b"hi", headers={"x-gateway-frame": frame})
    assert client[0].recv(TIMEOUT_S) == expected


def test_binary_cannot_be_sent_as_text(site: Site, client: tuple[ClientConnection, str]) -> None:
    path = f"/@connections/{client[1]}"
    answer = site.http.post(path, content=b"\xff", headers={"x-gateway-frame": "text"})
    assert error_of(answer) == (400, "BadRequestException")
    assert hears_nothing(client[0])
