"""The Ray Serve deployments behind the HTTP application."""
