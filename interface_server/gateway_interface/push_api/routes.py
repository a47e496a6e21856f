"""From the path of a request to what it is about; without I/O."""

from typing import Final
from urllib.parse import unquote

AWS: Final = "/@connections/{id}"
CONNECTION: Final = "/v1/connections/{id}"
GROUP: Final = "/v1/groups/{group}"
MEMBERS: Final = "/v1/groups/{group}/connections"
PUSH: Final = "/v1/push"
OPENAPI: Final = "/v1/openapi.json"

AWS_BODY_BYTES: Final = 131_072
"""What AWS takes; boto3 does not check it itself."""

V1_BODY_BYTES: Final = 16 * 2**20

MAX_BODY_BYTES: Final[dict[str, int]] = {GROUP: V1_BODY_BYTES, PUSH: V1_BODY_BYTES}
"""Largest body of a resource; AWS_BODY_BYTES for those that are not named."""


def find_resource(raw_path: bytes) -> tuple[str, str] | None:
    """Return (template of the path, its argument decoded) for a path as it was sent; None: 404.

    The path is split before it is decoded, so an escaped slash stays part of an argument. AWS's
    resource may stand behind any prefix, since an endpoint's URL usually ends with a stage.
    """
    segments = [unquote(segment) for segment in raw_path.decode("ascii").split("/")]
    if len(segments) > 2 and segments[-2] == "@connections" and segments[-1]:
        return AWS, segments[-1]
    match segments[1:]:
        case ["v1", "connections", connection] if connection:
            return CONNECTION, connection
        case ["v1", "groups", group] if group:
            return GROUP, group
        case ["v1", "groups", group, "connections"] if group:
            return MEMBERS, group
        case ["v1", "push"]:
            return PUSH, ""
        case ["v1", "openapi.json"]:
            return OPENAPI, ""
    return None
