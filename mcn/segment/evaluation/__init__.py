"""Metrics of a segmenter against true masks, and a report of them."""
