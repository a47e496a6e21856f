"""What every process of the gateway is told about its channel layer."""

import re
from dataclasses import dataclass

from gateway_layer.errors import ConfigError

_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerConfig:
    """The address of Redis, and how the processes that share it live together.

    Raises:
        ConfigError: A value is outside its range; the text names the option.
    """

    redis: str = "redis://127.0.0.1:6379/0"
    """redis://, rediss:// or unix:// URL, as redis-py reads it; user, password, database in it."""

    namespace: str = "gw"
    """Prefix of every key, so that several gateways share one Redis: `<namespace>:…`."""

    lease_s: float = 10.0
    """A process not renewed for so long is dead. Renewed at three tenths of it."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ConfigError(
                f"--namespace {self.namespace!r}: 1 to 32 letters, digits, '-', '_' or '.'"
            )
        if not 0.5 <= self.lease_s <= 120:
            raise ConfigError(f"--lease {self.lease_s:g}: from 0.5 to 120 seconds")
