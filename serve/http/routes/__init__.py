"""The endpoint's routes, by what they are about."""
