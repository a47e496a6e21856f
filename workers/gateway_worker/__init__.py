"""The worker: runs the ASGI application for connections that it takes from the channel layer."""
