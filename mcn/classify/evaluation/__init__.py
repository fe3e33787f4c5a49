"""Metrics of a classifier with confidence intervals, and a report of them."""
