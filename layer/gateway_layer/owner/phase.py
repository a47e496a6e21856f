"""What a connection does, and the numbers that tell of its end (RFC 6455 7.4.1, IANA)."""

from enum import Enum, auto
from typing import Final

NORMAL: Final = 1000
ABNORMAL: Final = 1006
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013


class Phase(Enum):
    """What a connection does now."""

    WAITING = auto()
    """The application has not answered."""
    OPEN = auto()
    CLOSING = auto()
    """The client was told of the end, and may still answer."""
    DENYING = auto()
    """The application answers in place of accepting; not every protocol has that."""
    OVER = auto()
