"""The channel layer: names, wire format, sessions, links, and the Redis transport below them."""
