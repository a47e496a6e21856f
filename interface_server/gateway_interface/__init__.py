"""The interface server: client sockets to scopes and events."""
