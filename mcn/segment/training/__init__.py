"""Training of the segmenters: samples, losses, the loop."""
