"""Training and calibration of a classifier."""
