"""Commands about the endpoint: serve it, look at it, use it from elsewhere."""
