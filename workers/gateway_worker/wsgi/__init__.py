"""WSGI applications (PEP 3333) as ASGI 3 applications: `WsgiBridge`."""

from gateway_worker.wsgi.bridge import WsgiBridge

__all__ = ["WsgiBridge"]
