"""Ray Data jobs: the scan, its plan, what it costs."""
