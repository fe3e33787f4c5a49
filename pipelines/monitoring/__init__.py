"""What a running scan reports: metrics, progress and its response to Ctrl-C."""
