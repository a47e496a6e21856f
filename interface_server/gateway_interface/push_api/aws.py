"""AWS Signature Version 4, the side that verifies; without I/O or clock.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from gateway_interface.core.http1.head import RequestHead
from gateway_interface.push_api.answers import ApiError

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "execute-api"
MAX_SKEW_S: Final = 300.0

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/(\d{8})/([A-Za-z0-9-]+)/([a-z0-9-]+)/aws4_request"
    r",\s*SignedHeaders=([a-z0-9;_.-]+),\s*Signature=([0-9a-f]{64})"
)
_DATE = re.compile(r"\d{8}T\d{6}Z")


class Signature(NamedTuple):
    """A signature whose claims can be believed, if it proves to be right for the body."""

    secret: str
    date: str
    """Of `x-amz-date`, as in 20261121T091203Z."""
    scope: tuple[str, str, str, str]
    """Day, region, service, `aws4_request`."""
    signed_headers: str
    """Names in lower case, parted by semicolons."""
    value: str


def read_signature(
    authorization: str, head: RequestHead, secrets: Mapping[str, str], now: float
) -> Signature:
    """Check all of a signature that does not need the body.

    Args:
        authorization: Value of the field, which begins with ALGORITHM.
        head: The request.
        secrets: Access key id -> secret key.
        now: Unix time in s.

    Raises:
        ApiError: 403; the text says what is wrong.
    """
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise ApiError(403, "malformed signature in Authorization")
    access, day, region, service, signed_headers, value = match.groups()
    if service != SERVICE:
        raise ApiError(403, f"the signature must be for the service {SERVICE}")
    if "host" not in signed_headers.split(";"):
        raise ApiError(403, "the signature must cover the field Host")
    dates = [value.decode("latin-1") for name, value in head.headers if name == b"x-amz-date"]
    date = dates[0] if len(dates) == 1 else ""
    signed_at = _unix_time(date)
    if signed_at is None or date[:8] != day:
        raise ApiError(403, "X-Amz-Date must be given once, of the day that the signature names")
    if abs(now - signed_at) > MAX_SKEW_S:
        raise ApiError(403, f"signed more than {MAX_SKEW_S:g} s ago, or in the future")
    secret = secrets.get(access)
    if secret is None:
        raise ApiError(403, "unknown access key")
    return Signature(secret, date, (day, region, service, "aws4_request"), signed_headers, value)


def check_signature(signature: Signature, head: RequestHead, body: bytes) -> None:
    """Compare a signature with the one that the request should have, in constant time.

    Raises:
        ApiError: 403; something was altered, or the secret is another one.
    """
    canonical = _canonical_request(head, signature.signed_headers, body)
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    text = "\n".join((ALGORITHM, signature.date, "/".join(signature.scope), digest))
    key = b"AWS4" + signature.secret.encode()
    for part in signature.scope:
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.digest(key, text.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, signature.value):
        raise ApiError(403, "the signature does not fit the request")


def _canonical_request(head: RequestHead, signed_headers: str, body: bytes) -> str:
    lines = [
        head.method,
        # The path as sent, quoted once more: every service but S3 signs it so.
        quote(head.raw_path, safe="/-_.~"),
        _canonical_query(head.query_string.decode("ascii")),
    ]
    for name in signed_headers.split(";"):
        values = (value for found, value in head.headers if found == name.encode())
        lines.append(f"{name}:{_join_values(values)}")
    lines += ["", signed_headers, hashlib.sha256(body).hexdigest()]
    return "\n".join(lines)


def _canonical_query(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _join_values(values: Iterable[bytes]) -> str:
    """Join repetitions, with runs of white space made one space."""
    return ",".join(" ".join(value.decode("latin-1").split()) for value in values)


def _unix_time(date: str) -> float | None:
    if not _DATE.fullmatch(date):
        return None
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
