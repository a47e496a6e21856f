"""Encryption of messages with keys that rotate, compatible with the keys of channels_redis."""

import base64
import hashlib
import importlib
from collections.abc import Sequence
from typing import Any

from gateway_layer.channels.entries import read_payload
from gateway_layer.errors import ConfigError, ProtocolError


class Plain:
    """No encryption."""

    def encrypt(self, payload: bytes) -> bytes:
        """Return it as it is."""
        return payload

    def read(self, payload: bytes) -> dict[str, Any]:
        """Return the message; raises as `read_payload`."""
        return read_payload(payload)


class Encryption:
    """Fernet (AES-128-CBC with HMAC-SHA256): the first key encrypts, all decrypt.

    To rotate keys, put the new one in front everywhere but last in the first deployment, so that
    every process can read it before one writes with it; remove the old one after `expiry`.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        """Derive a key from each secret of any length, by SHA-256.

        Raises:
            ConfigError: The package `cryptography` is not installed.
        """
        try:
            fernet: Any = importlib.import_module("cryptography.fernet")
        except ImportError:
            raise ConfigError(
                "symmetric_encryption_keys needs the package cryptography: pip install cryptography"
            ) from None
        self._invalid: type[Exception] = fernet.InvalidToken
        self._fernet: Any = fernet.MultiFernet([fernet.Fernet(_derived(key)) for key in keys])

    def encrypt(self, payload: bytes) -> bytes:
        """Encrypt with the first key."""
        token: bytes = self._fernet.encrypt(payload)
        return token

    def read(self, payload: bytes) -> dict[str, Any]:
        """Decrypt with whichever key fits, and return the message.

        Raises:
            ProtocolError: None does: another key, or bytes that were changed on the way; and as
                `read_payload`.
        """
        try:
            plain: bytes = self._fernet.decrypt(payload)
        except self._invalid:
            raise ProtocolError("a message that none of symmetric_encryption_keys opens") from None
        return read_payload(plain)


def _derived(key: str | bytes) -> bytes:
    raw = key.encode() if isinstance(key, str) else key
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest())


def encryption(keys: Sequence[str | bytes] | None) -> Plain | Encryption:
    """Return what the option `symmetric_encryption_keys` asks for.

    Raises:
        ValueError: A bare string where a list is needed.
        ConfigError: See `Encryption`.
    """
    if isinstance(keys, (str, bytes)):
        text = "symmetric_encryption_keys must be a list of keys, even for only one"
        raise ValueError(text)  # noqa: TRY004 - as channels_redis has it
    return Encryption(keys) if keys else Plain()
