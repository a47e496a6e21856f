"""The session of one connection, as a sans-I/O state machine on either side of the wire.

The interface server's side (`InterfaceSession`) owns the connection: it opens it on a queue, binds
it to the worker that claims it, numbers the client's events and keeps their cost until they are
confirmed. The worker's side (`WorkerSession`) claims, hands events to the application, confirms
them when the application asks for the next, and counts what it sends against the client's credit.

Both collect what they have to say during one turn of the event loop; `take_frames` returns it.
"""

from gateway_layer.session.interface import InterfaceSession, State
from gateway_layer.session.parts import PART, event_cost, join_parts, split_event
from gateway_layer.session.streams import OwnerStream, WorkerStream
from gateway_layer.session.worker import WorkerSession

__all__ = [
    "PART",
    "InterfaceSession",
    "OwnerStream",
    "State",
    "WorkerSession",
    "WorkerStream",
    "event_cost",
    "join_parts",
    "split_event",
]
