"""The channel layer of Django Channels on this gateway's transport: one line in CHANNEL_LAYERS."""

from gateway_layer.channels.layer import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
