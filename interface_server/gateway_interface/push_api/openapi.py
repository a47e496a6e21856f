"""The OpenAPI 3.1 document of the push API; without I/O."""

import json
from importlib.metadata import version
from typing import Any, Final

from gateway_interface.push_api import routes
from gateway_interface.push_api.answers import ERROR_TYPES
from gateway_interface.push_api.messages import BASE64, MAX_KEY_CHARACTERS, MAX_PUSHES

_Json = dict[str, Any]

_REPLY_CHANNEL: Final = "^[A-Za-z0-9_.-]{1,64}![A-Za-z0-9_.-]{1,64}$"
_GROUP: Final = "^[A-Za-z0-9_.-]{1,99}$"

_MEANINGS: Final[dict[int, str]] = {
    400: "A name, a body, a field or the query is malformed; nothing was sent",
    403: "Wrong or missing credentials",
    410: "No such connection (any more)",
    413: "The body is too large",
    415: "The body is not said to be JSON",
    429: "The client, or its interface server, takes less than is pushed",
    503: "No connection to Redis, or too much at once; nothing was sent",
    504: "No answer in time; it may have been carried out",
}
_ALWAYS: Final = (400, 403, 413, 503, 504)
_TO_ONE: Final = (*_ALWAYS, 410, 429)


def openapi_document(*, signed: bool, bearer: bool) -> bytes:
    """Return the document as JSON.

    Args:
        signed: Signatures (SigV4) are accepted.
        bearer: Bearer tokens are accepted. Neither: the API is open.
    """
    schemes: _Json = {}
    if signed:
        schemes["sigv4"] = {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "AWS Signature Version 4, service execute-api, any region",
            "x-amazon-apigateway-authtype": "awsSigv4",
        }
    if bearer:
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
    document: _Json = {
        "openapi": "3.1.0",
        "info": {"title": "channel-gateway push API", "version": version("channel-gateway")},
        "security": [{name: []} for name in schemes],
        "paths": _paths(),
        "components": {"schemas": _schemas(), "securitySchemes": schemes},
    }
    return json.dumps(document, indent=1).encode()


def _paths() -> _Json:
    aws_id, group = _path_parameter("id"), _path_parameter("group")
    return {
        routes.AWS: {
            "description": "As the management API of AWS API Gateway; any path may stand before it",
            "parameters": [aws_id],
            "post": _operation("send", "Send a message", _done(), _TO_ONE, _raw_body(), _message()),
            "get": _operation("showAsAws", "Show a connection", _ok("AwsConnection"), _TO_ONE),
            "delete": _operation("close", "Close a connection", _done(204), _TO_ONE),
        },
        routes.CONNECTION: {
            "parameters": [aws_id],
            "get": _operation("show", "Show a connection", _ok("Connection"), _TO_ONE),
        },
        routes.GROUP: {
            "parameters": [group],
            "post": _operation(
                *("groupSend", "Send a message to a group", _ok("Sent"), _ALWAYS, _raw_body()),
                [*_message(), _exclude()],
            ),
        },
        routes.MEMBERS: {
            "parameters": [group],
            "get": _operation("members", "List a group", _ok("Members"), _ALWAYS),
        },
        routes.PUSH: {
            "post": _operation(
                *("sendMany", "Send up to 1,000 messages", _ok("Results"), (*_ALWAYS, 415)),
                {"required": True, "content": _json_content("Pushes")},
                _key(),
            ),
        },
        routes.OPENAPI: {
            "get": _operation(
                "describe", "This document", {"200": _json("It", {"type": "object"})}, _ALWAYS
            ),
        },
    }


def _operation(
    name: str,
    summary: str,
    success: _Json,
    errors: tuple[int, ...],
    body: _Json | None = None,
    parameters: list[_Json] | None = None,
) -> _Json:
    responses = success | {str(status): _error(status) for status in sorted(errors)}
    operation: _Json = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = body
    return operation


def _error(status: int) -> _Json:
    name = {"type": "string", "const": ERROR_TYPES[status]}
    headers: _Json = {"x-amzn-ErrorType": {"required": True, "schema": name}}
    if status == 429:
        wait = {"type": "integer"}
        headers["x-amz-retry-after"] = {"schema": wait, "description": "ms", "required": True}
    return {
        "description": _MEANINGS[status],
        "headers": headers,
        "content": _json_content("Error"),
    }


def _done(status: int = 200) -> _Json:
    return {str(status): {"description": "Done"}}


def _ok(schema: str) -> _Json:
    return {"200": {"description": "Done", "content": _json_content(schema)}}


def _json(description: str, schema: _Json) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _json_content(schema: str) -> _Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _raw_body() -> _Json:
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "description": "The message. Valid UTF-8 goes out as text, else binary. Any content type",
        "content": binary,
    }


def _message() -> list[_Json]:
    return [_header("x-gateway-frame", {"enum": ["text", "binary"]}), *_key()]


def _key() -> list[_Json]:
    return [
        _header("Idempotency-Key", _key_schema()),
        _header("amz-sdk-invocation-id", _key_schema()),
    ]


def _key_schema() -> _Json:
    return {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS}


def _header(name: str, schema: _Json) -> _Json:
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _path_parameter(name: str) -> _Json:
    pattern = _REPLY_CHANNEL if name == "id" else _GROUP
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _exclude() -> _Json:
    channels = {"type": "array", "items": {"type": "string", "pattern": _REPLY_CHANNEL}}
    return {"name": "exclude", "in": "query", "required": False, "schema": channels}


def _object(**properties: Any) -> _Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _schemas() -> _Json:
    text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
    when = {"type": "string", "format": "date-time"}
    channel = {"type": "string", "pattern": _REPLY_CHANNEL}
    channels = {"type": "array", "items": channel}
    identity = _object(sourceIp=text, userAgent=text)
    endpoint = _object(host=text, port={"type": ["integer", "null"]})
    return {
        "Error": {"type": "object", "properties": {"message": text}, "required": ["message"]},
        "AwsConnection": _object(connectedAt=when, identity=identity, lastActiveAt=when),
        "Connection": _object(
            reply_channel=channel,
            connected_at=when,
            last_active_at=when,
            client={"oneOf": [{"type": "null"}, endpoint]},
            user_agent=text,
            path=text,
            groups={"type": "array", "items": text},
            worker={"type": ["string", "null"]},
            epoch=number,
        ),
        "Sent": _object(sent=number),
        "Members": _object(connections=channels, count=number),
        "Pushes": _object(
            pushes={
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_PUSHES,
                "items": {"oneOf": _pushes(channel)},
            }
        ),
        "Results": _object(results={"type": "array", "items": {"oneOf": _results(number, text)}}),
    }


def _pushes(channel: _Json) -> list[_Json]:
    """One schema for each pair of a target and a kind of message."""
    targets = {"connection": channel, "group": {"type": "string", "pattern": _GROUP}}
    messages: _Json = {
        "text": {"type": "string"},
        "bytes": {"type": "string", "contentEncoding": "base64", "pattern": BASE64},
        "json": {},
    }
    return [
        _object(**{target: to_schema, kind: message})
        for target, to_schema in targets.items()
        for kind, message in messages.items()
    ]


def _results(number: _Json, text: _Json) -> list[_Json]:
    failed = [status for status in ERROR_TYPES if status in (410, 413, 429, 500, 503, 504)]
    kinds = [ERROR_TYPES[status] for status in failed]
    return [
        _object(status={"const": 200}),
        _object(status={"const": 200}, sent=number),
        _object(status={"enum": failed}, error={"enum": kinds}, message=text),
    ]
