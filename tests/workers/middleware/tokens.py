"""Tokens, and applications behind JWTAuth."""

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.workers.middleware.asgi import Application, http, status_of

from gateway_worker.apps import Scope
from gateway_worker.middleware import JWTAuth

SECRET = "s" * 64
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "me", "exp": int(time.time()) + 600} | more


def token(key: Any = SECRET, algorithm: str = "HS256", **more: Any) -> str:
    headers = {"kid": more.pop("kid")} if "kid" in more else None
    return jwt.encode(claims(**more), key, algorithm, headers)


def raw_token(header: Any, payload: Any, signature: bytes = b"") -> str:
    """Write a token that no library would."""
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def guard(app: Any = None, key: Any = SECRET, **options: Any) -> JWTAuth:
    return JWTAuth(app or Application(), key, **{"algorithms": ["HS256"], **options})


def bearer(text: str) -> Scope:
    return http(headers=[("authorization", f"Bearer {text}")])


async def accepts(app: JWTAuth, text: str) -> bool:
    """Whether a token is let in; one that is not must be answered 401."""
    status = await status_of(app, bearer(text))
    assert status in (200, 401)
    return status == 200
