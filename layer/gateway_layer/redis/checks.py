"""What a server says about itself, and whether the gateway can run on it."""

from dataclasses import dataclass

from gateway_layer.errors import ConfigError

OLDEST_MAJOR = 7  # BLMPOP, which every reader uses, came with Redis 7.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server as its INFO describes it; what it did not tell is empty."""

    run_id: str = ""
    """40 hex digits, new at every start of the server process."""

    version: tuple[int, ...] = ()
    """Of Valkey where it is one, else of Redis: (9, 1, 2)."""

    mode: str = ""
    """`standalone`, `cluster` or `sentinel`."""

    maxmemory_policy: str = ""
    """`noeviction`, `allkeys-lru`, …"""


def parse_info(raw: bytes) -> ServerInfo:
    """Read the replies to `INFO server` and `INFO memory`, joined.

    Args:
        raw: Lines `name:value`; unknown ones and section titles are passed over.
    """
    fields = dict(
        line.split(":", 1) for line in raw.decode("utf-8", "replace").splitlines() if ":" in line
    )
    # Valkey calls itself redis_version 7.2.4 for ever, and its mode server_mode.
    version = fields.get("valkey_version") or fields.get("redis_version", "")
    return ServerInfo(
        run_id=fields.get("run_id", ""),
        version=tuple(int(number) for number in version.split(".") if number.isdecimal()),
        mode=fields.get("server_mode") or fields.get("redis_mode", ""),
        maxmemory_policy=fields.get("maxmemory_policy", ""),
    )


def check_server(info: ServerInfo) -> list[str]:
    """Decide whether the gateway can run on this server.

    Returns:
        Warnings, one line each; empty when all is well.

    Raises:
        ConfigError: It cannot; the text is one line saying why and what would do.
    """
    if info.mode in ("cluster", "sentinel"):
        raise ConfigError(
            f"this Redis runs in {info.mode} mode, which is not supported: "
            f"give the address of one standalone Redis or Valkey >= {OLDEST_MAJOR}"
        )
    if info.version and info.version[0] < OLDEST_MAJOR:
        version = ".".join(map(str, info.version))
        raise ConfigError(
            f"this Redis is {version}, which has no BLMPOP: "
            f"Redis or Valkey >= {OLDEST_MAJOR} is needed"
        )
    warnings = []
    if not info.version:
        warnings.append(
            "this Redis does not answer INFO, so its version, mode and eviction policy are not "
            "checked, and its restart is known only from the keys it lost: allow INFO in the ACL"
        )
    if info.maxmemory_policy not in ("", "noeviction"):
        warnings.append(
            f"this Redis has maxmemory-policy {info.maxmemory_policy}: under memory pressure it "
            "would evict live traffic and leases of running processes; set it to noeviction"
        )
    return warnings
