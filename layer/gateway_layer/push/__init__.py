"""Push to connections and groups from any service: frames, clients, command line."""
