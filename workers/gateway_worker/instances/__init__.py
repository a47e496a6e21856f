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
    "INSTANCE_TYPES",
    "Host",
    "HttpInstance",
    "Instance",
    "ProtocolInstance",
    "ResumableInstance",
    "WebSocketInstance",
    "make_scope",
]

INSTANCE_TYPES: Final[Mapping[str, type[Instance]]] = {
    "http": HttpInstance,
    "websocket": WebSocketInstance,
}
"""By the kind of opening; every other kind is a ProtocolInstance's."""
