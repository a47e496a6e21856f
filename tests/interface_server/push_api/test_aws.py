"""Signatures as botocore makes them are taken; anything altered behind them is not."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.core.http1.parsers import head_parser
from gateway_interface.core.http1.request import RequestReader
from gateway_interface.push_api.answers import ApiError
from gateway_interface.push_api.auth import Authority

ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PATH = "/prod/%40connections/iiii%21cc_c-.~%3D"
BODY = b"\x00message\xff"
AUTHORITY = Authority({ACCESS: SECRET}, [], unix_socket=False)


def read(raw: bytes) -> RequestHead:
    reader = RequestReader(head_parser("auto"), max_head_bytes=65536, max_headers=64)
    reader.receive_data(raw)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    return head


def signed(
    method: str = "POST",
    target: str = PATH,
    body: bytes = BODY,
    *,
    secret: str = SECRET,
    access: str = ACCESS,
    service: str = "execute-api",
    region: str = "eu-north-1",
    **fields: str,
) -> bytes:
    """Return the bytes of a request that botocore has signed now."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    asked = AWSRequest(method, f"http://gateway.example:8080{target}", headers=headers, data=body)
    SigV4Auth(Credentials(access, secret), service, region).add_auth(asked)
    lines = [f"{method} {target} HTTP/1.1", "host: gateway.example:8080"]
    lines += [f"{name}: {value}" for name, value in asked.headers.items()]
    length = [f"content-length: {len(body)}"] if body else []
    return "\r\n".join([*lines, *length, "", ""]).encode()


def now() -> float:
    return datetime.now(UTC).timestamp()


def judge(raw: bytes, body: bytes = BODY, *, at: float = 0.0) -> None:
    head = read(raw)
    AUTHORITY.check_body(AUTHORITY.admit(head, at or now()), head, body)


TARGETS = (
    PATH,
    "/@connections/a%21b",
    "/v1/groups/news?exclude=b%21c&exclude=a%21b&x",
    "/v1/openapi.json",
    "/a//b/%C3%A5",
)


@pytest.mark.parametrize(
    ("method", "target", "body"), [*product(("GET", "POST", "DELETE"), TARGETS[:4], (b"", BODY))]
)
def test_signature_of_botocore_is_taken(method: str, target: str, body: bytes) -> None:
    judge(signed(method, target, body), body)


def test_any_region_is_taken() -> None:
    judge(signed(region="local"))


def test_white_space_in_a_signed_field_does_not_matter() -> None:
    raw = signed(x_amz_note="one two")
    judge(raw.replace(b"one two", b"one \t  two"))


def test_signed_field_that_is_repeated_is_joined() -> None:
    raw = signed(x_amz_note="one,two")
    judge(
        raw.replace(b"X-Amz-Note: one,two", b"x-amz-note: one\r\nx-amz-note: two").replace(
            b"x-amz-note: one,two", b"x-amz-note: one\r\nx-amz-note: two"
        )
    )


def alterations() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
        def alter(raw: bytes) -> bytes:
            assert old in raw, raw
            return raw.replace(old, new, 1)

        return alter

    def flip(raw: bytes) -> bytes:
        at = raw.index(b"Signature=") + 10
        return raw[:at] + (b"1" if raw[at : at + 1] == b"0" else b"0") + raw[at + 1 :]

    yield "method", swap(b"POST", b"PUT")
    yield "path", swap(b"/prod/", b"/test/")
    yield "escape", swap(b"%21", b"!")
    yield "query", swap(PATH.encode(), PATH.encode() + b"?a=b")
    yield "host", swap(b"gateway.example", b"gateway.invalid")
    yield "port", swap(b":8080", b":8081")
    yield "signed field", swap(b"note: one", b"note: two")
    yield "signature", flip
    yield "region", swap(b"/eu-north-1/", b"/eu-north-2/")
    yield "service", swap(b"/execute-api/", b"/execute-ap/")
    yield "end of scope", swap(b"/aws4_request", b"/aws4_reques")
    yield "access key", swap(ACCESS.encode(), b"AKIDOTHER")
    yield "list of signed fields", swap(b"SignedHeaders=host;", b"SignedHeaders=")
    yield "order of signed fields", swap(b"=host;x-amz-date;", b"=x-amz-date;host;")
    yield "algorithm", swap(b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA512")
    yield "repeated date", swap(b"X-Amz-Date", b"x-amz-date: 20200101T000000Z\r\nx-amz-date")


@pytest.mark.parametrize("alter", [pytest.param(f, id=name) for name, f in alterations()])
def test_altered_head_is_refused(alter: Callable[[bytes], bytes]) -> None:
    raw = signed(x_amz_note="one")
    judge(raw)
    with pytest.raises(ApiError) as refused:
        judge(alter(raw))
    assert refused.value.status == 403


def test_altered_date_is_refused() -> None:
    raw = signed()
    at = raw.index(b"X-Amz-Date: ") + len(b"X-Amz-Date: 20261121T0912")
    second = b"%02d" % ((int(raw[at : at + 2]) + 1) % 60)
    with pytest.raises(ApiError, match="does not fit"):
        judge(raw[:at] + second + raw[at + 2 :])


def test_altered_body_is_refused() -> None:
    with pytest.raises(ApiError, match="does not fit"):
        judge(signed(), BODY + b"!")


def test_wrong_secret_is_refused() -> None:
    with pytest.raises(ApiError, match="does not fit"):
        judge(signed(secret="another"))


def test_other_service_is_refused() -> None:
    with pytest.raises(ApiError, match="execute-api"):
        judge(signed(service="s3"))


@pytest.mark.parametrize("skew_s", [-290, 290])
def test_clock_may_differ_by_nearly_five_minutes(skew_s: int) -> None:
    judge(signed(), at=now() + skew_s)


@pytest.mark.parametrize("skew_s", [-310, 310])
def test_signature_of_another_time_is_refused(skew_s: int) -> None:
    with pytest.raises(ApiError, match="300 s"):
        judge(signed(), at=now() + skew_s)


@pytest.mark.parametrize(
    "field", ["", "authorization: \r\n", "authorization: AWS4-HMAC-SHA256 Credential=a\r\n"]
)
def test_request_without_signature_is_refused(field: str) -> None:
    with pytest.raises(ApiError) as refused:
        judge(f"GET / HTTP/1.1\r\nhost: h\r\n{field}\r\n".encode(), b"")
    assert refused.value.status == 403


@pytest.mark.parametrize("date", ["20261332T256161Z", "today", "20261121"])
def test_date_that_is_none_is_refused(date: str) -> None:
    raw = signed()
    at = raw.index(b"X-Amz-Date: ") + len(b"X-Amz-Date: ")
    with pytest.raises(ApiError, match="X-Amz-Date"):
        judge(raw[:at] + date.encode() + raw[at + 16 :])
