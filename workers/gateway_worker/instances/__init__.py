"""Application instances: one for each connection, by the kind of its opening."""

from collections.abc import Mapping
from typing import Final

from gateway_worker.instances.http import HttpInstance
from gateway_worker.instances.instance import Host, Instance
from gateway_worker.instances.protocol import ProtocolInstance
from gateway_worker.instances.resumable import ResumableInstance
from gateway_worker.instances.scope import make_scope
from gateway_worker.instances.websocket import WebSocketInstance

__all__ = [
    "Host",
    "HttpInstance",
    "Instance",
    "ProtocolInstance",
    "ResumableInstance",
    "WebSocketInstance",
    "instance_type",
    "make_scope",
]

_TYPES: Final[Mapping[str, type[Instance]]] = {
    "http": HttpInstance,
    "websocket": WebSocketInstance,
}


def instance_type(kind: str) -> type[Instance]:
    """Return the class for openings of a kind."""
    return _TYPES.get(kind, ProtocolInstance)
