"""Rendered cores with exact truth."""
