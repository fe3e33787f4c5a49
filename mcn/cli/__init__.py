"""The command line, `mcn`."""
