"""The networks of the segmenters, and how a processor computes them."""
