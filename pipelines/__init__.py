"""Ray Data jobs: the scan, its plan and its cost."""
