"""Rendered cores with exact ground truth."""
