"""What the push API answers, and which answer stands for which error; without I/O."""

import json
from typing import Any, Final, NamedTuple

from gateway_layer.errors import (
    ChannelFull,
    ConnectionGone,
    GatewayError,
    LayerUnavailable,
    MessageTooLarge,
    PushTimeout,
)

ERROR_TYPES: Final[dict[int, str]] = {
    400: "BadRequestException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "MethodNotAllowedException",
    408: "RequestTimeoutException",
    410: "GoneException",
    413: "PayloadTooLargeException",
    415: "UnsupportedMediaTypeException",
    429: "LimitExceededException",
    500: "InternalServerErrorException",
    503: "ServiceUnavailableException",
    504: "GatewayTimeoutException",
}
"""`x-amzn-ErrorType` of each status; 403, 410, 413 and 429 are exceptions that boto3 knows."""

_RETRY_AFTER_MS: Final = b"1000"
"""A full list is empty after milliseconds, a slow client after about a second, or closed."""

Headers = tuple[tuple[bytes, bytes], ...]

_JSON: Final[Headers] = ((b"content-type", b"application/json"),)


class Answer(NamedTuple):
    """One response, without its framing."""

    status: int
    headers: Headers = ()
    body: bytes = b""


class ApiError(Exception):
    """A request that is not carried out.

    Attributes:
        status: One of ERROR_TYPES.
        message: For a person; holds no credentials.
        headers: More fields of the answer.
    """

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        """Say what is wrong."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def json_answer(value: Any, status: int = 200) -> Answer:
    """Answer with JSON."""
    return Answer(status, _JSON, json.dumps(value, separators=(",", ":")).encode())


def error_answer(error: ApiError) -> Answer:
    """Answer as AWS does: the type in a header (boto3 looks there), the text in the body."""
    kind = ERROR_TYPES.get(error.status, "BadRequestException").encode()
    headers = (*_JSON, (b"x-amzn-errortype", kind), *error.headers)
    return Answer(error.status, headers, json.dumps({"message": error.message}).encode())


def api_error(error: GatewayError) -> ApiError:
    """Return what a push's error is in HTTP.

    boto3 repeats after 429 and 5xx, so these are the errors after which a repetition may succeed.
    """
    if isinstance(error, ConnectionGone):
        return ApiError(410, str(error))
    if isinstance(error, MessageTooLarge):
        return ApiError(413, str(error))
    if isinstance(error, ChannelFull):
        # In ms; the one field of this kind that boto3 honours.
        return ApiError(429, str(error), ((b"x-amz-retry-after", _RETRY_AFTER_MS),))
    if isinstance(error, PushTimeout):
        return ApiError(504, str(error))
    if isinstance(error, LayerUnavailable):
        return ApiError(503, str(error))
    return ApiError(500, str(error))
