"""The Ray Serve application: HTTP API and viewer page."""
