"""What every gateway process needs: options, logging, supervision of children, reload."""
