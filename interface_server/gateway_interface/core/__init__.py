"""Sans-I/O protocol logic of the interface server: bytes and events in, bytes and events out."""
