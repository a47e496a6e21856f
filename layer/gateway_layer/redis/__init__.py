"""The channel layer on a Redis-compatible server."""
