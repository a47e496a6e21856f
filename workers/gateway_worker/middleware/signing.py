"""Signed values: JSON, the time of signing, and an HMAC-SHA256 over both."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

_MIN_KEY_BYTES: Final = 16


class Signed(NamedTuple):
    """A value whose signature was right.

    Attributes:
        value: A dict, as it was signed.
        text: Its JSON, as `dump` writes it.
        current: Whether the first key had signed it.
    """

    value: dict[str, Any]
    text: str
    current: bool


class Signer:
    """Signs small dicts and knows them again. The form is `PAYLOAD.TIME.SIGNATURE`.

    PAYLOAD is JSON in base64url, TIME decimal seconds, SIGNATURE 32 bytes in base64url.
    """

    def __init__(
        self, keys: str | bytes | Sequence[str | bytes], *, purpose: str, max_age_s: int | None
    ) -> None:
        """Take the keys.

        Args:
            keys: One or more of at least 16 bytes; the first signs, all are accepted.
            purpose: Signatures for another one are wrong here.
            max_age_s: Seconds for which a signature is accepted; None: for ever.

        Raises:
            ValueError: No key, or one that is too short.
        """
        several = [keys] if isinstance(keys, (str, bytes)) else list(keys)
        raw = [key.encode() if isinstance(key, str) else key for key in several]
        if not raw or min(map(len, raw)) < _MIN_KEY_BYTES:
            raise ValueError(f"keys: one or more, of at least {_MIN_KEY_BYTES} bytes each")
        # A key of its own for each purpose, so that one secret can serve several.
        context = b"channel-gateway signed cookie v1\0" + purpose.encode()
        self._keys: Final = [hmac.digest(key, context, "sha256") for key in raw]
        self._max_age_s: Final = max_age_s

    def sign(self, text: str, now_s: int) -> str:
        """Return the signed form of a text that `dump` wrote."""
        signed = f"{_encode(text.encode())}.{now_s}"
        return f"{signed}.{_encode(self._mac(self._keys[0], signed))}"

    def load(self, raw: str, now_s: int) -> Signed | None:
        """Return what was signed; None if it was not signed by us, or too long ago.

        Nothing of it is parsed before the signature was found right.
        """
        signed, _, signature = raw.rpartition(".")
        mac = _decode(signature)
        if mac is None or not signed.isascii():
            return None
        # Every key is tried, and each in constant time: how long it takes tells nothing.
        right = [hmac.compare_digest(self._mac(key, signed), mac) for key in self._keys]
        if not any(right):
            return None
        payload, _, when = signed.partition(".")
        if self._max_age_s is not None and now_s - int(when) > self._max_age_s:
            return None
        text = (_decode(payload) or b"").decode()
        return Signed(json.loads(text), text, right[0])

    @staticmethod
    def _mac(key: bytes, signed: str) -> bytes:
        return hmac.digest(key, signed.encode(), "sha256")


def dump(value: dict[str, Any]) -> str:
    """Return a dict as JSON; equal dicts with their keys in one order give one text.

    Raises:
        TypeError: Something in it is no JSON.
        ValueError: The same: NaN, an infinity, or a container within itself.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error):
        return None
    # There is one way to write a signature: no other characters, no other last bits.
    return raw if _encode(raw) == text else None
