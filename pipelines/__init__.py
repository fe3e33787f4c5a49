"""Ray Data jobs: the scan and catalogue maintenance."""
