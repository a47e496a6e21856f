"""Middlewares: plain ASGI applications around another one, for any ASGI server."""

from gateway_worker.middleware.allowed_hosts import AllowedHosts
from gateway_worker.middleware.allowed_origins import AllowedOrigins
from gateway_worker.middleware.jwt_auth import JWTAuth
from gateway_worker.middleware.sessions import SignedCookieSessions

__all__ = ["AllowedHosts", "AllowedOrigins", "JWTAuth", "SignedCookieSessions"]
