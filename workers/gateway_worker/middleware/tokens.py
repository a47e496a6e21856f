"""Verifies JSON Web Tokens (RFC 7519) as RFC 8725 wants it, with PyJWT."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import jwt

_MAX_TOKEN_BYTES: Final = 8192
"""Longer ones are refused unread. Tokens have some hundred bytes."""

_FAMILIES: Final = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "HMAC"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES256K", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
_MIN_HMAC_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 3.2

FindKey: TypeAlias = Callable[[dict[str, Any]], Any | Awaitable[Any]]
"""Takes the header of a token, which nobody has verified, and returns the key for it."""


class TokenRefused(Exception):
    """A token that does not hold, for a reason that may be told; the token is not in it."""


class KeysUnavailable(Exception):
    """The key could not be fetched; its cause. Nothing is known of the token."""


class TokenVerifier:
    """Turns a token into its claims, or refuses it."""

    def __init__(
        self,
        key: Any,
        *,
        algorithms: Sequence[str],
        audience: str | Sequence[str] | None,
        issuer: str | Sequence[str] | None,
        leeway_s: float,
        required: Sequence[str],
    ) -> None:
        """Take what `JWTAuth` is told.

        Raises:
            TypeError: A bare str for `algorithms` or `required`.
            ValueError: Algorithms of several kinds, unknown, or `none`; a key that is too short or
                of another kind.
        """
        if isinstance(algorithms, str) or isinstance(required, str):
            raise TypeError("algorithms and required: lists of str")
        self._algorithms: Final = list(algorithms)
        _check_algorithms(self._algorithms)
        if not callable(key):
            _check_key(key, self._algorithms)
        self._key: Final = key
        self._in_thread: Final = callable(key) and not _gives_awaitable(key)
        self._audience: Final = audience
        self._issuer: Final = issuer
        self._leeway_s: Final = leeway_s
        self._options: Final[dict[str, Any]] = {
            "require": list(required),
            # PyJWT would accept a token for somebody else where none is configured (RFC 8725 3.9).
            "verify_aud": True,
            "verify_iss": issuer is not None,
            "enforce_minimum_key_length": True,
        }

    async def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token.

        Raises:
            TokenRefused: It does not hold.
            KeysUnavailable: The key could not be fetched.
        """
        if len(token) > _MAX_TOKEN_BYTES:
            raise TokenRefused("the token is too long")
        key = await self._find_key(token) if callable(self._key) else self._key
        try:
            return jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options=cast("Any", self._options),
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenRefused("the token has expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            # The others are for claims that PyJWT cannot take, such as an `exp` of null or 1e999.
            raise TokenRefused("the token is invalid") from error

    async def _find_key(self, token: str) -> Any:
        """Ask the function for the key of a token; raises as `verify`, and what it raises."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenRefused("the token is invalid") from error
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise TokenRefused("the token is invalid")
        try:
            # PyJWT's own client fetches over the network while everybody else would wait.
            call = asyncio.to_thread(self._key, header) if self._in_thread else self._key(header)
            key = await call
        except jwt.PyJWKClientConnectionError as error:
            raise KeysUnavailable from error
        except (LookupError, jwt.PyJWTError) as error:
            raise TokenRefused("the token is invalid") from error
        try:
            _check_key(key, [algorithm])
        except ValueError as error:
            raise TokenRefused("the token is invalid") from error
        return key


def _gives_awaitable(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 (an object whose call is a coroutine)
    )


def _check_algorithms(algorithms: list[str]) -> None:
    """Refuse what would leave the choice to whoever writes the token (RFC 8725 3.1, 3.2)."""
    families = {_FAMILIES.get(algorithm) for algorithm in algorithms}
    if len(families) != 1 or None in families:
        raise ValueError(
            f"algorithms {algorithms!r}: one or more of one kind:"
            " HS256 HS384 HS512, RS256 … PS512, ES256 … ES512, or EdDSA"
        )


def _check_key(key: Any, algorithms: list[str]) -> None:
    """Refuse a key that the algorithms cannot use, or that is weak for one of them.

    Raises:
        ValueError: The text does not show the key.
    """
    if isinstance(key, jwt.PyJWK):
        if key.algorithm_name not in algorithms:
            raise ValueError(f"the key is for {key.algorithm_name}, not for {algorithms}")
        return
    for algorithm in algorithms:
        try:
            prepared = jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise ValueError(f"this is no key for {algorithm}") from error
        least = _MIN_HMAC_BYTES.get(algorithm, 0)
        if least and len(prepared) < least:
            raise ValueError(f"the key for {algorithm} needs at least {least} bytes")
