"""Storage: objects by URI, verified downloads, a scratch database on disk."""
