"""Storage: objects by URI, downloads that are checked, a scratch database on disk."""
