"""The document says what the API does, no more and no less."""

import json
from typing import Any

import pytest

from gateway_interface.config import InterfaceConfig
from gateway_interface.push_api.answers import ERROR_TYPES, ApiError, api_error, error_answer
from gateway_interface.push_api.api import PushApi, iso_8601
from gateway_interface.push_api.openapi import openapi_document
from gateway_layer.errors import (
    ChannelFull,
    ConnectionGone,
    GatewayError,
    LayerUnavailable,
    MessageTooLarge,
    ProtocolError,
    PushTimeout,
)


def document(*, signed: bool = False, bearer: bool = False) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(openapi_document(signed=signed, bearer=bearer))
    return read


def test_operations_are_those_of_the_api() -> None:
    described = {
        path: {key.upper() for key in item if key not in ("parameters", "description")}
        for path, item in document()["paths"].items()
    }
    api = PushApi(InterfaceConfig(push_bind="127.0.0.1:0"))
    assert described == {path: set(methods) for path, methods in api.operations.items()}


@pytest.mark.parametrize(
    ("given", "schemes"),
    [
        ({}, []),
        ({"signed": True}, ["sigv4"]),
        ({"signed": True, "bearer": True}, ["sigv4", "bearer"]),
    ],
)
def test_security_is_what_is_configured(given: dict[str, bool], schemes: list[str]) -> None:
    described = document(**given)
    assert [name for one in described["security"] for name in one] == schemes
    assert list(described["components"]["securitySchemes"]) == schemes


ERRORS: list[tuple[GatewayError, int]] = [
    (ConnectionGone("x"), 410),
    (MessageTooLarge("x"), 413),
    (ChannelFull("x", 1), 429),
    (ProtocolError("x"), 500),
    (LayerUnavailable("x"), 503),
    (PushTimeout("x"), 504),
]


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_each_error_of_a_push_has_a_status(error: GatewayError, status: int) -> None:
    assert api_error(error).status == status


def test_full_connection_says_when_to_try_again() -> None:
    answer = error_answer(api_error(ChannelFull("x", 1)))
    assert dict(answer.headers)[b"x-amz-retry-after"] == b"1000"
    assert dict(answer.headers)[b"x-amzn-errortype"] == b"LimitExceededException"


@pytest.mark.parametrize("status", ERROR_TYPES)
def test_each_status_has_a_type_that_clients_can_tell(status: int) -> None:
    answer = error_answer(ApiError(status, "why"))
    assert dict(answer.headers)[b"x-amzn-errortype"].decode() == ERROR_TYPES[status]
    assert json.loads(answer.body) == {"message": "why"}


def test_time_is_written_as_aws_does() -> None:
    assert iso_8601(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
