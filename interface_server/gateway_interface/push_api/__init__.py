"""The HTTP API for pushing to connections and groups: AWS's `@connections`, and more."""
