"""What an interface server needs besides its protocol: the owner's side of connections.

`Owner` is what all connections of a process share. A connection is an `OpeningSession`: one
exchange that workers answer; a `ResumableSession`, which outlives its application's instances; or a
`SocketSession`, which also reads and writes a socket within credit. See `docs/sessions.md`.
"""

from gateway_layer.owner.openings import Opening, Openings, OpeningSession
from gateway_layer.owner.owner import FOREVER, Bounds, Client, Owner
from gateway_layer.owner.phase import Phase
from gateway_layer.owner.pushable import Pushable
from gateway_layer.owner.pushes import Pushes
from gateway_layer.owner.resumable import ResumableSession
from gateway_layer.owner.socket_session import About, SocketSession

__all__ = [
    "FOREVER",
    "About",
    "Bounds",
    "Client",
    "Opening",
    "OpeningSession",
    "Openings",
    "Owner",
    "Phase",
    "Pushable",
    "Pushes",
    "ResumableSession",
    "SocketSession",
]
