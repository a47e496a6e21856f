"""Hello world: `examples.hello:app`."""

from examples.hello.app import app

__all__ = ["app"]
